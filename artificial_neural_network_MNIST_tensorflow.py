"""A 784-10-10 network learns to read digits: TensorFlow and Keras, GradientTape and model.fit.

    tape.gradient computes what back_prop in artificial_neural_network_MNIST.py writes out.

Read it next to the NumPy and the PyTorch script: the same sections, in the same order, on the
same numbers.
"""

import sys

sys.path.append(sys.path.pop(0))  # last: no file in this folder is taken for an installed module

from triptych import lesson  # first, because TensorFlow reads the number of threads at its import

import time

with lesson.quiet():  # without TensorFlow's start-up notices
    import keras
    import numpy as np
    import tensorflow as tf
    from keras import layers

# --- 1. Data: a row is a digit, X (m, 784); y are the labels, (m,) -------------------------------


def to_device(array):
    return tf.constant(array)


# --- 2. The network ------------------------------------------------------------------------------
# Deeper, or with dropout: find the comments that begin with "deeper" (for dropout: "dropout").
#     "# deeper, instead: CODE"   put CODE in place of the line of code above the comment
#     "# deeper, add: CODE"       remove "# deeper, add: ", so that CODE is a line of its own
# For both at once, take both. Keras turns dropout off outside of training.


def simple_model(dtype="float32"):
    return keras.Sequential(
        [
            layers.Input((784,), dtype=dtype),
            layers.Dense(10, "relu", dtype=dtype),
            # dropout, add: layers.Dropout(0.2, dtype=dtype),
            # deeper, add: layers.Dense(10, "relu", dtype=dtype),
            layers.Dense(10, dtype=dtype),  # logits: the loss takes the softmax
        ]
    )


def advanced_model():
    return keras.Sequential(
        [
            layers.Input((784,)),
            layers.Dense(128, "relu"),
            layers.Dropout(0.2),
            layers.Dense(64, "relu"),
            layers.Dropout(0.2),
            layers.Dense(10),
        ]
    )


def init_params(model, weights):
    """The package keeps kernels as (in, out), and so does Dense."""
    model.set_weights(list(weights.values()))


# --- 3. The loss and its gradients ---------------------------------------------------------------


def back_prop(model, X, y):
    """Return the loss and the gradient of each variable."""
    with tf.GradientTape() as tape:
        logits = model(X, training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)  # with the softmax
        loss = tf.reduce_mean(losses)
    return loss, tape.gradient(loss, model.trainable_variables)


# --- 4. Training ---------------------------------------------------------------------------------


@tf.function
def train_step(model, X, y, alpha):
    """One step of gradient descent; returns the loss before it."""
    loss, gradients = back_prop(model, X, y)
    for parameter, gradient in zip(model.trainable_variables, gradients, strict=True):
        parameter.assign_sub(alpha * gradient)
    return loss


def train(model, X, y, batches, epochs, alpha, watch):
    alpha = tf.constant(alpha, X.dtype)
    for epoch in range(epochs):
        for rows in batches(epoch):
            if isinstance(rows, slice):  # full batch: all rows as they are
                loss = train_step(model, X, y, alpha)
            else:
                loss = train_step(model, tf.gather(X, rows), tf.gather(y, rows), alpha)
        watch(epoch, loss)


def fit(model, X, y, batches, epochs, alpha):
    """The same batches through model.fit: Keras's loop in place of ours."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(alpha), loss)
    for epoch in range(epochs):
        for rows in batches(epoch):
            model.fit(X[rows], y[rows], batch_size=len(X), shuffle=False, verbose=0)


def fit_advanced(model, data, folder, epochs):
    """What Keras is good at: callbacks that stop early, lower the rate, and log for TensorBoard."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    callbacks = [
        keras.callbacks.EarlyStopping("val_loss", patience=4, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=2),
        keras.callbacks.TensorBoard(folder / "logs"),
    ]
    history = model.fit(
        data.x_train,
        data.y_train,
        batch_size=64,
        epochs=epochs,
        validation_split=0.1,
        callbacks=callbacks,
        verbose=2,
    )
    return history.history


# --- 5. Predictions ------------------------------------------------------------------------------


def get_predictions(model, X):
    return model(X, training=False).numpy().argmax(axis=1)


def get_accuracy(model, X, y):
    return (get_predictions(model, X) == y).mean()


# --- 6. Run --------------------------------------------------------------------------------------


def main():
    args = lesson.arguments(__doc__, epochs=20, batch_size=64)
    data = lesson.start(args, "lesson-tensorflow")
    # deeper, instead: data = lesson.start(args, "lesson-tensorflow", hidden=(10, 10))
    X, y, X_test = to_device(data.x_train), to_device(data.y_train), to_device(data.x_test)
    model = simple_model()
    init_params(model, data.weights)

    def watch(epoch, loss):
        if epoch % max(1, args.epochs // 10) == 0 or epoch == args.epochs - 1:
            accuracy = get_accuracy(model, X_test, data.y_test)
            print(f"epoch {epoch + 1:4}: loss {loss:.4f}, test accuracy {accuracy:.2%}")

    started = time.perf_counter()
    train(model, X, y, data.batches, args.epochs, 0.1, watch)
    seconds = time.perf_counter() - started

    accuracy = get_accuracy(model, X_test, data.y_test)
    print(f"TensorFlow: test accuracy {accuracy:.2%} after {seconds:.1f} s of training")

    by_hand, by_fit = simple_model(), simple_model()
    init_params(by_hand, data.weights)
    by_fit.set_weights(by_hand.get_weights())
    few = [list(data.batches(0))[:20]]
    train(by_hand, X, y, few.__getitem__, 1, 0.1, lambda epoch, loss: None)
    fit(by_fit, data.x_train, data.y_train, few.__getitem__, 1, 0.1)
    pairs = zip(by_hand.get_weights(), by_fit.get_weights(), strict=True)
    apart = max(np.abs(a - b).max() for a, b in pairs)
    print(f"By hand against model.fit: weights at most {apart:.0e} apart, steps: {len(few[0])}")
    # dropout, add: print("With dropout they must differ: each model draws other units to drop.")

    advanced = advanced_model()
    history = fit_advanced(advanced, data, data.folder, args.epochs)
    accuracy = get_accuracy(advanced, X_test, data.y_test)
    print(f"Advanced model, 784-128-64-10 with dropout: test accuracy {accuracy:.2%}")
    print(f"Its curves in TensorBoard: tensorboard --logdir {data.folder / 'logs'}")
    lesson.end(data, get_predictions(model, X_test), history)


if __name__ == "__main__":
    main()
