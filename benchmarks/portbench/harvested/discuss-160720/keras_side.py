import keras
from keras import layers


def build():
    model = keras.Sequential(
        [keras.Input((10,)), layers.Dense(24, activation="relu"), layers.Dense(1)]
    )
    return {
        "model": model,
        "loss": "mean_squared_error",
        "optimizer": keras.optimizers.Adam(learning_rate=0.001),
    }
