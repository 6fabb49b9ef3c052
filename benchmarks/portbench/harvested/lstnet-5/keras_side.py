import keras
from keras import layers, ops

WINDOW, SERIES, KERNEL, SKIP, HIGHWAY = 24, 4, 3, 6, 5


class BeforeSkip(layers.Layer):
    def __init__(self, pt, skip):
        super().__init__()
        self.pt, self.skip = pt, skip

    def call(self, c):
        filters = c.shape[2]
        s = ops.reshape(c[:, -self.pt * self.skip :], (-1, self.pt, self.skip, filters))
        return ops.reshape(ops.transpose(s, (0, 2, 1, 3)), (-1, self.pt, filters))


class AfterSkip(layers.Layer):
    def __init__(self, skip):
        super().__init__()
        self.skip = skip

    def call(self, s):
        return ops.reshape(s, (-1, self.skip * s.shape[1]))


class BeforeHighway(layers.Layer):
    def call(self, x):
        z = ops.transpose(x[:, -HIGHWAY:], (0, 2, 1))
        return ops.reshape(z, (-1, HIGHWAY))


class AfterHighway(layers.Layer):
    def call(self, z):
        return ops.reshape(z, (-1, SERIES))


def build(filters=8, hidden=10, hidden_skip=3):
    x = keras.Input((WINDOW, SERIES))
    c = layers.Reshape((WINDOW, SERIES, 1))(x)
    c = layers.Conv2D(filters, (KERNEL, SERIES))(c)
    c = layers.Dropout(0.2)(c)
    c = layers.Reshape((WINDOW - KERNEL + 1, filters))(c)
    r = layers.GRU(hidden, activation="relu")(c)
    r = layers.Dropout(0.2)(r)
    pt = WINDOW // SKIP
    skip = (WINDOW - KERNEL + 1) // pt
    s = layers.GRU(hidden_skip, activation="relu")(BeforeSkip(pt, skip)(c))
    r = layers.concatenate([r, AfterSkip(skip)(s)])
    y = layers.Dense(SERIES)(r)
    z = layers.Dense(1)(BeforeHighway()(x))
    return {
        "model": keras.Model(x, layers.add([y, AfterHighway()(z)])),
        "loss": "mean_absolute_error",
        "optimizer": keras.optimizers.Adam(0.001),
    }
