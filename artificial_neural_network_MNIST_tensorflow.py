"""A 784-10-10 network learns to read digits: TensorFlow and Keras, GradientTape, model.fit.

    tape.gradient computes what back_prop in artificial_neural_network_MNIST.py writes out.

The three lessons have the same sections, functions and numbers: lay two of them side by side.
"""

import sys
import time

sys.path.append(sys.path.pop(0))  # last: no file in this folder is taken for an installed module

from triptych import lesson  # first: the number of threads is read when a library is imported
from triptych.core import notices, registry

with notices.left_out(registry.entry("tensorflow").notices):  # lines that it prints at each start
    import keras
    import numpy as np
    import tensorflow as tf
    from keras import layers

NAME = "TensorFlow"

# --- 1. Data --------------------------------------------------------------------------------------


def get_arrays(data):
    """Return the training images X, their labels y, and the test images."""
    # X (m, 784): each row is a digit; TensorFlow makes a tensor of each batch
    return data.x_train, data.y_train, data.x_test


# --- 2. The network -------------------------------------------------------------------------------
# To make it deeper, or to add dropout, follow the comments that begin with that word (or both):
#     "# deeper, instead: CODE"   put CODE in place of the next line of code
#     "# deeper, add: CODE"       remove "# deeper, add: ", so that CODE is a line of its own


def simple_model():
    return keras.Sequential(
        [
            layers.Input((784,)),
            layers.Dense(10, "relu"),
            # dropout, add: layers.Dropout(0.2),
            # deeper, add: layers.Dense(10, "relu"),
            layers.Dense(10),  # logits: the loss contains the softmax
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


def init_params(weights):
    """Return the model with these weights: kernels (in, out) and biases (out,), layer by layer."""
    model = simple_model()
    model.set_weights(list(weights.values()))
    return model


# --- 3. The loss and its gradients ----------------------------------------------------------------


def back_prop(model, X, y):
    """Return the loss and the gradient of each parameter."""
    with tf.GradientTape() as tape:
        logits = model(X, training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
        loss = tf.reduce_mean(losses)
    return loss, tape.gradient(loss, model.trainable_variables)


# --- 4. Training ----------------------------------------------------------------------------------


@tf.function
def train_step(model, X, y, alpha):
    """Make one step of gradient descent, in place; return the loss before it."""
    loss, gradients = back_prop(model, X, y)
    for parameter, gradient in zip(model.trainable_variables, gradients, strict=True):
        parameter.assign_sub(alpha * gradient)
    return loss


def train(model, X, y, batches, epochs, alpha):
    """Yield the number of each epoch and the loss of its last step."""
    for epoch in range(epochs):
        for rows in batches(epoch):
            loss = train_step(model, X[rows], y[rows], alpha)
        yield epoch, loss


def fit(model, X, y, batches, alpha):
    """Make the same steps with model.fit: Keras's loop in place of ours."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(alpha), loss)
    for rows in batches:
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


# --- 5. Predictions -------------------------------------------------------------------------------


def get_predictions(model, X):
    return model(X, training=False).numpy().argmax(axis=1)


def get_accuracy(model, X, y):
    return (get_predictions(model, X) == y).mean()


# --- 6. Run ---------------------------------------------------------------------------------------


def main():
    args = lesson.arguments(__doc__, epochs=20, batch_size=64)
    # deeper, instead: data = lesson.start(args, NAME, hidden=(10, 10))
    data = lesson.start(args, NAME)
    keras.utils.set_random_seed(args.seed % 2**32)
    X, y, X_test = get_arrays(data)
    model = init_params(data.weights)

    started = time.perf_counter()
    for epoch, loss in train(model, X, y, data.batches, args.epochs, 0.1):
        if epoch % max(1, args.epochs // 10) == 0 or epoch == args.epochs - 1:
            accuracy = get_accuracy(model, X_test, data.y_test)
            print(f"epoch {epoch + 1:4}: loss {loss:.4f}, test accuracy {accuracy:.2%}")
    seconds = time.perf_counter() - started
    accuracy = get_accuracy(model, X_test, data.y_test)
    print(f"{NAME}: test accuracy {accuracy:.2%} after {seconds:.1f} s of training")

    by_hand = init_params(data.weights)
    by_fit = init_params(data.weights)
    batches = list(data.batches(0))[:20]
    for rows in batches:
        train_step(by_hand, X[rows], y[rows], 0.1)
    fit(by_fit, X, y, batches, 0.1)
    pairs = zip(by_hand.get_weights(), by_fit.get_weights(), strict=True)
    apart = max(np.abs(a - b).max() for a, b in pairs)
    print(f"By hand against model.fit: weights at most {apart:.0e} apart, steps: {len(batches)}")
    # dropout, add: print("With dropout they must differ: each model draws other units to drop.")

    advanced = advanced_model()
    history = fit_advanced(advanced, data, data.folder, args.epochs)
    accuracy = get_accuracy(advanced, X_test, data.y_test)
    print(f"Advanced model, 784-128-64-10 with dropout: test accuracy {accuracy:.2%}")
    print(f"Its curves in TensorBoard: tensorboard --logdir {data.folder / 'logs'}")
    lesson.end(data, get_predictions(model, X_test), history)


if __name__ == "__main__":
    main()
