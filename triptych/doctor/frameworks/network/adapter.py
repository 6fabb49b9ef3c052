"""One side that is a trained network of Triptych; see `triptych.doctor.frameworks.adapter`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from ....core import metrics, registry
from ....core import state as states
from ....core.engine import LayerProbe
from ....core.plan import Plan
from ....core.planner import BatchPlanner
from ....core.split import Split, scaled
from ....core.state import State
from ....errors import SpecError, one_line
from ....spec import layers as spec
from ....spec.network import Network
from ....spec.placement import PlacedLayer
from ....spec.recipe import Recipe
from ....spec.schedules import Constant
from ....spec.validation import is_whole
from ....training.trained import TrainedRun
from ....version import __version__
from ...observation import (
    Array,
    Arrays,
    Change,
    Component,
    Description,
    Observation,
    Updates,
)
from ..adapter import ModelError, Unsupported, UserCalls, check_weights
from ..graph import GraphRun, Node, Pullback, Values
from ..preprocessing import InputChanges
from . import layers

GIVEN = ("model", "loss", "optimizer", "metric")
IMAGES = "images"  # the name of the network's input among the values of the graph


@dataclass(frozen=True)
class Trained:
    """What a side is made of.

    Attributes
    ----------
    run : TrainedRun
        The trained network.
    engine : str
        The engine that computes it.
    """

    run: TrainedRun
    engine: str


def accepts(model: object) -> bool:
    """Return whether a model is a trained network of Triptych."""
    return isinstance(model, Trained)


class Adapter:
    """A trained network with the loss, the optimizer and the schedule of its recipe.

    Parameters
    ----------
    parts : dict
        ``model``, a `Trained`.
    dtype : str
        ``native`` or ``float64``.
    """

    def __init__(self, parts: dict[str, Any], dtype: str) -> None:
        trained: Trained = parts["model"]
        self._run = trained.run
        self._engine = trained.engine
        self._network = trained.run.network
        recipe = trained.run.recipe
        self._recipe = replace(recipe, dtype="float64") if dtype == "float64" else recipe
        # As the run has them; changes are tried on the others.
        self._as_saved = (self._network, self._recipe)
        self._inputs = InputChanges()
        self._names = layers.Names.of(self._network)
        self._weights = states.cast(_weights_of(trained.run), self._recipe.dtype)
        self._engines: dict[tuple[Network, Recipe], Any] = {}  # the one that was used last

    def description(self) -> Description:
        """Return what this side consists of."""
        schedule = self._recipe.schedule
        is_constant = isinstance(schedule, Constant) and not schedule.warmup
        given = GIVEN if is_constant else (*GIVEN, "schedule")
        return Description(
            framework="triptych",
            version=f"triptych {__version__} (engine {self._engine})",
            model=self._network.name,
            dtype=self._recipe.dtype,
            layers=tuple(layers.describe(place) for place in self._network.places),
            optimizer=self._optimizer(),
            loss=Component(type(self._recipe.loss).__name__, asdict(self._recipe.loss)),
            schedule=None if is_constant else _component(schedule, "batch"),
            metric=Component("accuracy"),
            given=given,
        )

    def _optimizer(self) -> Component:
        clip = {f"clip_{name}": value for name, value in asdict(self._recipe.clip).items()}
        optimizer = self._recipe.optimizer
        return Component(type(optimizer).__name__, asdict(optimizer) | clip)

    def inputs(self, batch: Arrays) -> Arrays:
        """Return what the network gets: bytes are divided by 255, channels are the last axis."""
        if "x2" in batch:
            raise ModelError(f"network {self._network.name!r} takes one input, the batch has x2")
        x = _in_shape(np.asarray(batch["x"]), self._network)
        return self._inputs.applied({"input": scaled(x, self._recipe.dtype)})

    def weights(self) -> Arrays:
        """Return all weights and running statistics."""
        return self._names.to_canonical(self._weights)

    def framework_weights(self) -> Arrays:
        """Return the weights by the names of a state file, in the canonical layout."""
        return {name: array.copy() for name, array in self._weights.items()}

    def load(self, weights: Arrays) -> None:
        """Set weights and running statistics."""
        missing = f"network {self._network.name!r} has no weight"
        check_weights(weights, self._names.shapes, missing)
        self._weights |= states.cast(self._names.to_own(weights), self._recipe.dtype)

    def _created(self, network: Network, recipe: Recipe) -> Any:
        """Return an engine with the present weights and new slots."""
        if (network, recipe) not in self._engines:
            self._engines = {(network, recipe): registry.create(self._engine, network, recipe)}
        engine = self._engines[network, recipe]
        engine.load(states.initial(network, recipe) | self._weights)
        return engine

    def _probe(self, engine: Any) -> LayerProbe:
        probe = getattr(engine, "probe", None)
        if probe is None:
            raise ModelError(f"the layers of the engine {self._engine} cannot be observed")
        return probe()

    def observe(
        self,
        inputs: Arrays,
        *,
        training: bool,
        targets: Arrays | None = None,
        forced: Arrays | None = None,
        dropout: bool = False,
    ) -> Observation:
        """Run the network once, layer by layer."""
        engine = self._created(self._network, self._recipe)
        probe = self._probe(engine)
        drawn = np.random.default_rng(self._recipe.seed) if dropout and training else None
        x = inputs["input"].astype(self._recipe.dtype)
        graph = _Graph(probe, self._names, len(x), training=training, drawn=drawn)
        nodes, output = graph.nodes(self._network)
        run = GraphRun(nodes, forced)
        run.forward({IMAGES: x})
        arrays: Arrays = {"output": run.values[output]}
        if training:
            arrays |= self._statistics(engine.state())
        if targets:
            arrays |= self._backward(run, probe, output, targets)
        return run.observation(arrays)

    def _statistics(self, state: State) -> Arrays:
        buffers = {each.name: state[each.name] for each in self._network.buffers}
        arrays = self._names.to_canonical(buffers)
        return {f"buffer/{name}": array for name, array in arrays.items()}

    def _backward(self, run: GraphRun, probe: LayerProbe, output: str, targets: Arrays) -> Arrays:
        logits = run.values[output]
        loss, gradient = probe.loss(logits, _labels(targets, logits))
        arrays: Arrays = {"loss": np.array(loss), "output_gradient": gradient}
        gradients = run.backward({output: gradient})
        arrays |= {f"gradient/{name}": each for name, each in gradients.items()}
        return arrays | self._penalty()

    def _penalty(self) -> Arrays:
        """Return the L2 penalty of all kernels, ½·λ·Σ kernel², and its gradient."""
        factor = self._recipe.loss.l2
        kernels = {
            each.name: self._weights[each.name]
            for each in self._network.parameters
            if each.leaf == "kernel" and factor
        }
        total = sum(float(np.vdot(kernel, kernel)) for kernel in kernels.values())
        arrays: Arrays = {"penalty": np.array(factor / 2 * total)}
        for name, kernel in self._names.to_canonical(kernels).items():
            arrays[f"penalty_gradient/{name}"] = factor * kernel
        return arrays

    def repeat(self, inputs: Arrays) -> Observation:
        """Run the model in evaluation mode again; nothing in it is random there."""
        return self.observe(inputs, training=False)

    def loss(self, outputs: Arrays, targets: Arrays) -> Arrays:
        """Return the loss of given logits, and its gradient."""
        logits = np.asarray(outputs["output"]).astype(self._recipe.dtype)
        probe = self._probe(self._created(self._network, self._recipe))
        loss, gradient = probe.loss(logits, _labels(targets, logits))
        return {"loss": np.array(loss), "output_gradient": gradient}

    def update(self, gradients: Sequence[Arrays]) -> Updates:
        """Apply gradients one by one with new slots; the penalty is not part of them."""
        recipe = replace(self._recipe, loss=replace(self._recipe.loss, l2=0.0))
        engine = self._created(self._network, recipe)
        probe = self._probe(engine)
        rates = self.rates(len(gradients))
        after: list[Arrays] = []
        for rate, given in zip(rates, gradients, strict=True):
            probe.update(states.cast(self._names.to_own(given), recipe.dtype), rate)
            state = engine.state()
            trained = {each.name: state[each.name] for each in self._network.parameters}
            after.append(self._names.to_canonical(trained))
        return Updates(tuple(after), tuple(rates))

    def train(self, inputs: Arrays, targets: Arrays, steps: int) -> tuple[Arrays, list[float]]:
        """Make whole training steps with the engine, without dropout and augmentation."""
        network = layers.without_dropout(self._network)
        engine = self._created(network, self._recipe)
        x = inputs["input"].astype(self._recipe.dtype)
        labels = _labels(targets, np.empty((len(x), network.classes)))
        data = engine.upload(Split(x, labels))
        engine.run(data, Plan(np.array(self.rates(steps))))
        losses = engine.wait()
        weights = self._names.to_canonical(engine.state())
        return weights, [float(loss) for loss in losses]

    def rates(self, updates: int) -> list[float]:
        """Return the learning rate of each update."""
        schedule, rate = self._recipe.schedule, self._recipe.optimizer.rate
        if isinstance(schedule, Constant) and not schedule.warmup:
            return [rate] * updates
        steps = self._steps_per_epoch()
        epochs = self._recipe.epochs
        return [rate * schedule.at(step, steps, epochs) for step in range(updates)]

    def _steps_per_epoch(self) -> int:
        if self._recipe.batch_size == "full":
            return 1
        samples = self._run.data.get("train")
        if samples is None or not is_whole(samples) or samples < 1:
            raise Unsupported(
                "the run does not record how many samples an epoch has, so its schedule is unknown"
            )
        trained_on = samples - round(samples * self._recipe.validation)
        return BatchPlanner(self._network, self._recipe, trained_on).steps_per_epoch

    def metric(self, outputs: Arrays, targets: Arrays) -> float:
        """Return the accuracy of given logits."""
        logits = outputs["output"]
        return metrics.accuracy(metrics.predictions(logits), _labels(targets, logits))

    def epochs(self, validation_losses: Sequence[float]) -> dict[str, Any]:
        """Refuse: the callbacks of a run are not compared."""
        raise Unsupported("the callbacks of a Triptych run are not compared")

    def batches(self, batch: Arrays) -> list[Arrays]:
        """Refuse: the order of a run's batches is drawn for its own data."""
        raise Unsupported("the order of the batches of a Triptych run is not compared")

    def separate(self, paths: Sequence[str]) -> None:
        """Refuse: there is nothing to separate."""
        raise Unsupported("the networks of Triptych have no attention layers")

    def user_calls(self, inputs: Arrays, targets: Arrays | None) -> UserCalls:
        """Refuse: the engines are timed by comparisons of their own."""
        raise Unsupported("a Triptych run is not timed here; use triptych compare")

    def change(self, changes: Sequence[Change]) -> None:
        """Apply changes until `restore`."""
        before = (self._network, self._recipe, self._inputs)
        try:
            for change in changes:
                self._change(change)
        except (SpecError, Unsupported) as error:
            self._network, self._recipe, self._inputs = before
            raise Unsupported(str(error)) from None

    def _change(self, change: Change) -> None:
        setting, value = change.setting, change.value
        if change.target == "layer":
            self._network = layers.changed(self._network, change.path, setting, value)
        elif change.target == "optimizer" and setting.startswith("clip_"):
            self._replace_part("clip", setting.removeprefix("clip_"), value)
        elif change.target in ("optimizer", "loss"):
            self._replace_part(change.target, setting, value)
        elif change.target == "preprocess":
            self._inputs = self._inputs.with_change(change)
        else:
            raise Unsupported(f"{setting} of the {change.target} cannot be changed")

    def _replace_part(self, part: str, setting: str, value: Any) -> None:
        """Change a field of the optimizer, the loss or the clipping."""
        present = getattr(self._recipe, part)
        if setting not in {each.name for each in fields(present)}:
            raise Unsupported(f"{type(present).__name__} has no {setting}")
        changed: Any = {part: replace(present, **{setting: value})}
        self._recipe = replace(self._recipe, **changed)

    def restore(self) -> None:
        """Undo all changes."""
        self._network, self._recipe = self._as_saved
        self._inputs = InputChanges()


class _Graph:
    """The layers of a network as nodes.

    Parameters
    ----------
    probe : LayerProbe
        Computes the layers.
    names : Names
        How its arrays are called.
    samples : int
        Of the batch.
    training : bool
        Training or evaluation mode.
    drawn : Generator or None
        Draws the masks of dropout; None if nothing is dropped.
    """

    def __init__(
        self,
        probe: LayerProbe,
        names: layers.Names,
        samples: int,
        *,
        training: bool,
        drawn: np.random.Generator | None,
    ) -> None:
        self._probe = probe
        self._names = names
        self._samples = samples
        self._training = training
        self._drawn = drawn

    def nodes(self, network: Network) -> tuple[list[Node], str]:
        """Return the nodes, and the name of the last value, the logits."""
        return self._chain(network.chain, IMAGES)

    def _chain(self, places: Sequence[PlacedLayer], value: str) -> tuple[list[Node], str]:
        nodes: list[Node] = []
        for place in places:
            if isinstance(place.layer, spec.Residual):
                nodes += self._residual(place, value)
            else:
                nodes.append(self._node(place, value))
            value = place.layer.name
        return nodes, value

    def _residual(self, place: PlacedLayer, value: str) -> list[Node]:
        branch, one = self._chain(place.branch, value)
        projection, other = self._chain(place.projection, value)
        layer = place.layer
        settings = layers.settings_of(place)
        kind = layers.kind_of(place)
        added = Node(layer.name, "Residual", kind, (one, other), (layer.name,), _add, settings)
        return [*branch, *projection, added]

    def _node(self, place: PlacedLayer, value: str) -> Node:
        layer = place.layer
        settings = layers.settings_of(place, self._samples)
        if isinstance(layer, spec.Dropout):
            settings["active"] = self._training and layer.rate > 0
        return Node(
            layer=layer.name,
            name=type(layer).__name__,
            kind=layers.kind_of(place),
            inputs=(value,),
            outputs=(layer.name,),
            operation=lambda inputs: self._compute(place, inputs),
            settings=settings,
            anchor=bool(place.parameters),
        )

    def _compute(self, place: PlacedLayer, inputs: Values) -> tuple[Values, Pullback | None]:
        mask = self._mask(place.layer, inputs[0])
        y, back = self._probe.layer(place.layer.name, inputs[0], training=self._training, mask=mask)

        def pullback(gradients: Values) -> tuple[list[Array | None], Arrays]:
            dx, weights = back(gradients[0])
            return [dx], self._names.to_canonical(weights)

        return [y], pullback

    def _mask(self, layer: Any, x: Array) -> Array | None:
        if self._drawn is None or not isinstance(layer, spec.Dropout):
            return None
        return self._drawn.random(x.shape) >= layer.rate


def _add(inputs: Values) -> tuple[Values, Pullback]:
    return [inputs[0] + inputs[1]], lambda gradients: ([gradients[0], gradients[0]], {})


def _component(part: Any, unit: str = "") -> Component:
    return Component(type(part).__name__, asdict(part), unit)


def _weights_of(run: TrainedRun) -> State:
    """Return the parameters and buffers of a state, without slots."""
    arrays = (*run.network.parameters, *run.network.buffers)
    return {each.name: run.state[each.name] for each in arrays}


def _in_shape(x: Array, network: Network) -> Array:
    """Return samples as a network takes them: channels last, or flattened as it flattens them.

    Raises
    ------
    ModelError
        If they do not fit.
    """
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        x = x.astype(np.float64)
    shape = network.input_shape
    samples = len(x)
    if x.shape[1:] == shape:
        return x
    if len(shape) == 3 and x.shape[1:] == (shape[2], *shape[:2]):
        return np.moveaxis(x, 1, -1)
    # The axis of a single channel may be left out, and so may the axes of a table's rows.
    if [size for size in x.shape[1:] if size > 1] == [size for size in shape if size > 1]:
        return x.reshape(samples, *shape)
    if x.shape[1:] == (int(np.prod(shape)),):
        return x.reshape(samples, *shape)
    raise ModelError(
        f"network {network.name!r} takes samples of shape {shape}, those of x have {x.shape[1:]}"
    )


def _labels(targets: Arrays, logits: Array) -> Any:
    """Return the classes of targets: whole numbers, or rows with a one at the class.

    Raises
    ------
    ModelError
        If the targets are no classes of this network.
    """
    y = np.asarray(targets["y"])
    classes = logits.shape[1]
    if y.shape == logits.shape and classes > 1:
        is_one_hot = bool(np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all())
        if is_one_hot:
            return y.argmax(axis=1).astype(np.int32)
    if y.size == len(logits) and np.array_equal(y, np.round(y)):
        labels = y.reshape(-1).astype(np.int32)
        if labels.size and labels.min() >= 0 and labels.max() < classes:
            return labels
    raise ModelError(
        one_line(
            f"y of shape {y.shape} does not hold classes from 0 to {classes - 1}, which a network "
            "of Triptych is trained with"
        )
    )
