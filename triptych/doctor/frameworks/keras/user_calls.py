"""What a user of Keras runs again and again: a training step, and the model alone."""

from typing import Any

import keras

from ...observation import Arrays
from ..adapter import UserCalls
from ..several_losses import SeveralLosses
from . import backend
from .training import Optimization


def user_calls(optimization: Optimization, inputs: Arrays, targets: Arrays | None) -> UserCalls:
    """Return the calls of a user.

    A model is compiled with its loss and optimizer and without metrics, and trained with
    ``train_on_batch``, the step of ``fit``. A function that calls layers is trained with a gradient
    tape, on TensorFlow inside of a ``tf.function``.

    Parameters
    ----------
    optimization : Optimization
        The model with its loss and optimizer.
    inputs : dict of str to ndarray
        What the model gets.
    targets : dict of str to ndarray or None
        What the loss gets.
    """
    parts = (optimization.loss, optimization.optimizer, targets)
    can_train = all(part is not None for part in parts)
    if isinstance(optimization.model.call, keras.Model):
        return _compiled(optimization, inputs, targets if can_train else None)
    return _written_out(optimization, inputs, targets if can_train else None)


def _compiled(optimization: Optimization, inputs: Arrays, targets: Arrays | None) -> UserCalls:
    """Return the calls of a model of Keras."""
    model = optimization.model.call
    x = optimization.model.packed(inputs)
    train = None
    if targets is not None:
        y = optimization.model.target(targets)
        options: dict[str, Any] = {}
        if model.compiled:
            options = {"run_eagerly": model.run_eagerly, "jit_compile": model.jit_compile}
        loss = optimization.loss
        if isinstance(loss, SeveralLosses):
            options["loss_weights"] = loss.as_given(loss.weights)
            each = loss.targets(y if isinstance(y, list) else [y])
            y, loss = loss.as_given(each), loss.as_given(loss.losses)
        model.compile(optimizer=optimization.optimizer, loss=loss, **options)
        model._compile_metrics = None  # a second `compile` keeps those of the first

        def train() -> None:
            model.train_on_batch(x, y)

    return UserCalls(
        train,
        lambda: model.predict_on_batch(x),
        lambda training: None,
        "model.train_on_batch(x, y)",
        "model.predict_on_batch(x)",
        backend.threads(),
    )


def _written_out(optimization: Optimization, inputs: Arrays, targets: Arrays | None) -> UserCalls:
    """Return the calls of a function that calls layers, with a step as users write it.

    Raises
    ------
    Unsupported
        If the backend cannot compile such a function.
    """
    model = optimization.model
    x = model.packed(inputs)
    variables = [weight.variable for weight in model.trained]

    def step() -> Any:
        with backend.Tape() as tape:
            outputs = model.call_packed(x, training=True)
            loss = optimization.loss_of(outputs, targets or {})
            total = optimization.optimizer.scale_loss(loss + sum(model.losses))
        optimization.optimizer.apply(tape.gradients(total, variables), variables)
        return loss

    train = None
    if targets is not None:
        optimization.optimizer.build(variables)
        compiled_step = backend.compiled(step)

        def train() -> None:
            backend.to_numpy(compiled_step())

    model_alone = backend.compiled(lambda: model.call_packed(x, training=False))
    word = "tf.function: " if backend.NAME == "tensorflow" else ""
    return UserCalls(
        train,
        lambda: [backend.to_numpy(each) for each in keras.tree.flatten(model_alone())],
        lambda training: None,
        f"{word}forward, loss, gradients, optimizer.apply",
        f"{word}model(x)",
        backend.threads(),
    )
