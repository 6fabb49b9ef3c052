"""The verification of an export: its logits on the whole test split, against float64.

The model is loaded by the target's runtime in a fresh process. The bound on its logits is four
times the error that a correct float32 computation of this network with these weights has on the
same images. This error is measured in two ways, and the larger one counts:

* The engine that trained the network computes the logits in float32. Engines add in blocks, which
  is accurate.
* A runtime may round after each product of a sum instead. Its result is the exact one for other
  weights: in a sum of n products each weight differs by a relative error of the order √n·2⁻²⁴
  [Higham and Mary 2019]. The logits are computed in float64 with such weights.

[Higham and Mary 2019] N. J. Higham and T. Mary: A new approach to probabilistic rounding error
analysis. SIAM Journal on Scientific Computing 41(5).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any, Literal, TypeVar
from typing import cast as cast_type

import numpy as np
from numpy.typing import NDArray

from ..core import metrics, registry
from ..core.engine import ReferenceEngine
from ..core.split import Split, scaled
from ..core.state import State, cast
from ..errors import TriptychError
from ..spec.network import Network
from ..spec.recipe import Recipe
from ..training.inference import compute_logits
from .model import JOINED, TrainedModel
from .process import BATCH_SIZES, OnProgress, ignore_progress, run_exported
from .targets import Target

LARGEST_FACTOR = 4.0  # between the error of a correct runtime and the measured one
UNIT_ROUNDOFF = 2.0**-24  # the largest relative error of rounding to float32
SAMPLES_BY_LAYER = 64  # for which the outputs of the layers are compared

Result = TypeVar("Result")
Array = NDArray[Any]
Verdict = Literal["rounding", "precision", "formula"]


@dataclass(frozen=True)
class Verification:
    """The result of the verification of an export; ``export.json`` holds it.

    All figures are those of the batch size with the largest difference.

    Attributes
    ----------
    verdict : str
        ``rounding``: every logit differs from the float64 reference by at most the bound, and no
        prediction differs where the two best logits are further apart than the bound.
        ``precision``, for a quantized target: its 95 % interval contains the accuracy of the
        reference, or is above it. Otherwise ``formula``.
    largest : float
        The largest difference of a logit from the float64 reference.
    bound : float
        Four times the largest error of float32 logits; see the top of this file.
    differing : int
        Predictions that differ from those of the float64 reference.
    samples : int
        Images of the test split.
    accuracy, reference_accuracy : float
        The share of them that the exported model and the reference classify correctly.
    low, high : float
        The 95 % interval of the exported model's accuracy.
    batch_sizes : tuple of int
        The batch sizes with which the whole test split was run.
    runtime : str
        The target's runtime with its version.
    first_layer : str or None
        Where the export is wrong: the first layer whose output differs, if the runtime shows them;
        or the names of several, with ``+`` between them, of which it shows only the last output.
    """

    verdict: Verdict
    largest: float
    bound: float
    differing: int
    samples: int
    accuracy: float
    reference_accuracy: float
    low: float
    high: float
    batch_sizes: tuple[int, ...]
    runtime: str
    first_layer: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the export computes what the network computes."""
        return self.verdict != "formula"

    def to_json(self) -> dict[str, Any]:
        """Return what ``export.json`` holds of it."""
        return asdict(self)


@dataclass(frozen=True)
class Reference:
    """What an export is compared with; the same for all targets.

    Attributes
    ----------
    logits : ndarray of float64, shape (n, classes)
        Computed by the NumPy engine in float64.
    bound : float
        As in `Verification`.
    """

    logits: Array
    bound: float

    @classmethod
    def of(cls, model: TrainedModel, test: Split) -> "Reference":
        """Compute the reference of a model on the test split."""
        known = registry.entries().get(model.engine)
        engine = known.name if known and known.installed else registry.REFERENCE

        def logits(recipe: Recipe, state: State) -> Array:
            used = engine if recipe.dtype == "float32" else registry.REFERENCE
            return compute_logits(model.network, recipe, state, test.images, engine=used)

        exact, single, summed = _in_three_ways(model, logits)
        return cls(exact, _bound(exact, single, summed))


def _in_three_ways(
    model: TrainedModel, compute: Callable[[Recipe, State], Result]
) -> tuple[Result, Result, Result]:
    """Return what is computed in float64, in float32, and as rounded sums would give it."""
    exact = replace(model.recipe, dtype="float64")
    return (
        compute(exact, cast(model.state, "float64")),
        compute(model.recipe, model.state),
        compute(exact, with_rounded_sums(model.network, model.state)),
    )


def with_rounded_sums(network: Network, state: State) -> State:
    """Return a state in float64 for which a network computes what rounded sums give.

    Parameters
    ----------
    network : Network
        The network.
    state : dict of str to ndarray
        Its weights and buffers.

    Returns
    -------
    dict of str to ndarray
        The same with kernels whose weights have random relative errors; see the top of this file.
    """
    generator = np.random.default_rng(0)
    rounded = cast(state, "float64")
    for parameter in network.parameters:
        kernel = rounded[parameter.name]
        if kernel.ndim > 1:
            products = kernel.size // kernel.shape[-1]
            errors = sqrt(products) * UNIT_ROUNDOFF * generator.standard_normal(kernel.shape)
            rounded[parameter.name] = kernel * (1 + errors)
    return rounded


def _bound(exact: Array, *computed: Array) -> float:
    """Return the bound on the difference of a correct float32 computation from float64.

    Parameters
    ----------
    exact : ndarray of float64
        The right numbers.
    *computed : ndarray
        What computations with the errors of float32 have given.
    """
    error = max(float(np.abs(array - exact).max()) for array in computed)
    last_place = float(np.finfo(np.float32).eps) * float(np.abs(exact).max())
    return LARGEST_FACTOR * max(error, last_place)


def verify_export(
    target: Target,
    folder: Path,
    model: TrainedModel,
    reference: Reference,
    test: Split,
    on_progress: OnProgress = ignore_progress,
) -> Verification:
    """Run an exported model on the whole test split and compare it with the reference.

    Parameters
    ----------
    target : Target
        The target of the export.
    folder : Path
        What its exporter wrote.
    model : TrainedModel
        What was exported.
    reference : Reference
        What the model should compute.
    test : Split
        The test split.
    on_progress : callable, optional
        Called with the samples that are done and their number.

    Raises
    ------
    TriptychError
        If the runtime cannot load or run the model.
    """
    images = test.pixels("float32")
    answer, version = run_exported(target, folder, images, on_progress)
    logits = [answer[str(batch)] for batch in BATCH_SIZES]
    for array in logits:
        if array.shape != reference.logits.shape:
            raise TriptychError(
                f"{target.runtime} returned logits of shape {array.shape}, "
                f"where {reference.logits.shape} is needed"
            )
    worst = max(logits, key=lambda array: _largest(array, reference.logits))
    verification = _measure(worst, reference, test, f"{target.runtime} {version}")
    if target.quantized:
        worse = verification.high < verification.reference_accuracy
        return replace(verification, verdict="formula" if worse else "precision")
    expected = metrics.predictions(reference.logits)
    is_clear = _lead(reference.logits) > reference.bound
    wrong = any((is_clear & (metrics.predictions(array) != expected)).any() for array in logits)
    if verification.largest <= reference.bound and not wrong:
        return verification
    first_layer = None
    if target.shows_layers:
        errors = np.abs(worst - reference.logits).max(axis=1)
        samples = np.argsort(-np.nan_to_num(errors, nan=np.inf))[:SAMPLES_BY_LAYER]
        first_layer = _first_layer(target, folder, model, test.images[samples])
    return replace(verification, verdict="formula", first_layer=first_layer)


def _measure(logits: Array, reference: Reference, test: Split, runtime: str) -> Verification:
    """Return the figures of an export's logits, with the best verdict."""
    predicted = metrics.predictions(logits)
    expected = metrics.predictions(reference.logits)
    right = int((predicted == test.labels).sum())
    low, high = metrics.wilson(right, len(test))
    return Verification(
        verdict="rounding",
        largest=_largest(logits, reference.logits),
        bound=reference.bound,
        differing=int((predicted != expected).sum()),
        samples=len(test),
        accuracy=right / len(test),
        reference_accuracy=float((expected == test.labels).mean()),
        low=low,
        high=high,
        batch_sizes=BATCH_SIZES,
        runtime=runtime,
    )


def _largest(logits: Array, exact: Array) -> float:
    """Return the largest difference; infinity if a number is not finite or a shape differs."""
    if logits.shape != exact.shape or not np.isfinite(logits).all():
        return float("inf")
    return float(np.abs(logits - exact).max())


def _lead(logits: Array) -> Array:
    """Return by how much the best logit of each sample exceeds the second, shape (n,)."""
    best = np.partition(logits, -2, axis=1)
    return best[:, -1] - best[:, -2]


def _first_layer(target: Target, folder: Path, model: TrainedModel, images: Array) -> str | None:
    """Return the first layer whose output differs beyond its own float32 error.

    If the runtime does not show the outputs of some layers before it, the mistake can be in those
    as well: all their names are returned, with ``+`` between them.
    """

    def outputs(recipe: Recipe, state: State) -> State:
        reference = registry.create(registry.REFERENCE, model.network, recipe)
        engine = cast_type(ReferenceEngine, reference)
        engine.load(state)
        return engine.layer_outputs(images)

    exact, single, summed = _in_three_ways(model, outputs)
    layers = [place.layer.name for place in model.network.places]
    shown, _ = run_exported(target, folder, scaled(images, "float32"), layers=layers)
    last_names = {names.split(JOINED)[-1]: names for names in shown}
    bounds = {name: _bound(exact[name], single[name], summed[name]) for name in layers}
    unseen: list[str] = []  # the layers since the last one that was compared
    previous = images
    for name in layers:
        if name in last_names:
            names = last_names[name]
            if _largest(shown[names], exact[name]) > bounds[name]:
                suspects = {*unseen, *names.split(JOINED)}
                return JOINED.join(layer for layer in layers if layer in suspects)
            unseen = []
        elif not np.array_equal(previous.ravel(), exact[name].ravel()):
            unseen.append(name)  # it should change its input, which dropout does not
        previous = exact[name]
    return None
