"""Mistakes in the loss, in what is done to gradients, and in the update."""

from dataclasses import replace

import numpy as np
from mutation.planting import (
    Mutation,
    trained,
    with_function,
    with_loss,
    with_optimizer,
    with_recipe,
)

from triptych.engines.numpy import optimizers
from triptych.spec.losses import Clip, SoftmaxCrossEntropy
from triptych.spec.optimizers import optimizer

UPDATE = "triptych.engines.numpy.engine.apply_update"
CLIPPED = "triptych.engines.tensorflow.optimizers.clip_gradients"


def summed(loss, logits, labels):
    value, gradient = loss(logits, labels)
    return value * len(labels), gradient * len(labels)


def summed_gradient(loss, logits, labels):
    value, gradient = loss(logits, labels)
    return value, gradient * len(labels)


def softmax_twice(loss, logits, labels):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return loss(exp / exp.sum(axis=1, keepdims=True), labels)


def by_nominal(loss, logits, labels):
    """The mean over a smaller batch taken as if it were a whole one."""
    value, gradient = loss(logits, labels)
    return value, gradient * (len(labels) / 64)


def each_by_itself(gradients, how):
    """D59: Keras's clipnorm."""
    import tensorflow as tf

    return [tf.clip_by_norm(g, how.limit) for g in gradients]


def penalty_after_the_clip(recipe, arrays, gradients, rate):
    clipped = optimizers.clip_gradients(gradients, recipe.clip)
    optimizers.apply_update(replace(recipe, clip=Clip()), arrays, clipped, rate)


def keras_epsilon(o, w, g, slots, rate, step):
    """D47: Keras folds both corrections into the step, so that epsilon is added before them."""
    optimizers.adam(replace(o, epsilon_first=True), w, g, slots, rate, step)


def keras_rmsprop(o, w, g, slots, rate, step):
    """D48: epsilon inside the root."""
    optimizers.rmsprop(replace(o, epsilon_inside=True), w, g, slots, rate, step)


def keras_momentum(o, w, g, slots, rate, step):
    """D54: the velocity holds rate times gradient; at a constant rate the weights are the same, the
    velocity is not.
    """
    optimizers.sgd(replace(o, velocity="steps"), w, g, slots, rate, step)


def plain_instead_of_nesterov(o, w, g, slots, rate, step):
    optimizers.sgd(replace(o, nesterov=False), w, g, slots, rate, step)


def stuck_counter(o, w, g, slots, rate, step):
    """As in the TensorFlow version of a textbook (d2l.ai): the step counter never advances, so bias
    correction stays at step 1.
    """
    optimizers.adam(o, w, g, slots, rate, 1)


def decayed(o, w, g, slots, rate, step):
    w -= rate * (g + 1e-4 * w)


SMOOTHED, WEIGHED = (
    SoftmaxCrossEntropy(label_smoothing=0.1),
    SoftmaxCrossEntropy(class_weights=tuple(1 + k / 9 for k in range(10))),
)

MUTATIONS = [
    Mutation("sum instead of mean", with_loss(summed), "loss", "-"),
    Mutation(
        "sum instead of mean, gradient only",
        with_loss(summed_gradient),
        "gradient",
        "output",
    ),
    Mutation("softmax twice", with_loss(softmax_twice), "loss", "-"),
    Mutation(
        "label smoothing forgotten",
        with_recipe(loss=SoftmaxCrossEntropy()),
        "loss",
        "-",
        engine="torch",
        recipe=trained(loss=SMOOTHED),
    ),
    Mutation(
        "label smoothing forgotten, JAX",
        with_recipe(loss=SoftmaxCrossEntropy()),
        "loss",
        "-",
        engine="jax",
        recipe=trained(loss=SMOOTHED),
    ),
    Mutation(
        "class weights divided by the number of samples, D40",
        with_recipe(loss=replace(WEIGHED, divide="samples")),
        "loss",
        "-",
        engine="tensorflow",
        recipe=trained(loss=WEIGHED),
    ),
    Mutation(
        "weights of terms for weights of samples, D40",
        with_recipe(loss=replace(WEIGHED, label_smoothing=0.1, weigh="samples")),
        "loss",
        "-",
        engine="torch",
        recipe=trained(loss=replace(WEIGHED, label_smoothing=0.1)),
    ),
    Mutation(
        "penalty with a factor of two, D58",
        with_recipe(loss=SoftmaxCrossEntropy(l2=2e-3)),
        "update",
        "hidden",
        engine="tensorflow",
        recipe=trained(loss=SoftmaxCrossEntropy(l2=1e-3)),
        array="hidden/kernel",
    ),
    Mutation(
        "penalty after the clip",
        with_function(UPDATE, penalty_after_the_clip),
        "update",
        "hidden",
        recipe=trained(loss=SoftmaxCrossEntropy(l2=0.01), clip=Clip(0.1)),
    ),
    Mutation(
        "clipped each by itself, D59",
        with_function(CLIPPED, each_by_itself),
        "update",
        "hidden",
        engine="tensorflow",
        recipe=trained(clip=Clip(0.1)),
    ),
    Mutation(
        "epsilon in the clip, D60",
        with_recipe(clip=Clip(0.1, epsilon=1e-6)),
        "update",
        "hidden",
        engine="torch",
        recipe=trained(clip=Clip(0.1)),
    ),
    Mutation(
        "epsilon misplaced, Adam",
        with_optimizer(keras_epsilon),
        "update",
        "hidden",
        recipe=trained("adam"),
    ),
    Mutation(
        "epsilon misplaced, JAX",
        with_recipe(optimizer=optimizer("adam", epsilon_first=True)),
        "update",
        "hidden",
        engine="jax",
        recipe=trained("adam"),
    ),
    Mutation(
        "epsilon misplaced, RMSprop",
        with_optimizer(keras_rmsprop),
        "update",
        "hidden",
        recipe=trained("rmsprop"),
    ),
    Mutation(
        "momentum times rate",
        with_optimizer(keras_momentum),
        "update",
        "hidden",
        recipe=trained("momentum"),
        array="hidden/kernel/velocity",
    ),
    Mutation(
        "plain momentum for Nesterov",
        with_optimizer(plain_instead_of_nesterov),
        "update",
        "hidden",
        recipe=trained("nesterov"),
        array="hidden/kernel",
    ),
    Mutation(
        "step counter that never advances",
        with_optimizer(stuck_counter),
        "update",
        "hidden",
        recipe=trained("adam"),
        step=1,
    ),
    Mutation("weight decay that nobody asked for", with_optimizer(decayed), "update", "hidden"),
    Mutation(
        "decay coupled instead of decoupled, D56",
        with_recipe(optimizer=optimizer("adamw", decoupled=False)),
        "update",
        "hidden",
        engine="torch",
        recipe=trained("adamw"),
    ),
    Mutation(
        "decay coupled instead of decoupled, TensorFlow",
        with_recipe(optimizer=optimizer("momentum", weight_decay=0.01)),
        "update",
        "hidden",
        engine="tensorflow",
        recipe=trained(optimizer=optimizer("momentum", weight_decay=0.01, decoupled=True)),
    ),
    Mutation(
        "another exponent in Nadam's schedule, D52",
        with_recipe(optimizer=optimizer("nadam", psi=1.0)),
        "update",
        "hidden",
        recipe=trained("nadam"),
    ),
    Mutation(
        "epsilon inside the root, Adagrad, D49",
        with_recipe(optimizer=optimizer("adagrad", epsilon_inside=True)),
        "update",
        "hidden",
        engine="torch",
        recipe=trained("adagrad"),
    ),
    Mutation(
        "another decay rate of Adadelta, D50",
        with_recipe(optimizer=optimizer("adadelta", rho=0.95)),
        "update",
        "hidden",
        engine="tensorflow",
        recipe=trained("adadelta"),
    ),
]
