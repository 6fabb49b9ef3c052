from keras import Input, Sequential
from keras.layers import Dense, Dropout, Flatten
from keras.optimizers import Adam


def build():
    model = Sequential()
    model.add(Input((7, 9)))
    model.add(Flatten())
    for _ in range(3):
        model.add(Dense(32, activation="relu"))
        model.add(Dropout(0.2))
    model.add(Dense(9, activation="linear"))
    return {"model": model, "loss": "mean_absolute_error", "optimizer": Adam(1e-4)}
