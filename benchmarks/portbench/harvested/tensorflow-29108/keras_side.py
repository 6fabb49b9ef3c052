import keras
from keras.layers import Dense


def build():
    model = keras.Sequential(
        [
            keras.Input((8,)),
            Dense(16, activation="tanh"),
            Dense(16, activation="tanh"),
            Dense(1),
        ]
    )
    optimizer = keras.optimizers.SGD(learning_rate=0.01, clipnorm=1.0)
    return {"model": model, "loss": "mse", "optimizer": optimizer}
