import keras
from keras import layers


def build():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(10),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dense(3),
        ]
    )
    return {
        "model": model,
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "optimizer": keras.optimizers.SGD(0.1),
    }
