import keras

DECAY = 3


def build():
    model = keras.Sequential(
        [
            keras.Input((200,)),
            keras.layers.Dense(1, kernel_regularizer=keras.regularizers.l2(DECAY)),
        ]
    )
    return {
        "model": model,
        "loss": keras.losses.MeanSquaredError(),
        "optimizer": keras.optimizers.SGD(0.01),
    }
