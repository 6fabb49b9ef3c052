"""Measurements of data, metrics and modes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .support import Array, Values, check, draw, flat, largest, to_numpy, whole


@check("D76")
def input_dtype() -> Values:
    """Measure what a dense layer of float32 makes of float64 and of uint8."""
    import keras
    import torch

    layer = torch.nn.Linear(2, 1)
    values: Values = {}
    for dtype in ("float64", "uint8"):
        array = np.ones((1, 2), dtype)
        try:
            values[f"torch, {dtype}"] = str(layer(torch.from_numpy(array)).dtype)
        except RuntimeError as error:
            values[f"torch, {dtype}"] = type(error).__name__
        output = keras.layers.Dense(1)(array)
        values[f"keras, {dtype}"] = keras.backend.standardize_dtype(output.dtype)
    return values


@check("D77")
def pixel_scale() -> Values:
    """Measure black and white after the scaling of each framework's MNIST example."""
    import keras
    import torch

    pixels = np.array([[0, 255]], np.uint8)
    scaled = (torch.from_numpy(pixels) / 255 - 0.1307) / 0.3081
    matched = keras.layers.Rescaling(1 / (255 * 0.3081), offset=-0.1307 / 0.3081)
    return {
        "torch": flat(scaled),
        "keras": flat(keras.layers.Rescaling(1 / 255)(pixels)),
        "keras, standardised": flat(matched(pixels)),
    }


@check("D78")
def standard_deviation() -> Values:
    """Measure the standard deviation of 1, 2, 3."""
    import keras
    import torch

    numbers = np.float32([1, 2, 3])
    tensor = torch.from_numpy(numbers)
    return {
        "torch": tensor.std(),
        "keras": keras.ops.std(numbers),
        "numpy": numbers.std(),
        "torch, correction=0": torch.std(tensor, correction=0),
        "keras, times √(n/(n-1))": keras.ops.std(numbers) * (3 / 2) ** 0.5,
    }


@check("D79")
def median() -> Values:
    """Measure the median of 1, 2, 3, 4."""
    import keras
    import torch

    numbers = np.float32([1, 2, 3, 4])
    tensor = torch.from_numpy(numbers)
    return {
        "torch": tensor.median(),
        "keras": keras.ops.median(numbers),
        "torch quantile": torch.quantile(tensor, 0.5),
        "keras quantile, lower": keras.ops.quantile(numbers, 0.5, method="lower"),
    }


def _recorded_order(rows: int, **options: Any) -> tuple[list[int], int]:
    """Return the rows in the order in which fit uses them, and the size of the first batch."""
    import keras

    class Recorder(keras.layers.Layer):
        """Passes its input on and notes it."""

        def __init__(self) -> None:
            super().__init__()
            self.batches: list[Array] = []

        def call(self, inputs: Any) -> Any:
            """Return the input."""
            self.batches.append(to_numpy(inputs)[:, 0])
            return inputs

    recorder = Recorder()
    model = keras.Sequential([recorder])
    model.compile("sgd", "mse", run_eagerly=True)
    numbers = np.arange(rows, dtype=np.float32)[:, None]
    model.fit(numbers, numbers, verbose=0, **options)
    # Keras may call a layer once more to find out shapes; that call has other rows.
    batches = [batch for batch in recorder.batches if len(batch)]
    return whole(np.concatenate(batches)), len(batches[0])


@check("D80")
def batches() -> Values:
    """Measure the first batch of DataLoader and of fit, and whether 70 rows are in order."""
    import torch

    rows = torch.arange(70)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(rows))
    loaded = [batch for (batch,) in loader]
    order, size = _recorded_order(70)
    unshuffled, _ = _recorded_order(70, shuffle=False)
    return {
        "torch batch size": len(loaded[0]),
        "keras batch size": size,
        "torch in order": torch.equal(torch.cat(loaded), rows),
        "keras in order": order == sorted(order),
        "keras in order, shuffle=False": unshuffled == sorted(unshuffled),
    }


@check("D81")
def buffered_shuffle() -> Values:
    """Measure the rank correlation of 10,000 rows before and after shuffling."""
    import tensorflow as tf
    import torch

    rows = np.arange(10_000)
    dataset = tf.data.Dataset.from_tensor_slices(rows)
    buffered = to_numpy(next(iter(dataset.shuffle(100, seed=0).batch(10_000))))
    whole_buffer = to_numpy(next(iter(dataset.shuffle(10_000, seed=0).batch(10_000))))
    sampler = torch.utils.data.RandomSampler(range(10_000))
    return {
        "torch, RandomSampler": round(abs(_correlation(np.array(list(sampler)))), 1),
        "tf, buffer of 100": _correlation(buffered),
        "tf, buffer of 100, largest move forward": int((buffered - rows).max()),
        "tf, buffer of 10,000": round(abs(_correlation(whole_buffer)), 1),
    }


def _correlation(order: Array) -> float:
    """Return the rank correlation of an order with the original one."""
    return float(np.corrcoef(order, np.arange(len(order)))[0, 1])


@check("D82")
def unequal_batches() -> Values:
    """Measure the mean absolute error of five samples in batches of 2, the last of 1."""
    import keras
    import torch

    target = np.float32([3, 3, 4, 4, 16])[:, None]
    zeros = np.zeros_like(target)
    model = keras.Sequential([keras.layers.Identity()])
    model.compile("sgd", "mae")
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(zeros), torch.from_numpy(target))
    losses: list[float] = []
    total = 0.0
    for x, y in torch.utils.data.DataLoader(dataset, batch_size=2):
        loss = torch.nn.functional.l1_loss(x, y)
        losses.append(loss.item())
        total += loss.item() * len(x)
    return {
        "torch, mean of the batches": sum(losses) / len(losses),
        "keras": model.evaluate(zeros, target, batch_size=2, verbose=0),
        "torch, weighted by size": total / len(dataset),
    }


@check("D83")
def loss_of_an_epoch() -> Values:
    """Measure the loss that fit reports for an epoch of 8 steps, and the loss after it."""
    import keras
    import torch

    x = np.ones((8, 1), np.float32)
    model = keras.Sequential([keras.layers.Dense(1, kernel_initializer="zeros", use_bias=False)])
    model.compile(keras.optimizers.SGD(learning_rate=0.05), "mse")
    history = model.fit(x, x, batch_size=1, shuffle=False, verbose=0)
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data.zero_()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
    for row in torch.from_numpy(x):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(layer(row), row).backward()
        optimizer.step()
    after = torch.nn.functional.mse_loss(layer(torch.from_numpy(x)), torch.from_numpy(x))
    return {
        "torch, after the epoch": after,
        "keras": history.history["loss"][0],
        "keras, evaluate": model.evaluate(x, x, verbose=0),
    }


@check("D84")
def accuracy_of_logits() -> Values:
    """Measure the accuracy of the logits 0.3 and 2 of two positives."""
    import keras
    import torch

    logits = np.float32([[0.3], [2]])
    ones = np.ones((2, 1), np.float32)
    accuracy = keras.metrics.BinaryAccuracy()
    at_zero = keras.metrics.BinaryAccuracy(threshold=0.0)
    positive = torch.sigmoid(torch.from_numpy(logits)) > 0.5
    return {
        "torch": positive.eq(torch.from_numpy(ones)).float().mean(),
        "keras": accuracy(ones, logits),
        "keras, threshold=0": at_zero(ones, logits),
    }


@check("D85")
def modes() -> Values:
    """Measure whether dropout is active in a model that was just built, by a call."""
    import keras
    import torch

    ones = np.ones((1, 1000), np.float32)
    tensor = torch.from_numpy(ones)
    module = torch.nn.Sequential(torch.nn.Dropout(0.5))
    as_built = bool((module(tensor) == 0).any())
    model = keras.Sequential([keras.layers.Dropout(0.5)])
    return {
        "torch": as_built,
        "torch, after eval()": bool((module.eval()(tensor) == 0).any()),
        "keras": bool((to_numpy(model(ones)) == 0).any()),
        "keras, training=True": bool((to_numpy(model(ones, training=True)) == 0).any()),
    }


@check("D86")
def dropout_masks() -> Values:
    """Measure the values that ones become at the rate 0.5, and whether masks agree."""
    import keras
    import torch

    ones = np.ones(1000, np.float32)
    torch.manual_seed(0)
    torch_output = to_numpy(torch.nn.functional.dropout(torch.from_numpy(ones), 0.5))
    keras_output = to_numpy(keras.layers.Dropout(0.5, seed=0)(ones, training=True))
    return {
        "torch": flat(np.unique(torch_output)),
        "keras": flat(np.unique(keras_output)),
        "keras, the same mask for the seed 0": bool((torch_output == keras_output).all()),
    }


@check("D87")
def validation_rows() -> Values:
    """Measure which of 10 rows, numbered from 0, validate with a share of 0.2."""
    import torch

    order, _ = _recorded_order(10, validation_split=0.2, shuffle=True)
    _, drawn = torch.utils.data.random_split(range(10), [0.8, 0.2])
    return {"torch": sorted(drawn.indices), "keras": sorted(order[8:])}


@check("D98")
def functional_dropout() -> Values:
    """Measure whether dropout written as a function is active in evaluation mode."""
    import torch

    ones = np.ones((1, 1000), np.float32)

    class Written(torch.nn.Module):
        """Drops out as many write it."""

        def forward(self, x: Any) -> Any:
            """Return the output."""
            return torch.nn.functional.dropout(x, 0.5)

    class Corrected(torch.nn.Module):
        """Drops out in training alone."""

        def forward(self, x: Any) -> Any:
            """Return the output."""
            return torch.nn.functional.dropout(x, 0.5, training=self.training)

    tensor = torch.from_numpy(ones)
    return {
        "torch": bool((Written().eval()(tensor) == 0).any()),
        "torch, training=self.training": bool((Corrected().eval()(tensor) == 0).any()),
        **_keras_dropout(ones),
    }


def _keras_dropout(ones: Array) -> Values:
    """Measure which of Keras' ways to write dropout are active in inference."""
    import keras
    import tensorflow as tf

    class AlwaysOn(keras.Model):
        """Drops out in every mode."""

        def __init__(self) -> None:
            super().__init__()
            self.dropout = keras.layers.Dropout(0.5)

        def call(self, x: Any) -> Any:
            """Return the output."""
            return self.dropout(x, training=True)

    inputs = keras.Input(ones.shape[1:])
    functional = keras.Model(inputs, keras.layers.Dropout(0.5)(inputs, training=True))
    outputs = {
        "keras": keras.layers.Dropout(0.5)(ones, training=False),
        "keras, training=True in call()": AlwaysOn()(ones, training=False),
        "keras, training=True in a functional model": functional(ones, training=False),
        "tf.nn.dropout": tf.nn.dropout(ones, 0.5),
    }
    return {name: bool((to_numpy(output) == 0).any()) for name, output in outputs.items()}


@check("D102")
def slopes_of_prelu() -> Values:
    """Measure the number of slopes for an image of 28×28×8."""
    import keras
    import torch

    shape = (None, 28, 28, 8)
    each = keras.layers.PReLU()
    each.build(shape)
    shared = keras.layers.PReLU(shared_axes=[1, 2, 3])
    shared.build(shape)
    return {
        "torch": torch.nn.PReLU().weight.numel(),
        "keras": each.count_params(),
        "keras, shared_axes=[1, 2, 3]": shared.count_params(),
    }


@check("D103")
def shape_of_targets() -> Values:
    """Measure the shapes of targets (6,) and of an output (batch, 1) in a custom loss."""
    import keras
    import torch

    x = draw(6, 2)
    target = draw(6)
    seen: list[Any] = []

    def loss(y_true: Any, y_pred: Any) -> Any:
        seen[:] = [list(y_true.shape), list(y_pred.shape)]
        return keras.ops.mean(keras.ops.square(y_true - y_pred))

    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", loss, run_eagerly=True)
    model.fit(x, target, batch_size=6, verbose=0)
    output = torch.nn.Linear(2, 1)(torch.from_numpy(x))
    return {
        "torch target": list(torch.from_numpy(target).shape),
        "torch output": list(output.shape),
        "keras y_true": seen[0],
        "keras y_pred": seen[1],
    }


@check("D113")
def pretrained_preprocessing() -> Values:
    """Measure a white pixel, red first, as the pretrained models expect it."""
    import keras
    import torch

    white = np.full((1, 1, 1, 3), 255.0, np.float32)
    mean = torch.tensor([0.485, 0.456, 0.406])
    deviation = torch.tensor([0.229, 0.224, 0.225])
    applications = keras.applications
    torch_mode = applications.imagenet_utils.preprocess_input(white.copy(), mode="torch")
    return {
        "torch": flat((torch.from_numpy(white) / 255 - mean) / deviation),
        "keras resnet50": flat(applications.resnet50.preprocess_input(white.copy())),
        "keras mobilenet_v2": flat(applications.mobilenet_v2.preprocess_input(white.copy())),
        "keras efficientnet": flat(applications.efficientnet.preprocess_input(white.copy())),
        "keras, mode='torch'": flat(torch_mode),
    }


@check("D114")
def area_under_the_curve() -> Values:
    """Measure four scores that are 0.001 apart and in the right order."""
    import keras
    from sklearn.metrics import roc_auc_score

    target = np.float32([0, 0, 1, 1])
    scores = np.float32([0.501, 0.5015, 0.502, 0.5021])
    return {
        "sklearn": roc_auc_score(target, scores),
        "keras": keras.metrics.AUC()(target, scores),
        "keras thresholds": keras.metrics.AUC().num_thresholds,
    }


@check("D115")
def penalties() -> Values:
    """Measure the loss of perfect predictions by a weight of 3 with the penalty 0.1."""
    import keras
    import torch

    x = np.ones((1, 1), np.float32)
    dense = keras.layers.Dense(1, use_bias=False, kernel_regularizer=keras.regularizers.L2(0.1))
    model = keras.Sequential([dense])
    model.build((None, 1))
    model.set_weights([np.float32([[3]])])
    model.compile("sgd", "mse")
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(3.0)
    loss = torch.nn.functional.mse_loss(layer(torch.from_numpy(x)), torch.tensor([[3.0]]))
    return {
        "torch": loss,
        "keras": model.evaluate(x, 3 * x, verbose=0),
        "keras penalties": float(sum(model.losses)),
    }


@check("D120")
def smallest_norm() -> Values:
    """Measure the norm of a vector of the norm 1e-8 after normalising it."""
    import keras
    import tensorflow as tf
    import torch

    vector = np.float32([[1e-8, 0]])
    tensor = torch.from_numpy(vector)
    normalize = torch.nn.functional.normalize
    return {
        "torch": largest(normalize(tensor)),
        "keras.layers": largest(keras.layers.UnitNormalization()(vector)),
        "keras.ops": largest(keras.ops.normalize(vector)),
        "tf": largest(tf.math.l2_normalize(vector, axis=-1)),
        "torch, eps=1e-7": largest(normalize(tensor, eps=1e-7)),
        "keras.ops, epsilon=1e-12": largest(keras.ops.normalize(vector, epsilon=1e-12)),
        "tf, epsilon=1e-24": largest(tf.math.l2_normalize(vector, axis=-1, epsilon=1e-24)),
    }


@check("D121")
def axis_of_softmax() -> Values:
    """Measure the axis along which equal numbers of 2×3×4 become shares, without naming one."""
    import keras
    import torch

    zeros = np.zeros((2, 3, 4), np.float32)
    values: Values = {}
    for axes in (1, 2, 3):
        array = zeros[tuple([0] * (3 - axes))]
        output = torch.nn.Softmax()(torch.from_numpy(array))
        values[f"torch, {axes} axes"] = _axis_of_shares(to_numpy(output), (2, 3, 4)[3 - axes :])
        keras_output = to_numpy(keras.layers.Softmax()(array))
        values[f"keras, {axes} axes"] = _axis_of_shares(keras_output, (2, 3, 4)[3 - axes :])
    return values


def _axis_of_shares(output: Array, sizes: Sequence[int]) -> int:
    """Return the axis with as many entries as equal shares have; every axis has another size."""
    return sizes.index(round(1 / float(output.flat[0])))


@check("D122")
def gradients_that_add_up() -> Values:
    """Measure the gradient of w² at 1 in the second of two steps, without zero_grad."""
    import tensorflow as tf
    import torch

    weight = torch.ones((), requires_grad=True)
    for _ in range(2):
        (weight * weight).backward()
    accumulated = to_numpy(weight.grad).copy()
    torch.optim.SGD([weight], lr=0.0).zero_grad()
    (weight * weight).backward()
    variable = tf.Variable(1.0)
    gradient = None
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = variable * variable
        gradient = tape.gradient(loss, variable)
    return {"torch": accumulated, "torch, after zero_grad": weight.grad, "keras": gradient}
