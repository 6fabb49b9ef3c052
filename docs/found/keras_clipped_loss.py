"""Loss and first step of SGD for a sample with the logits 30 and 0 whose class is the second."""

import keras
import numpy as np

layer = keras.layers.Dense(
    2, activation="softmax", bias_initializer=lambda shape, dtype: keras.ops.array([30.0, 0.0])
)
model = keras.Sequential([layer])
model.compile(keras.optimizers.SGD(1.0), "categorical_crossentropy")
loss = model.train_on_batch(np.zeros((1, 1)), np.array([[0.0, 1.0]]))
print("keras", keras.__version__, "on", keras.backend.backend())
print(f"loss {loss:.4f}, step of the bias {30 - model.get_weights()[1][0]:.4f}")
