from pathlib import Path

import keras
import numpy as np
from keras.layers import GRU


def build():
    model = keras.Sequential(
        [
            keras.Input((10, 6)),
            GRU(12, return_sequences=True),
            GRU(12, return_sequences=True),
        ]
    )
    torch_weights = np.load(Path(__file__).with_name("weights.npz"))
    for number, layer in enumerate(model.layers):
        layer.set_weights(
            [
                torch_weights[f"weight_ih_l{number}"].T,
                torch_weights[f"weight_hh_l{number}"].T,
                np.vstack(
                    [torch_weights[f"bias_ih_l{number}"], torch_weights[f"bias_hh_l{number}"]]
                ),
            ]
        )
    return model
