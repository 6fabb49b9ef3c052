"""Measurements of losses."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .support import Values, apart, check, draw, largest, to_numpy

LOGITS = [[30.0, 0.0, 0.0]]  # of a sample of the class 1: confidently wrong
WRONG = [1]


def _gradient(loss: Callable[[Any], Any], point: Any) -> tuple[Any, Any]:
    """Return a loss and its gradient, in TensorFlow."""
    import tensorflow as tf

    x = tf.Variable(point)
    with tf.GradientTape() as tape:
        value = loss(x)
    return value, tape.gradient(value, x)


def _torch_gradient(loss: Callable[[Any], Any], point: Any) -> tuple[Any, Any]:
    """Return a loss and its gradient, in PyTorch."""
    import torch

    x = torch.tensor(point, requires_grad=True)
    value = loss(x)
    value.backward()
    return value, x.grad


@check("D34")
def clipped_probabilities() -> Values:
    """Measure the loss of a sample that is confidently wrong, and its largest gradient."""
    import keras
    import tensorflow as tf
    import torch

    cross_entropy = torch.nn.functional.cross_entropy
    value, gradient = _torch_gradient(lambda x: cross_entropy(x, torch.tensor(WRONG)), LOGITS)
    crossentropy = keras.losses.SparseCategoricalCrossentropy()
    exact = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Multiplied by 1, so that Keras cannot find the logits.
    clipped, clipped_gradient = _gradient(
        lambda x: crossentropy(tf.constant(WRONG), 1 * tf.nn.softmax(x)), LOGITS
    )
    return {
        "torch loss": value,
        "keras loss": clipped,
        "keras loss, from_logits=True": exact(tf.constant(WRONG), tf.constant(LOGITS)),
        "torch gradient": largest(gradient),
        "keras gradient": largest(clipped_gradient),
    }


@check("D35")
def logits_that_keras_finds() -> Values:
    """Measure the loss of the same sample behind different softmaxes."""
    import keras
    import tensorflow as tf
    import torch

    crossentropy = keras.losses.SparseCategoricalCrossentropy()
    target = tf.constant(WRONG)
    logits = tf.constant(LOGITS)

    def loss(x: Any) -> Any:
        return crossentropy(target, tf.nn.softmax(x))

    return {
        "torch": torch.nn.functional.cross_entropy(torch.tensor(LOGITS), torch.tensor(WRONG)),
        "keras, keras softmax": crossentropy(target, keras.activations.softmax(logits)),
        "keras, tf.nn.softmax, eager": loss(logits),
        "keras, tf.nn.softmax, tf.function": tf.function(loss)(logits),
        "keras, softmax and one operation": crossentropy(
            target, 1.0 * keras.activations.softmax(logits)
        ),
    }


@check("D36")
def backends_of_keras() -> Values:
    """Measure one step of Dense(softmax) with the rate 1: the loss and how far a bias moves."""
    import keras

    backend = keras.backend.backend()
    model = keras.Sequential([keras.layers.Dense(3, activation="softmax")])
    model.build((None, 3))
    model.layers[0].set_weights([np.eye(3, dtype=np.float32), np.zeros(3, np.float32)])
    model.compile(keras.optimizers.SGD(learning_rate=1.0), "sparse_categorical_crossentropy")
    loss = model.train_on_batch(np.float32(LOGITS), np.array(WRONG))
    values: Values = {
        f"keras on {backend}, loss": loss,
        f"keras on {backend}, step of a bias": largest(model.layers[0].get_weights()[1]),
    }
    if backend == "tensorflow":
        import torch

        bias = torch.zeros(3, requires_grad=True)
        logits = torch.tensor(LOGITS) + bias
        value = torch.nn.functional.cross_entropy(logits, torch.tensor(WRONG))
        value.backward()
        values["torch, loss"] = value
        values["torch, step of a bias"] = largest(bias.grad)
    return values


@check("D37")
def logits_as_probabilities() -> Values:
    """Measure the loss of the logits (4, 1, 1), class 0, without from_logits, and its gradient."""
    import keras
    import tensorflow as tf
    import torch

    logits = [[4.0, 1.0, 1.0]]
    sparse = keras.losses.SparseCategoricalCrossentropy()
    dense = keras.losses.CategoricalCrossentropy()
    loss, gradient = _gradient(lambda x: sparse(tf.constant([0]), x), logits)
    return {
        "torch": torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor([0])),
        "keras": loss,
        "keras gradient": largest(gradient),
        "keras CategoricalCrossentropy": dense(np.eye(3)[:1], np.float32(logits)),
        "keras, from_logits=True": keras.losses.SparseCategoricalCrossentropy(from_logits=True)(
            tf.constant([0]), tf.constant(logits)
        ),
    }


@check("D38")
def softmax_twice() -> Values:
    """Measure the loss of the logits (4, 0, 0), class 0, with a softmax before the loss."""
    import keras
    import tensorflow as tf
    import torch

    logits = torch.tensor([[4.0, 0.0, 0.0]])
    target = torch.tensor([0])
    loss = torch.nn.CrossEntropyLoss()
    probabilities = logits.softmax(1)
    crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    constant = tf.constant(probabilities.numpy())
    return {
        "torch, once": loss(logits, target),
        "torch, twice": loss(probabilities, target),
        "torch, smallest possible": loss(torch.eye(3)[:1], target),
        "keras, twice": crossentropy(tf.constant([0]), constant),
        "torch, NLLLoss of the logarithm": torch.nn.functional.nll_loss(
            torch.log(probabilities), target
        ),
    }


@check("D39")
def binary_cross_entropy() -> Values:
    """Measure the loss of the probability 0 for a positive, and of the logit -50."""
    import keras
    import torch

    functional = torch.nn.functional
    one = torch.tensor([1.0])
    logit = torch.tensor([-50.0])
    probability = torch.tensor([0.0])
    exact = keras.losses.BinaryCrossentropy(from_logits=True)
    return {
        "torch": functional.binary_cross_entropy(probability, one),
        "keras": keras.losses.BinaryCrossentropy()([[1.0]], [[0.0]]),
        "torch, clamped as in keras": functional.binary_cross_entropy(
            probability.clamp(1e-7, 1 - 1e-7), one
        ),
        "torch, of the logit": functional.binary_cross_entropy_with_logits(logit, one),
        "keras, of the logit": exact([[1.0]], [[-50.0]]),
    }


@check("D40")
def class_weights() -> Values:
    """Measure four samples with the class weights 1 and 6: one sample has the second class."""
    import keras
    import torch

    logits = np.float32([[1, 0], [2, 0], [0.5, 0], [0, 1]])
    target = np.array([0, 0, 0, 1])
    weight = np.float32([1, 6])
    each = weight[target]
    tensor = torch.from_numpy(logits)
    classes = torch.from_numpy(target)
    weights = torch.from_numpy(weight)
    one_by_one = torch.nn.functional.cross_entropy(tensor, classes, reduction="none")
    crossentropy = keras.losses.SparseCategoricalCrossentropy
    by_weight = crossentropy(from_logits=True, reduction="mean_with_sample_weight")
    return {
        "torch": torch.nn.CrossEntropyLoss(weight=weights)(tensor, classes),
        "keras": crossentropy(from_logits=True)(target, logits, sample_weight=each),
        "torch, divided by the samples": (one_by_one * weights[classes]).mean(),
        "keras, mean_with_sample_weight": by_weight(target, logits, sample_weight=each),
    }


@check("D41")
def label_smoothing() -> Values:
    """Measure the logits (2, 0, 0), class 0, with a smoothing of 0.1."""
    import keras
    import torch

    logits = [[2.0, 0.0, 0.0]]
    smoothed = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    return {
        "torch": loss(torch.tensor(logits), torch.tensor([0])),
        "keras": smoothed(np.eye(3)[:1], np.float32(logits)),
        "keras, sparse": sparse(np.array([0]), np.float32(logits)),
    }


@check("D42")
def ignored_labels() -> Values:
    """Measure two samples, the second labelled -100."""
    import keras
    import tensorflow as tf
    import torch

    logits = [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    target = [0, -100]
    crossentropy = keras.losses.SparseCategoricalCrossentropy
    ignoring = crossentropy(from_logits=True, ignore_class=-100)
    try:
        outcome: Any = crossentropy(from_logits=True)(np.array(target), np.float32(logits))
    except tf.errors.InvalidArgumentError as error:
        outcome = type(error).__name__
    return {
        "torch": torch.nn.CrossEntropyLoss()(torch.tensor(logits), torch.tensor(target)),
        "torch ignore_index": torch.nn.CrossEntropyLoss().ignore_index,
        "keras": outcome,
        "keras, ignore_class=-100": ignoring(np.array(target), np.float32(logits)),
        "keras ignore_class": str(crossentropy().ignore_class),
    }


@check("D43")
def kullback_leibler() -> Values:
    """Measure the divergence of (0.1, 0.9) from (0.5, 0.5), one sample."""
    import keras
    import torch

    target = torch.tensor([[0.5, 0.5]])
    prediction = torch.tensor([[0.1, 0.9]])
    return {
        "torch": torch.nn.KLDivLoss()(prediction.log(), target),
        "torch batchmean": torch.nn.KLDivLoss(reduction="batchmean")(prediction.log(), target),
        "keras": keras.losses.KLDivergence()(target.numpy(), prediction.numpy()),
    }


@check("D44")
def broadcast_error() -> Values:
    """Measure perfect predictions (2, 1) of the targets 0 and 1."""
    import keras
    import torch

    target = np.float32([0, 1])
    output = target[:, None]
    loss = torch.nn.functional.mse_loss
    return {
        "torch": loss(torch.from_numpy(output), torch.from_numpy(target)),
        "keras": keras.losses.MeanSquaredError()(target, output),
        "torch, squeezed": loss(torch.from_numpy(output).squeeze(-1), torch.from_numpy(target)),
    }


@check("D45")
def named_alike() -> Values:
    """Measure cosine, Poisson, SmoothL1 and Huber losses of single numbers."""
    import keras
    import torch

    one = torch.tensor([[1.0, 0.0]])
    other = torch.tensor([[3.0, 4.0]])
    zero = torch.zeros(1)
    three = torch.tensor([3.0])
    rate = torch.tensor([0.5])
    count = torch.tensor([2.0])
    nn = torch.nn
    return {
        "torch CosineEmbeddingLoss": nn.CosineEmbeddingLoss()(one, other, torch.ones(1)),
        "keras CosineSimilarity": keras.losses.CosineSimilarity()(one.numpy(), other.numpy()),
        "torch PoissonNLLLoss": nn.PoissonNLLLoss()(rate, count),
        "torch PoissonNLLLoss(log_input=False)": nn.PoissonNLLLoss(log_input=False)(rate, count),
        "keras Poisson": keras.losses.Poisson()(count.numpy(), rate.numpy()),
        "torch SmoothL1Loss(beta=0.5)": nn.SmoothL1Loss(beta=0.5)(three, zero),
        "torch HuberLoss(delta=0.5)": nn.HuberLoss(delta=0.5)(three, zero),
        "keras Huber(delta=0.5)": keras.losses.Huber(delta=0.5)([[0.0]], [[3.0]]),
    }


@check("D110")
def class_axis() -> Values:
    """Measure a sequence of 3 steps and 3 classes, features last."""
    import keras
    import torch

    logits = draw(1, 3, 3)
    target = np.array([[0, 1, 2]])
    tensor = torch.from_numpy(logits)
    classes = torch.from_numpy(target)
    cross_entropy = torch.nn.functional.cross_entropy
    crossentropy = keras.losses.SparseCategoricalCrossentropy
    return {
        "torch": cross_entropy(tensor, classes),
        "keras": crossentropy(from_logits=True)(target, logits),
        "torch, axes exchanged": cross_entropy(tensor.transpose(1, 2), classes),
    }


@check("D111")
def order_of_arguments() -> Values:
    """Measure the prediction 0.2 of the target 1, in the right and in the other order."""
    import keras
    import torch

    prediction = torch.tensor([[0.2]])
    target = torch.tensor([[1.0]])
    loss = torch.nn.functional.binary_cross_entropy
    keras_loss = keras.losses.BinaryCrossentropy()
    return {
        "torch": loss(prediction, target),
        "torch, swapped": loss(target, prediction),
        "keras": keras_loss(target.numpy(), prediction.numpy()),
        "keras, swapped": keras_loss(prediction.numpy(), target.numpy()),
    }


@check("D116")
def hinge() -> Values:
    """Measure the logits (2, 1.5, 1.8), class 0."""
    import keras
    import torch

    logits = torch.tensor([[2.0, 1.5, 1.8]])
    target = torch.tensor([0])
    right = logits.gather(1, target[:, None])
    wrong = logits.scatter(1, target[:, None], -torch.inf).amax(1, keepdim=True)
    return {
        "torch": torch.nn.MultiMarginLoss()(logits, target),
        "keras": keras.losses.CategoricalHinge()(np.eye(3)[:1], logits.numpy()),
        "torch, largest wrong class": (1 + wrong - right).clamp(0).mean(),
    }


@check("D117")
def connectionist() -> Values:
    """Measure two sequences of 8 steps with targets of 2 and 4 labels."""
    import keras
    import torch

    logits = draw(2, 8, 5)
    target = np.array([[1, 2, 0, 0], [1, 2, 3, 4]], np.int32)
    lengths = [2, 4]
    log_probabilities = torch.from_numpy(logits).log_softmax(-1).transpose(0, 1)
    arguments = (
        log_probabilities,
        torch.from_numpy(target.astype(np.int64)),
        torch.tensor([8, 8]),
        torch.tensor(lengths),
    )
    each = keras.ops.ctc_loss(
        target, logits, np.array(lengths, np.int32), np.array([8, 8], np.int32), mask_index=0
    )
    torch_each = torch.nn.CTCLoss(reduction="none")(*arguments)
    return {
        "torch": torch.nn.CTCLoss()(*arguments),
        "keras": keras.losses.CTC()(target, logits),
        "torch, mean of the samples": torch_each.mean(),
        "keras, from PyTorch's samples": apart(to_numpy(each), torch_each),
    }


@check("D126")
def focal_balancing() -> Values:
    """Measure focal losses with gamma 2 of a probability: of a one, and of a zero."""
    import keras
    import torch

    p = 0.6
    logit = torch.tensor([[math.log(p / (1 - p))]])

    def torch_loss(y: float, alpha: float = 0.25) -> float:
        target = torch.tensor([[y]])
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(logit, target)
        right = p * y + (1 - p) * (1 - y)
        return float((alpha * y + (1 - alpha) * (1 - y)) * entropy * (1 - right) ** 2)

    def keras_loss(y: float, **options: Any) -> float:
        loss = keras.losses.BinaryFocalCrossentropy(**options)
        return float(loss(np.array([[y]], np.float32), np.array([[p]], np.float32)))

    of_classes = keras.losses.CategoricalFocalCrossentropy()
    rows = np.array([[1.0, 0.0]], np.float32), np.array([[p, 1 - p]], np.float32)
    return {
        "torch": [torch_loss(1.0), torch_loss(0.0)],
        "keras BinaryFocalCrossentropy": [keras_loss(1.0), keras_loss(0.0)],
        "keras, apply_class_balancing=True": [
            keras_loss(y, apply_class_balancing=True) for y in (1.0, 0.0)
        ],
        "keras CategoricalFocalCrossentropy": float(of_classes(*rows)),
    }
