"""The recorded values are those of the formulas, written out in NumPy."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from triptych.doctor import catalogue
from triptych.doctor.catalogue.measurement import agrees

CLIP = -math.log(1e-7)
WAVE = np.cos(0.2 * np.arange(50))


def glorot(inputs: int, outputs: int) -> float:
    return math.sqrt(6 / (inputs + outputs))


def steps_to_99_percent(share: float) -> int:
    return math.ceil(math.log(0.01) / math.log(1 - share))


def normalised(variance: float, epsilon: float) -> float:
    return math.sqrt(variance / (variance + epsilon))


def adam_epsilon(step: int) -> float:
    """Keras's effective epsilon for 1e-8."""
    return 1e-8 / math.sqrt(1 - 0.999**step)


def rmsprop(gradient: float, inside: float, outside: float) -> float:
    """Distance travelled in 50 steps with rate 0.001 and rho 0.9."""
    average = 0.0
    travel = 0.0
    for _ in range(50):
        average = 0.9 * average + 0.1 * gradient**2
        travel += 0.001 * gradient / (math.sqrt(average + inside) + outside)
    return travel


def error_of_sums_in_order(count: int, channels: int) -> float:
    """Relative error of means whose values are added one after the other in float32."""
    drawn = np.random.default_rng(0).normal(size=(count, channels)).astype(np.float32)
    values = 2 + drawn
    sums = np.cumsum(values, axis=0, dtype=np.float32)[-1]
    means = sums / np.float32(count)
    return float(np.abs(means / values.mean(0, dtype=np.float64) - 1).max())


def adagrad(rate: float, accumulator: float) -> float:
    return sum(rate / math.sqrt(accumulator + step) for step in range(1, 51))


def adamax(inside: float, outside: float) -> float:
    """Distance travelled in 50 steps after one gradient of 1e-6, with rate 0.001."""
    moment = 0.0
    largest = 0.0
    travel = 0.0
    for step in range(50):
        gradient = 1e-6 if step == 0 else 0.0
        moment = 0.9 * moment + 0.1 * gradient
        largest = max(0.999 * largest, gradient + inside)
        travel += 0.001 / (1 - 0.9 ** (step + 1)) * moment / (largest + outside)
    return travel


def nadam(decay: float) -> float:
    """Travel over the wave with rate 0.001 and epsilon 1e-7."""
    moment = 0.0
    square = 0.0
    product = 1.0
    travel = 0.0
    for step, gradient in enumerate(WAVE, 1):
        now, later = (0.9 * (1 - 0.5 * 0.96 ** (t * decay)) for t in (step, step + 1))
        product *= now
        moment = 0.9 * moment + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        root = math.sqrt(square / (1 - 0.999**step)) + 1e-7
        ahead = later * moment / (1 - product * later)
        travel -= 0.001 * (ahead + (1 - now) * gradient / (1 - product)) / root
    return travel


def momentum(rate_inside: bool) -> float:
    """Distance travelled in 50 steps whose rate drops from 0.1 to 0.01."""
    velocity = 0.0
    travel = 0.0
    for step in range(50):
        rate = 0.1 if step < 25 else 0.01
        if rate_inside:
            velocity = 0.9 * velocity + rate
            travel += velocity
        else:
            velocity = 0.9 * velocity + 1
            travel += rate * velocity
    return travel


def dampened(dampening: float, rate: float) -> float:
    buffer = 1.0
    travel = rate
    for _ in range(4):
        buffer = 0.9 * buffer + 1 - dampening
        travel += rate * buffer
    return travel


def decayed_momentum(coupled: bool) -> float:
    """Distance from 1 after 50 steps of SGD with momentum, rate 0.01 and decay 0.1."""
    weight = 1.0
    buffer = 0.0
    for gradient in WAVE:
        if not coupled:
            weight *= 1 - 0.01 * 0.1
        buffer = 0.9 * buffer + gradient + (0.1 * weight if coupled else 0)
        weight -= 0.01 * buffer
    return 1 - weight


def tanh_gelu_error() -> float:
    from scipy.special import erf

    x = np.linspace(-4, 4, 80_001)
    exact = x * (1 + erf(x / math.sqrt(2))) / 2
    approximate = x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
    return float(np.abs(exact - approximate).max())


def cross_entropy(logits: list[float], target: int) -> float:
    return float(-log_softmax(logits)[target])


def weighted_cross_entropy(divisor: float) -> float:
    logits = [[1, 0], [2, 0], [0.5, 0], [0, 1]]
    losses = [cross_entropy(row, label) for row, label in zip(logits, (0, 0, 0, 1), strict=True)]
    return float(np.dot(losses, [1, 1, 1, 6])) / divisor


def smoothed(logits: list[float], smoothing: float) -> float:
    target = np.full(3, smoothing / 3) + np.eye(3)[0] * (1 - smoothing)
    return float(-(target * log_softmax(logits)).sum())


DIVERGENCE = 0.5 * math.log(0.5 / 0.1) + 0.5 * math.log(0.5 / 0.9)
SMALL = math.sqrt(1e-6 + np.finfo(np.float32).eps)

FORMULAS = {
    "D01": {
        "torch bound": 1 / 28,
        "keras bound": glorot(784, 10),
        "torch std": 1 / math.sqrt(3 * 784),
        "keras std": glorot(784, 10) / math.sqrt(3),
    },
    "D124": {
        "torch": 1 + 2**-9,
        "torch, autocast": 1.0,  # bfloat16 has 8 significant bits
        "torch, bfloat16()": 1.0,
        "keras, float32": 1 + 2**-9,
        "keras, mixed_bfloat16": 1.0,
    },
    "D02": {"torch bound": 0.1, "keras bound": 0.0},
    "D03": {"torch bound": 1 / 3, "keras bound": glorot(9, 9 * 32)},
    "D04": {"torch std": 1.0, "keras std": 0.05 / math.sqrt(3)},
    "D06": {"torch std": 0.05, "keras std": 0.05 * 0.8796, "keras largest": 0.1},
    "D07": {
        "torch input": glorot(64, 192),
        "keras input": glorot(64, 64),
        "torch output": 1 / 8,
        "keras output": glorot(64, 64),
    },
    "D08": {"torch input kernel": 1 / 4, "keras input kernel": glorot(8, 64)},
    "D16": {"torch parameters": 4 * 16 * (8 + 16 + 2), "keras parameters": 4 * 16 * (8 + 16 + 1)},
    "D18": {
        "torch output": normalised(0.008, 1e-5),
        "keras output": normalised(0.008, 1e-3),
    },
    "D19": {
        "torch steps to 99 %": steps_to_99_percent(0.1),
        "keras steps to 99 %": steps_to_99_percent(0.01),
    },
    "D20": {"torch": 8 / 7, "keras": 1.0, "tf FusedBatchNormV3": 8 / 7},
    "D23": {
        "torch output": normalised(0.008, 1e-5),
        "keras output": normalised(0.008, 1e-3),
    },
    "D24": {
        "torch output": normalised(0.008, 1e-5),
        "keras output": normalised(0.008, 1e-3),
    },
    "D25": {"torch output": 1e-3 / SMALL, "keras output": math.sqrt(0.5)},
    "D28": {"torch tanh": tanh_gelu_error(), "keras.ops": tanh_gelu_error()},
    "D29": {"keras, from the formula of Keras 2": 1 - 5.5 / 6},
    "D33": {"keras": math.log1p(math.exp(-20.1))},
    "D34": {"torch loss": 30.0, "keras loss": CLIP, "keras gradient": 0.0},
    "D35": {"keras, tf.nn.softmax, eager": CLIP, "keras, tf.nn.softmax, tf.function": 30.0},
    "D36": {"keras on torch, loss": CLIP, "keras on jax, loss": CLIP, "torch, loss": 30.0},
    "D37": {
        "torch": cross_entropy([4, 1, 1], 0),
        "keras": math.log(3),
        "keras CategoricalCrossentropy": -math.log(4 / 6),
    },
    "D38": {
        "torch, once": cross_entropy([4, 0, 0], 0),
        "torch, twice": cross_entropy(list(softmax([4, 0, 0])), 0),
        "torch, smallest possible": cross_entropy([1, 0, 0], 0),
        "keras, twice": cross_entropy(list(softmax([4, 0, 0])), 0),
    },
    "D39": {"torch": 100.0, "keras": CLIP, "torch, of the logit": 50.0},
    "D40": {"torch": weighted_cross_entropy(9), "keras": weighted_cross_entropy(4)},
    "D41": {"torch": smoothed([2, 0, 0], 0.1), "keras, sparse": smoothed([2, 0, 0], 0.0)},
    "D43": {"torch": DIVERGENCE / 2, "keras": DIVERGENCE},
    "D44": {"torch": 0.5, "keras": 0.0},
    "D45": {
        "torch CosineEmbeddingLoss": 1 - 0.6,
        "keras CosineSimilarity": -0.6,
        "torch PoissonNLLLoss": math.exp(0.5) - 2 * 0.5,
        "keras Poisson": 0.5 - 2 * math.log(0.5),
        "torch SmoothL1Loss(beta=0.5)": 3 - 0.5 / 2,
        "keras Huber(delta=0.5)": 0.5 * (3 - 0.5 / 2),
    },
    "D47": {
        "torch at step 1": 1e-8,
        "keras at step 1": adam_epsilon(1),
        "keras at step 10": adam_epsilon(10),
        "keras at step 100": adam_epsilon(100),
        "torch, eps set before each step, at step 10": adam_epsilon(10),
    },
    "D48": {
        "torch travel": rmsprop(1e-4, 0.0, 1e-7),
        "keras travel": rmsprop(1e-4, 1e-7, 0.0),
    },
    "D49": {"torch travel": adagrad(0.01, 0.0), "keras travel": adagrad(0.001, 0.1 + 1e-7)},
    "D51": {
        "torch travel, tiny gradient": adamax(1e-7, 0.0),
        "keras travel, tiny gradient": adamax(0.0, 1e-7),
    },
    "D52": {"torch travel": nadam(0.004), "keras travel": nadam(1.0)},
    "D54": {"torch travel": momentum(False), "keras travel": momentum(True)},
    "D55": {"torch travel": dampened(0.5, 0.1), "keras travel": dampened(0.0, 0.05)},
    "D56": {
        "torch SGD with momentum": decayed_momentum(True),
        "keras SGD with momentum": decayed_momentum(False),
    },
    "D57": {"torch step": 0.5 * 0.01, "keras step": 0.5 * 0.004},
    "D58": {"torch": 0.1 * 3, "keras": 2 * 0.1 * 3, "tf l2_loss": 0.1 * 3},
    "D59": {"torch": 1.0, "keras clipnorm": math.sqrt(2), "keras global_clipnorm": 1.0},
    "D60": {"torch, 5 at 1": 5 / (5 + 1e-6), "torch, 0.001 at 0.001": 1e-3 / (1e-3 + 1e-6)},
    "D62": {"keras": float(np.float32(0.1)) - 0.1},
    "D63": {"tf cast": float(np.float32(0.1)) - 0.1},
    "D69": {"keras ExponentialDecay": math.sqrt(0.5)},
    "D72": {"torch": 4 / 9, "keras": 1.0},
    "D77": {"torch": [-0.1307 / 0.3081, (1 - 0.1307) / 0.3081], "keras": [0.0, 1.0]},
    "D78": {"torch": np.std([1, 2, 3], ddof=1), "keras": np.std([1, 2, 3])},
    "D82": {"torch, mean of the batches": (3 + 4 + 16) / 3, "keras": 30 / 5},
    "D83": {"torch, after the epoch": 0.81**8, "keras": (1 - 0.81**8) / 0.19 / 8},
    "D95": {"torch": 1.0, "keras on tensorflow": math.sqrt(2)},
    "D101": {"torch": 1 / 4, "keras": 1.0},
    "D108": {"torch": 4 * (64 * 64 + 64), "keras, key_dim=64": 3 * (64 + 1) * 256 + 256 * 64 + 64},
    "D109": {"torch": softmax([2, 0])[0], "keras": softmax([4, 0])[0]},
    "D111": {"torch": -math.log(0.2), "torch, swapped": 0.8 * 100},
    "D115": {"torch": 0.0, "keras": 0.1 * 9},
    "D116": {"torch": (0.5 + 0.8) / 3, "keras": 0.8},
    "D119": {"torch": [1 / 3, 7 / 15, 0.6], "keras": [0.0, 0.2, 0.4]},
    "D126": {
        "torch": [-0.25 * 0.4**2 * math.log(0.6), -0.75 * 0.6**2 * math.log(0.4)],
        "keras BinaryFocalCrossentropy": [-(0.4**2) * math.log(0.6), -(0.6**2) * math.log(0.4)],
        "keras CategoricalFocalCrossentropy": -0.25 * 0.4**2 * math.log(0.6),
    },
    "D125": {"torch": [0.95, 0.85, 0.95], "keras": [0.9, 0.9, 0.9]},
    "D129": {"torch, channels last, error of the mean": error_of_sums_in_order(200_000, 8)},
}


@pytest.mark.parametrize("identifier", FORMULAS)
def test_recorded_values_follow_the_formula(identifier: str):
    entry = catalogue.get(identifier)
    for name, expected in FORMULAS[identifier].items():
        recorded = entry.recorded[name]
        assert agrees(recorded, expected, max(entry.tolerance, 1e-4)), (name, recorded, expected)


def test_formulas_differ_where_the_frameworks_do():
    """No formula is written so that both sides of it are the same."""
    pairs = [("D47", adam_epsilon(1), 1e-8), ("D52", nadam(0.004), nadam(1.0))]
    pairs += [("D54", momentum(False), momentum(True))]
    for _, one, other in pairs:
        assert not agrees(one, other, 0.01)
    assert all(one > other for one, other in pairwise([adam_epsilon(t) for t in (1, 10, 100)]))
