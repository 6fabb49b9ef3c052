"""First step of Adam for a word that occurs once, and for one that occurs twice."""

import keras
import numpy as np

model = keras.Sequential([keras.layers.Embedding(2, 1, embeddings_initializer="zeros")])
model.compile(keras.optimizers.Adam(learning_rate=1.0, epsilon=1e-12), "mse")
model.train_on_batch(np.array([[0, 1, 1]]), np.ones((1, 3, 1)))
once, twice = model.get_weights()[0].ravel()
print("keras", keras.__version__, "on", keras.backend.backend())
print(f"once {once:.4f}, twice {twice:.4f}")
