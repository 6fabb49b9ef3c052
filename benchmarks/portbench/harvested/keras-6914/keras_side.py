import keras
from keras.layers import Dense, Dropout


def build():
    model = keras.Sequential()
    model.add(keras.Input((64,)))
    model.add(Dense(32, activation="relu"))
    model.add(Dropout(0.2))
    model.add(Dense(32, activation="relu"))
    model.add(Dropout(0.2))
    model.add(Dense(10, activation="softmax"))
    return {
        "model": model,
        "loss": "sparse_categorical_crossentropy",
        "optimizer": keras.optimizers.SGD(learning_rate=0.05),
    }
