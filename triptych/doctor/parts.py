"""In which parts two update rules differ, what these are called, and how they are mended."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

from . import catalogue
from .code_lines import FRAMEWORKS, value_text
from .observation import Change, Description
from .optimizers import CLIPPING, Written, entry, table_of, written
from .rules import FAMILIES, Rule
from .wording import catalogue_fix

# Settings that show only how a framework keeps its constants.
PRECISION = frozenset({"single", "rounded"})

DECAY = ("decay", "decay_form", "undecayed", "penalty")
CLIP = ("clip", "limit", "clip_epsilon", "joined")
ARRAYS = ("joined", "forms")
AVERAGE = ("average", "overwrite")
ACCUMULATION = ("accumulate", "accumulate_form")
MOMENTUM = ("momentum", "dampening", "nesterov", "rate_inside")
RATE = "rate"

# By family, the catalogue's number of a setting; the other settings have none.
CAUSES: dict[str, dict[str, str]] = {
    "sgd": {"dampening": "D55", "rate_inside": "D54", RATE: "D53"},
    "adam": {"epsilon": "D46", "epsilon_place": "D47"},
    "nadam": {"momentum_decay": "D52", "epsilon": "D52", RATE: "D52"},
    "adamax": {"epsilon": "D51", "epsilon_place": "D51", RATE: "D51"},
    "rmsprop": dict.fromkeys(
        ("rho", "epsilon", "epsilon_place", "rate_inside", "initial", RATE), "D48"
    ),
    "adagrad": dict.fromkeys(("epsilon", "epsilon_place", "initial", RATE), "D49"),
    "adadelta": dict.fromkeys(("rho", "epsilon", RATE), "D50"),
    "adafactor": dict.fromkeys(("epsilon1", "limited", "spatial_last", RATE), "D118"),
}

# How a setting that has no name in a framework is said; by the family, where it matters.
PHRASES: dict[tuple[str, Any], str] = {
    ("rate_inside", True): "the velocity sums rate·gradient",
    ("rate_inside", False): "the buffer sums gradients",
    ("epsilon_place", "outside"): "epsilon outside the root",
    ("epsilon_place", "hat"): "epsilon before the bias correction",
    ("epsilon_place", "inside"): "epsilon inside the root",
    ("epsilon_place", "maximum"): "epsilon inside the maximum",
    ("epsilon_place", "weight"): "epsilon added to the weight",
    ("correction", True): "with bias correction",
    ("correction", False): "without bias correction",
    ("frozen", True): "the step counter stays 1",
    ("frozen", False): "the step counter advances",
    ("limited", True): "epsilon 1 limits what is divided by",
    ("limited", False): "epsilon 1 is added to the squares",
    ("spatial_last", True): "the window of a convolution is factored",
    ("spatial_last", False): "the channels of a convolution are factored",
    ("maximize", True): "maximizes",
    ("maximize", False): "minimizes",
    ("nesterov", False): "nesterov=False",
    ("dampening", 0.0): "no dampening",
    ("clip", "none"): "no clipping",
}

# What a setting without a name is called.
TITLES = {
    "momentum": "Momentum",
    "nesterov": "Nesterov's momentum",
    "beta1": "Beta 1",
    "beta2": "Beta 2",
    "rho": "Decay of the average",
    "amsgrad": "AMSGrad",
    "centered": "Centred second moment",
    "correction": "Bias correction",
    "frozen": "Step counter of the bias correction",
    "initial": "First accumulator",
    "rate_decay": "Decay of the learning rate",
    "beta2_decay": "Decay of the average",
    "epsilon2": "Epsilon 2",
    "threshold": "Limit of the step",
    "maximize": "Direction of the step",
    "factors": "Learning rates of single weights",
    RATE: "Learning rate",
}


# The vectors that users exclude from weight decay: what Keras calls them, by role.
VECTORS = {"bias": "bias", "recurrent_bias": "bias", "scale": "gamma", "offset": "beta"}


@dataclass(frozen=True)
class Optimizer:
    """A rule and its rate, relative to that of side A.

    Attributes
    ----------
    rule : Rule
        The rule.
    scale : float
        Its learning rate, divided by A's.
    """

    rule: Rule
    scale: float = 1.0

    def taking(self, other: "Optimizer", settings: Sequence[str]) -> "Optimizer":
        """Return the same with some settings of another optimizer."""
        if "family" in settings:
            return other
        scale = other.scale if RATE in settings else self.scale
        changed = {name: other.rule.settings[name] for name in settings if name != RATE}
        return Optimizer(self.rule.with_settings(**changed), scale)


@dataclass(frozen=True)
class Part:
    """Settings in which two rules differ and that one sentence names.

    Attributes
    ----------
    cause : str or None
        The id in the catalogue.
    title : str
        What differs.
    settings : tuple of str
        The settings of the rules; ``rate`` and ``family`` among them.
    """

    cause: str | None
    title: str
    settings: tuple[str, ...]


def differing_parts(
    a: Optimizer, b: Optimizer, descriptions: tuple[Description, Description], *, changing: bool
) -> list[Part]:
    """Return the parts in which two optimizers differ.

    Parameters
    ----------
    a, b : Optimizer
        Of both sides, with A's names of the weights.
    descriptions : tuple of Description
        Of A and of B.
    changing : bool
        Whether the learning rate changes: otherwise it does not matter where the rate is.
    """
    if a.rule.family != b.rule.family:
        return [Part(None, _other_optimizer(a, b, descriptions), ("family",))]
    parts = list(_common_parts(a.rule, b.rule, descriptions))
    own = [
        name
        for name in FAMILIES[a.rule.family].defaults
        if name not in PRECISION and not _same(a.rule.settings[name], b.rule.settings[name])
    ]
    if not _same(a.scale, b.scale):
        own.append(RATE)
    return parts + _own_parts(a.rule, b.rule, own, changing)


def _other_optimizer(
    a: Optimizer, b: Optimizer, descriptions: tuple[Description, Description]
) -> str:
    """Return that two optimizers are of different families, and if a framework lacks one."""
    names = [FAMILIES[each.rule.family].name for each in (a, b)]
    title = f"Another optimizer: {names[0]} against {names[1]}"
    wanted = ((a, names[0], descriptions[1]), (b, names[1], descriptions[0]))
    lacking = [
        f"{FRAMEWORKS[description.framework]} has no {name}"
        for optimizer, name, description in wanted
        if description.framework in FRAMEWORKS and _written_in(optimizer.rule, description) is None
    ]
    return f"{title} ({', '.join(lacking)})" if lacking else title


def _written_in(rule: Rule, description: Description) -> tuple[str, Written] | None:
    """Return the optimizer of a side's framework that has a rule, with its name; None if none."""
    of_family = [
        (name, form) for name, form in table_of(description).items() if form.family == rule.family
    ]
    decoupled = rule.settings["decay"] and rule.settings["decay_form"] == "decoupled"
    for name, form in of_family:
        if not decoupled or form.fixed.get("decay_form") == "decoupled":
            return name, form
    return of_family[0] if of_family else None


def _family_line(target: Rule, rate: float, description: Description) -> str | None:
    """Return how a side makes another optimizer, or None if its framework has none."""
    found = _written_in(target, description)
    if found is None or description.framework not in PREFIXES:
        return None
    name, form = found
    values: dict[str, Any] = {_rate_name(form): float(rate)}
    for setting, own in form.names.items():
        value = target.settings[setting]
        if not value or (setting == "accumulate" and value == 1):
            continue  # what is not used is not written
        key = own.partition("[")[0]
        values[key] = value if key == own else [*values.get(key, []), value]
    written = [f"{key}={value_text(value)}" for key, value in values.items()]
    before = ["model.parameters()"] if description.framework == "torch" else []
    return f"{PREFIXES[description.framework]}{name}({', '.join([*before, *written])})"


def _own_parts(a: Rule, b: Rule, own: list[str], changing: bool) -> list[Part]:
    """Return the differing settings of a family, in groups by their cause."""
    if "momentum" in a.settings:
        momenta = (a.settings["momentum"], b.settings["momentum"])
        if not all(momenta):
            own = [name for name in own if name not in MOMENTUM or name == "momentum"]
            if any(momenta) and "momentum" in own:
                present = tuple(name for name in MOMENTUM if name in a.settings)
                rest = _own_parts(a, b, [name for name in own if name != "momentum"], changing)
                return [Part(None, TITLES["momentum"], present), *rest]
        if not changing and "rate_inside" in own:
            own = [name for name in own if name != "rate_inside"]
    groups: dict[str, list[str]] = {}
    for name in own:
        cause = CAUSES.get(a.family, {}).get(name)
        groups.setdefault(cause or name, []).append(name)
    parts: list[Part] = []
    for key, names in groups.items():
        known = key in catalogue.entries()
        title = catalogue.get(key).title if known else TITLES.get(key, key)
        parts.append(Part(key if known else None, title, tuple(names)))
    return parts


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return abs(one - other) <= 1e-6 * max(abs(one), abs(other))
    return one == other


def _common_parts(
    a: Rule, b: Rule, descriptions: tuple[Description, Description]
) -> Iterator[Part]:
    if _decays(a) != _decays(b):
        cause, title = _decay_cause(a, b, descriptions)
        yield Part(cause, title, DECAY)
    clips = [tuple(rule.settings[name] for name in CLIP) for rule in (a, b)]
    if clips[0] != clips[1] and {a.settings["clip"], b.settings["clip"]} != {"none"}:
        cause, title = _clip_cause(a, b)
        yield Part(cause, title, CLIP)
    arrays = [_arrays(rule) for rule in (a, b)]
    if arrays[0] != arrays[1]:
        yield Part(None, "Which weights are one array for the optimizer", ARRAYS)
    counts = [rule.settings["accumulate"] for rule in (a, b)]
    forms = [rule.settings["accumulate_form"] for rule in (a, b)]
    if counts[0] != counts[1] or (counts[0] > 1 and forms[0] != forms[1]):
        yield Part("D61", catalogue.get("D61").title, ACCUMULATION)
    if a.settings["maximize"] != b.settings["maximize"]:
        yield Part(None, TITLES["maximize"], ("maximize",))
    factors = [_other_factors(rule) for rule in (a, b)]
    if factors[0] != factors[1]:
        zeros = [0.0 in each.values() for each in factors]
        title = "Weights that the optimizer does not move" if any(zeros) else TITLES["factors"]
        yield Part(None, title, ("factors",))


def _arrays(rule: Rule) -> tuple[Any, ...]:
    """Return what a rule takes for one array, if it makes use of that besides clipping."""
    family = FAMILIES[rule.family]
    joined = rule.settings["joined"] if family.whole else ()
    return joined, rule.settings["forms"] if family.shaped else {}


def _other_factors(rule: Rule) -> dict[str, float]:
    """Return the weights whose rate is not that of the optimizer."""
    factors: dict[str, float] = rule.settings["factors"]
    return {name: float(f"{each:.5g}") for name, each in factors.items() if abs(each - 1) > 1e-5}


def _decays(rule: Rule) -> tuple[Any, ...]:
    """Return what a rule's decay amounts to, so that equal ones are equal."""
    settings = rule.settings
    factor = round(settings["decay"], 12)
    penalty = {name: float(f"{c:.6g}") for name, c in settings["penalty"].items() if c}
    if not factor:
        return ("coupled", 0.0, (), penalty)
    return (settings["decay_form"], factor, settings["undecayed"], penalty)


def total_decay(rule: Rule, names: Iterable[str]) -> Rule:
    """Return the rule with its penalties as coupled decay of each weight, where it decays so."""
    settings = rule.settings
    if settings["decay"] and settings["decay_form"] != "coupled":
        return rule
    coupled = {
        name: settings["penalty"].get(name, 0.0)
        + (0.0 if name in settings["undecayed"] else settings["decay"])
        for name in names
    }
    values = {float(f"{value:.6g}") for value in coupled.values() if value}
    if len(values) != 1:
        return rule.with_settings(decay=0.0, undecayed=(), penalty=coupled)
    return rule.with_settings(
        decay=values.pop(),
        decay_form="coupled",
        undecayed=tuple(name for name, value in coupled.items() if not value),
        penalty={},
    )


def _decay_cause(
    a: Rule, b: Rule, descriptions: tuple[Description, Description]
) -> tuple[str | None, str]:
    factors = [rule.settings["decay"] for rule in (a, b)]
    forms = [rule.settings["decay_form"] for rule in (a, b)]
    penalties = [bool(any(rule.settings["penalty"].values())) for rule in (a, b)]
    decays = [bool(factor) or penalty for factor, penalty in zip(factors, penalties, strict=True)]
    optimizers = [each.optimizer.type if each.optimizer else "" for each in descriptions]
    if all(decays):
        coupled = [f == "coupled" or not factor for f, factor in zip(forms, factors, strict=True)]
        if coupled[0] != coupled[1]:
            return "D56", catalogue.get("D56").title
        if all(coupled) and all(factors) and _same(max(factors), 2 * min(factors)):
            return "D58", catalogue.get("D58").title
        if a.settings["decay"] == b.settings["decay"]:
            return None, "Which weights decay"
        if all(name == "AdamW" for name in optimizers):
            return "D57", catalogue.get("D57").title
        return None, "Weight decay"
    if "AdamW" in optimizers and not any(penalties):
        return "D57", catalogue.get("D57").title
    return None, "Weight decay on one side only"


def _clip_cause(a: Rule, b: Rule) -> tuple[str | None, str]:
    kinds = [rule.settings["clip"] for rule in (a, b)]
    limits = [rule.settings["limit"] for rule in (a, b)]
    if kinds[0] != kinds[1]:
        if set(kinds) == {"norm", "global_norm"}:
            return "D59", catalogue.get("D59").title
        if "none" in kinds:
            return None, "Gradients are clipped on one side only"
        return None, "Gradients are clipped by value or by norm"
    if not _same(*limits):
        return None, "Limit of the gradient clipping"
    if a.settings["joined"] != b.settings["joined"]:
        return None, "Which weights have one norm where gradients are clipped"
    return "D60", catalogue.get("D60").title


def values_text(rule: Rule, rate: float, part: Part, description: Description) -> str:
    """Return what a side has for a part, in the words of its framework."""
    form = written(description)
    texts = [_value_text(rule, rate, name, form) for name in part.settings]
    text = ", ".join(text for text in texts if text)
    return text or ("each weight is one array" if part.settings == ARRAYS else "")


def _value_text(rule: Rule, rate: float, name: str, form: Written | None) -> str:
    settings = rule.settings
    if name == "family":
        return FAMILIES[rule.family].name
    if name == RATE:
        return f"{_rate_name(form)}={value_text(float(rate))}"
    if name in DECAY or name in CLIP or name in ACCUMULATION or name in ARRAYS:
        return _common_text(settings, name)
    if name == "factors":
        texts = [f"{n}: rate times {value_text(f)}" for n, f in _other_factors(rule).items()]
        return ", ".join(texts) or "one rate for all weights"
    value = settings[name]
    if form and name in form.names:
        return f"{form.names[name]}={value_text(value)}"
    return PHRASES.get((name, value), f"{name}={value_text(value)}")


def _rate_name(form: Written | None) -> str:
    if form and form.fixed.get("single"):
        return "learning_rate"
    return form.rate_name if form else "lr"


def _common_text(settings: dict[str, Any], name: str) -> str:
    if name == "decay":
        forms = {"coupled": "added to the gradient", "decoupled": "of the weight itself"}
        how = forms.get(settings["decay_form"], "of the weight, without the rate")
        return f"weight_decay={value_text(float(settings['decay']))}, {how}"
    if name == "undecayed" and settings["undecayed"]:
        return f"not of {', '.join(settings['undecayed'])}"
    if name == "penalty" and any(settings["penalty"].values()):
        factors = sorted({value_text(float(f)) for f in settings["penalty"].values() if f})
        return f"a penalty that adds {' or '.join(factors)}·w to the gradient"
    if name == "clip":
        kinds = {
            "none": "no clipping",
            "value": "each element is clipped",
            "norm": "the norm of each weight array is clipped",
            "global_norm": "the norm of all gradients together is clipped",
        }
        limit = f" at {value_text(float(settings['limit']))}" if settings["clip"] != "none" else ""
        return kinds[settings["clip"]] + limit
    if name == "clip_epsilon" and settings["clip"] != "none" and settings["clip_epsilon"]:
        return f"{value_text(settings['clip_epsilon'])} is added to the norm"
    if name == "joined" and settings["joined"]:
        groups = [" and ".join(names) for names in settings["joined"]]
        return f"one array of {'; one of '.join(groups)}"
    if name == "forms" and settings["forms"]:
        texts = [f"{name} has the shape {shape}" for name, shape in settings["forms"].items()]
        return ", ".join(texts)
    if name == "accumulate":
        count = settings["accumulate"]
        form_of = {"mean": "mean", "sum": "sum"}[settings["accumulate_form"]]
        return (
            "an update for each gradient" if count == 1 else f"the {form_of} of {count} gradients"
        )
    return ""


PREFIXES = {
    "torch": "torch.optim.",
    "keras": "keras.optimizers.",
    "triptych": "tt.optimizers.",
}


def arguments(
    part: Part, target: Optimizer, rate: float, description: Description
) -> dict[str, Any] | None:
    """Return the arguments that make a side's optimizer agree with another; None if it cannot.

    Parameters
    ----------
    part : Part
        In which they differ.
    target : Optimizer
        The other side's.
    rate : float
        The other side's learning rate.
    description : Description
        Of the side that is changed.
    """
    form = written(description)
    if form is None or target.rule.family != form.family:
        return None
    values: dict[str, Any] = {}
    for name in part.settings:
        value = rate if name == RATE else target.rule.settings[name]
        if name == "accumulate" and value == 1:
            value = None
        if name == RATE:
            values[_rate_name(form)] = value
        elif name in form.names:
            values[form.names[name]] = value
        elif name == "epsilon_place" and "epsilon" in part.settings:
            values |= _moved_epsilon(form, target.rule)
        elif name in CLIP and form.fixed.get("single"):
            values |= _clip_arguments(target.rule)
        elif not _same(form.fixed.get(name, _default(form, name)), value):
            return None
    settings = description.optimizer.settings if description.optimizer else {}
    # What the side has already is not written again.
    values = {
        name: value for name, value in values.items() if not _same(value, entry(settings, name))
    }
    return values or None


def _default(form: Written, name: str) -> Any:
    return Rule.make(form.family).settings[name]


def _moved_epsilon(form: Written, target: Rule) -> dict[str, Any]:
    """Return the epsilon that has nearly the same effect on the other side of the root."""
    place = form.fixed.get("epsilon_place", _default(form, "epsilon_place"))
    epsilon = target.settings["epsilon"]
    if place == "inside" and target.settings["epsilon_place"] == "outside":
        epsilon = epsilon**2
    elif place == "outside" and target.settings["epsilon_place"] == "inside":
        epsilon = sqrt(epsilon)
    return {form.names["epsilon"]: epsilon}


def _clip_arguments(target: Rule) -> dict[str, Any]:
    values: dict[str, Any] = dict.fromkeys(CLIPPING)
    for name, kind in CLIPPING.items():
        if kind == target.settings["clip"]:
            values[name] = target.settings["limit"]
    return values


def fix_line(part: Part, target: Optimizer, rate: float, description: Description) -> str | None:
    """Return one line of code that makes a side agree with another; None if there is none."""
    framework = description.framework
    if part.settings == ("family",):
        return _family_line(target.rule, rate, description)
    values = arguments(part, target, rate, description)
    component = description.optimizer
    excluding = _excluding_line(part, target.rule, description)
    if excluding:
        return excluding
    if values and component:
        # A clipping or accumulation that is not wanted is left out.
        given = {name: each for name, each in values.items() if each is not None}
        kept = [f"{name}={text}" for name, text in _texts(given, component.settings).items()]
        dropped = [name for name, each in values.items() if each is None]
        text = f"{PREFIXES.get(framework, '')}{component.type}({', '.join(['...', *kept])})"
        present = [name for name in dropped if component.settings.get(name)]
        return f"{text}  # without {', '.join(present)}" if present else text
    if framework == "torch" and set(part.settings) & set(CLIP):
        return _torch_clip(target.rule)
    if framework == "torch" and part.settings == ACCUMULATION:
        return _torch_accumulation(target.rule)
    if part.cause == "D56":
        return _decay_line(target.rule, framework, component.type if component else "")
    if part.cause == "D47":
        return _epsilon_line(target.rule, framework)
    return catalogue_fix(part.cause, framework)


def _excluding_line(part: Part, target: Rule, description: Description) -> str | None:
    """Return how a side lets some weights not decay; None if it is not that, or has no line."""
    undecayed = target.settings["undecayed"]
    roles = {name.rpartition("/")[2] for name in undecayed}
    component = description.optimizer
    if part.settings != DECAY or part.cause or not component or not roles <= VECTORS.keys():
        return None
    if not roles:
        return None
    if description.framework == "keras":
        names = ", ".join(f'"{name}"' for role, name in VECTORS.items() if role in roles)
        return f"optimizer.exclude_from_weight_decay(var_names=[{names}])"
    if description.framework != "torch":
        return None
    decay = value_text(target.settings["decay"])
    return (
        f'torch.optim.{component.type}([{{"params": [p for p in model.parameters() if p.ndim > 1], '
        f'"weight_decay": {decay}}}, {{"params": [p for p in model.parameters() if p.ndim < 2], '
        '"weight_decay": 0.0}], ...)'
    )


def _epsilon_line(target: Rule, framework: str) -> str | None:
    """Return how a side's Adam adds epsilon as the other one does; None if it cannot."""
    place = target.settings["epsilon_place"]
    epsilon = value_text(target.settings["epsilon"])
    root = f"(1 - {value_text(target.settings['beta2'])}**t) ** 0.5"
    when = "# before step t = 1, 2, …"
    if framework == "torch" and place == "hat":
        return f'optimizer.param_groups[0]["eps"] = {epsilon} / {root}  {when}'
    if framework == "keras" and place == "outside":
        return f"optimizer.epsilon = {epsilon} * {root}  {when}, without tf.function"
    return None


def _texts(values: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, str]:
    """Return arguments as text; an entry of a tuple, ``betas[0]``, as the whole tuple."""
    texts: dict[str, str] = {}
    tuples: dict[str, list[Any]] = {}
    for name, value in values.items():
        whole, bracket, place = name.partition("[")
        if not bracket:
            texts[name] = value_text(value)
            continue
        entries = tuples.setdefault(whole, list(settings[whole]))
        entries[int(place.rstrip("]"))] = value
        texts[whole] = f"({', '.join(value_text(each) for each in entries)})"
    return texts


def _decay_line(target: Rule, framework: str, optimizer: str) -> str:
    """Return how a side decays as the other one does: in the gradient, or the weight itself."""
    decay = target.settings["decay"]
    if target.settings["decay_form"] == "coupled":
        if framework == "torch":
            coupled = "Adam" if optimizer == "AdamW" else optimizer
            return f"torch.optim.{coupled}(..., weight_decay={value_text(decay)})"
        factor = value_text(decay / 2)
        return (
            f"kernel_regularizer=keras.regularizers.L2({factor}), bias_regularizer=..."
            "  # in each layer, without weight_decay"
        )
    text = value_text(decay)
    if framework == "keras":
        return f"keras.optimizers.{optimizer}(..., weight_decay={text})"
    if optimizer == "Adam":
        return f"torch.optim.AdamW(..., weight_decay={text})"
    return f"[p.mul_(1 - lr * {text}) for p in model.parameters()]  # instead of weight_decay"


def _torch_accumulation(target: Rule) -> str | None:
    count = target.settings["accumulate"]
    if count == 1:
        return None
    loss = f"(loss / {count})" if target.settings["accumulate_form"] == "mean" else "loss"
    return f"{loss}.backward()  # and optimizer.step() after each {count} batches"


def _torch_clip(target: Rule) -> str | None:
    limit = value_text(float(target.settings["limit"]))
    lines = {
        "value": f"torch.nn.utils.clip_grad_value_(model.parameters(), {limit})",
        "norm": f"[torch.nn.utils.clip_grad_norm_([p], {limit}) for p in model.parameters()]",
        "global_norm": f"torch.nn.utils.clip_grad_norm_(model.parameters(), {limit})",
    }
    return lines.get(target.settings["clip"])


def changes(values: dict[str, Any], description: Description) -> list[Change]:
    """Return the changes of an optimizer that some arguments stand for."""
    component = description.optimizer
    assert component
    made: dict[str, Any] = {}
    for name, value in values.items():
        key, bracket, rest = name.partition("[")
        if bracket:
            entries = list(made.get(key, component.settings[key]))
            entries[int(rest.rstrip("]"))] = value
            value = entries
        made[key] = value
    return [Change("optimizer", "", name, value) for name, value in made.items()]


def renamed(rule: Rule, names: dict[str, str]) -> Rule:
    """Return a rule whose settings by weight have other names; weights without one are left out."""
    settings = dict(rule.settings)
    settings["undecayed"] = tuple(names[n] for n in settings["undecayed"] if n in names)
    joined = [tuple(names[n] for n in group if n in names) for group in settings["joined"]]
    settings["joined"] = tuple(group for group in joined if len(group) > 1)
    for part in ("penalty", "factors", "forms"):
        settings[part] = {names[n]: v for n, v in settings[part].items() if n in names}
    return replace(rule, settings=settings)
