"""Mistakes in BatchNorm and LayerNorm."""

from mutation.planting import Mutation, with_description, with_layer, with_numpy_layer


def epsilon_outside(self, x, mean, variance):
    return self.gamma.value * (x - mean) / (variance**0.5 + self.layer.epsilon) + self.beta.value


def statistics_of_evaluation(self, x):
    """A layer that is frozen in Keras uses the statistics of evaluation in training."""
    return self.running_mean.value, self.running_variance.value


def constant_statistics(self, dy):
    return dy * (self.parameters["gamma"] * self.inverse_deviation)


def statistics_without_gradient(self, x):
    import tensorflow as tf

    return tuple(map(tf.stop_gradient, type(self).measure(self, x)))


def over_whole_images(self, x):
    """nn.GroupNorm(1, c), which many take for a LayerNorm of images."""
    from torch.nn import functional as F

    return F.group_norm(x, 1, self.weight, self.bias, self.eps)


VARIANCE, MEAN = {"array": "norm1/running_variance"}, {"array": "norm1/running_mean"}

MUTATIONS = [
    Mutation(
        "biased running variance, D20",
        with_description("norm1", unbiased=False),
        "update",
        "norm1",
        "normed",
        **VARIANCE,
    ),
    Mutation(
        "biased running variance, PyTorch",
        with_description("norm1", unbiased=False),
        "update",
        "norm1",
        "normed",
        "torch",
        **VARIANCE,
    ),
    Mutation(
        "unbiased running variance, D20",
        with_description("norm7", unbiased=True),
        "update",
        "norm7",
        "normed",
        array="norm7/running_variance",
    ),
    Mutation(
        "momentum the wrong way round, D19",
        with_description("norm1", momentum=0.9),
        "update",
        "norm1",
        "normed",
        "torch",
        **MEAN,
    ),
    Mutation(
        "momentum the wrong way round, TensorFlow",
        with_description("norm1", momentum=0.9),
        "update",
        "norm1",
        "normed",
        "tensorflow",
        **MEAN,
    ),
    Mutation(
        "momentum the wrong way round, JAX",
        with_description("norm1", momentum=0.9),
        "update",
        "norm1",
        "normed",
        "jax",
        **MEAN,
    ),
    Mutation(
        "another epsilon, D18",
        with_description("norm1", epsilon=1e-3),
        "output",
        "norm1",
        "normed",
        "torch",
    ),
    Mutation(
        "epsilon outside the root",
        with_layer("norm1", normalize=epsilon_outside),
        "output",
        "norm1",
        "normed",
        "tensorflow",
    ),
    Mutation(
        "statistics of evaluation in training",
        with_layer("norm1", measure=statistics_of_evaluation),
        "output",
        "norm1",
        "normed",
        "tensorflow",
    ),
    Mutation(
        "mean and variance as constants",
        with_numpy_layer("norm7", input_gradient=constant_statistics),
        "gradient",
        "hidden",
        "normed",
    ),
    Mutation(
        "mean and variance as constants, TensorFlow",
        with_layer("norm7", measure=statistics_without_gradient),
        "gradient",
        "hidden",
        "normed",
        "tensorflow",
    ),
    Mutation(
        "LayerNorm over whole images",
        with_layer("norm4", forward=over_whole_images),
        "output",
        "norm4",
        "normed",
        "torch",
    ),
    Mutation(
        "another epsilon of LayerNorm, D23",
        with_description("norm", epsilon=1e-3),
        "output",
        "norm",
        "smooth",
    ),
]
