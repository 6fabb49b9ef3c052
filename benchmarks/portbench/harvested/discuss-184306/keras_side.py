from pathlib import Path

import keras
import numpy as np
from keras.layers import Conv2D, Dense, Flatten


def build():
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            Conv2D(3, (3, 3), activation="relu"),
            Flatten(),
            Dense(10, activation="softmax"),
        ]
    )
    trained = np.load(Path(__file__).with_name("weights.npz"))
    model.set_weights([trained[str(i)] for i in range(4)])
    return {"model": model}
