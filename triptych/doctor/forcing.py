"""Runs of side B with A's weights, its anchors forced to what A has."""

from collections.abc import Sequence

from .bounds import Bounds, measured, moved
from .examination import Examination, Side
from .observation import Arrays, Change, Observation, one_segment


def targets_of(examination: Examination) -> Arrays | None:
    """Return the targets, if both sides have a loss."""
    return examination.targets if examination.targets and examination.has("loss") else None


def reference(examination: Examination, *, training: bool) -> Observation:
    """Return what was observed of A."""
    return examination.a_training if training else examination.a_evaluation


def observed(
    examination: Examination,
    side: Side,
    inputs: Arrays,
    *,
    training: bool,
    targets: Arrays | None = None,
    forced: Arrays | None = None,
) -> Observation:
    """Run a side; where both are compared as one segment, in evaluation mode without its layers.

    Parameters
    ----------
    examination : Examination
        The comparison.
    side : Side
        A or B.
    inputs, training, targets, forced
        As of `triptych.doctor.frameworks.adapter.Adapter.observe`.
    """
    # A trace holds the loss of its training mode only; see `triptych.doctor.diagnosis`.
    observation = side.observe(
        inputs,
        training=training and (not examination.whole or side.is_recorded),
        targets=targets,
        forced=forced,
        dtype=examination.dtype,
    )
    return one_segment(observation) if examination.whole else observation


def run(
    examination: Examination,
    *,
    training: bool = False,
    inputs: Arrays | None = None,
    forced: Arrays | None = None,
    changes: Sequence[Change] = (),
) -> Observation:
    """Run B with its anchors forced.

    Parameters
    ----------
    examination : Examination
        The comparison; B has A's weights.
    training : bool
        Training mode, with targets if there is a loss; or evaluation mode.
    inputs : dict of str to ndarray, optional
        Of B's model; A's in B's form if not given.
    forced : dict of str to ndarray, optional
        What A has in that mode, if not given.
    changes : sequence of Change
        What is changed for this run only.

    Raises
    ------
    Unsupported
        If a change cannot be applied from outside.
    """
    alignment = examination.alignment
    if inputs is None:
        inputs = alignment.inputs_to_b(examination.a_inputs)
    if forced is None:
        forced = alignment.forced(reference(examination, training=training))
    b, dtype = examination.b, examination.dtype
    try:
        if changes:
            b.change(changes, dtype)
        return observed(
            examination,
            b,
            inputs,
            training=training,
            targets=targets_of(examination) if training else None,
            forced=forced,
        )
    finally:
        if changes:
            b.restore(dtype)


def measured_bounds(examination: Examination, base: Observation, *, training: bool) -> Bounds:
    """Return what rounding explains, from a run of B with all its numbers moved.

    Parameters
    ----------
    examination : Examination
        The comparison; B has A's weights.
    base : Observation
        B with its anchors forced, in that mode.
    training : bool
        Training or evaluation mode.
    """
    alignment, dtype = examination.alignment, examination.dtype
    b = examination.b
    recording = b.recording()
    if recording is not None:
        return recording.bounds(base.arrays, dtype, training=training)
    weights = alignment.weights_to_b(examination.a_weights)
    inputs = alignment.inputs_to_b(examination.a_inputs)
    forced = alignment.forced(reference(examination, training=training))
    b.load(moved(weights, dtype), dtype)
    try:
        observation = run(
            examination,
            training=training,
            inputs=moved(inputs, dtype, 1, whole=False),
            forced=moved(forced, dtype, 2),
        )
    finally:
        b.load(weights, dtype)
    return measured(dtype, base.arrays, [observation.arrays])
