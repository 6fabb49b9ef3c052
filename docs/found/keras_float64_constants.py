"""Relative errors of Keras in float64 whose cause is a constant in float32."""

import keras
import numpy as np

keras.config.set_floatx("float64")
one = np.ones((1, 1))


def first_step(optimizer):
    weight = keras.Variable(0.0)
    optimizer.apply([keras.ops.ones(())], [weight])
    return -float(weight.value)


def show(name, value, exact):
    print(f"{name}: {value:.12f} for {exact:.12f}, relative error {abs(value / exact - 1):.1e}")


print("keras", keras.__version__, "on", keras.backend.backend())
exact = 0.5 / (1 + 2**-20 / (1 - 0.999) ** 0.5)
show("Adam(0.5, epsilon=2**-20)", first_step(keras.optimizers.Adam(0.5, epsilon=2**-20)), exact)
show("SGD(0.1)", first_step(keras.optimizers.SGD(0.1)), 0.1)
show("LeakyReLU(0.1)", -float(keras.layers.LeakyReLU(0.1)(-one)[0, 0]), 0.1)
show("Rescaling(1 / 255)", float(keras.layers.Rescaling(1 / 255)(one)[0, 0]), 1 / 255)
