"""Scripts with a mistake each: the report names the stage and the mistake, and no other one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.engines import needs_torch

from triptych.core import events
from triptych.doctor.script import comparison
from triptych.doctor.script.launch import Server
from triptych.doctor.script.verification import Script, compare_with
from triptych.scale import causes

pytestmark = [pytest.mark.process, pytest.mark.framework, needs_torch]

SCRIPTS = Path(__file__).parent / "scripts"
WRAPPED = "    model = DistributedDataParallel(model, device_ids=[rank])\n"
SUMMED = 'reduction="sum") * workers / whole'
MEAN = 'reduction="mean")'
NOT_SYNCHRONISED = ("nn.SyncBatchNorm.convert_sync_batchnorm(model)", "model")
WITHOUT_NORM = ("nn.BatchNorm1d(8)", "nn.Identity()")
BACKWARD = "            loss.backward()\n"
CLIP = "            nn.utils.clip_grad_norm_(model.parameters(), 0.5)\n"
AVERAGE = """            for parameter in model.parameters():
                dist.all_reduce(parameter.grad)
                parameter.grad /= workers
"""
ADD = AVERAGE.replace("                parameter.grad /= workers\n", "")
AVERAGED_LOSS = """        average = torch.zeros(1)
        with torch.no_grad():
            for x, y in test_loader:
                average += nn.functional.cross_entropy(model(x), y)
        dist.all_reduce(average)
        average /= workers
"""
ACCUMULATED = """        for step, (x, y) in enumerate(loader):
            for half in (0, 1):
                loss = nn.functional.cross_entropy(model(x[half::2]), y[half::2], reduction="sum")
                (loss * workers / min(10, 45 - step * 10)).backward()
            optimizer.step()
            optimizer.zero_grad()
        for step, (x, y) in enumerate(()):
"""
AVERAGED_BY_NCCL = """            for parameter in model.parameters():
                dist.all_reduce(parameter.grad, op=dist.ReduceOp.AVG)
"""
SEQUENTIAL = "model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))"
CHECKPOINTED = """class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.1))
        self.last = nn.Linear(8, 1)

    def forward(self, batch):
        from torch.utils.checkpoint import checkpoint

        hidden = checkpoint(self.first, batch["x"], use_reentrant=False)
        return {"y": self.last(hidden)}


"""
LIST_OF = """def list_of(samples):
    return [x for x, _ in samples], torch.stack([y for _, y in samples])


class OfList(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner(torch.stack(images))


"""
DRAWN = """class Drawn(nn.Module):
    def forward(self, x):
        return x * (torch.rand_like(x) > 0.5)


"""
CLOSURE = """        closure = lambda: self.loss(source, targets)
        self.optimizer.step(closure)

    def loss(self, source, targets):
        output = self.model(source)
        loss = nn.f"""

TUTORIAL_ARGUMENTS = ("--batch-size={64/workers}", "--epochs=1")


@dataclass(frozen=True)
class Specimen:
    """A mistake in one of the scripts.

    Attributes
    ----------
    base : str
        The script.
    changes : tuple of tuple of str
        What is replaced by what in it.
    stage, step : str, int
        Where it differs first; the step from 1.
    cause : Cause or None
        The mistake that must be named.
    arguments : tuple of str
        Of the script.
    workers : int
        How many.
    """

    base: str
    changes: tuple[tuple[str, str], ...]
    stage: str
    cause: causes.Cause | None
    step: int = 1
    arguments: tuple[str, ...] = ()
    workers: int = 2


SPECIMENS = {
    "mean of means": Specimen(
        "exact.py", ((SUMMED, MEAN),), "gradient", causes.MEAN_OF_MEANS, step=5
    ),
    "mean of means, three workers, no clipping": Specimen(
        "exact.py", ((SUMMED, MEAN), (CLIP, "")), "gradient", causes.MEAN_OF_MEANS, workers=3
    ),
    "schedule per process": Specimen(
        "exact.py",
        (("scheduler.step()", "[scheduler.step() for _ in range(workers)]"),),
        "schedule",
        causes.STEPPED_PER_PROCESS,
        step=2,
    ),
    "schedule of one worker": Specimen(
        "exact.py",
        (("scheduler.step()", "rank or scheduler.step()"),),
        "schedule",
        causes.RATES_DIFFER,
        step=2,
    ),
    "rate times workers": Specimen(
        "exact.py", (("lr=0.1", "lr=0.1 * workers"),), "schedule", causes.RATE_SCALED
    ),
    "BatchNorm per shard": Specimen(
        "exact.py", (NOT_SYNCHRONISED,), "forward", causes.NORM_PER_SHARD
    ),
    "gradients summed": Specimen(
        "exact.py",
        ((WRAPPED, ""), ("model.module", "model"), (SUMMED, MEAN), (BACKWARD, BACKWARD + ADD)),
        "gradient",
        causes.SUMMED_TWICE,
    ),
    "divided twice": Specimen(
        "exact.py", ((" * workers / whole", " / whole"),), "gradient", causes.DIVIDED_TWICE
    ),
    "around DDP": Specimen(
        "exact.py", (("(model(x)", "(model.module(x)"),), "gradient", causes.NOT_AVERAGED
    ),
    "clipped first": Specimen(
        "exact.py",
        (
            (WRAPPED, ""),
            ("model.module", "model"),
            (CLIP, CLIP.replace("0.5", "0.1") + AVERAGE),
        ),
        "gradient",
        causes.CLIPPED_FIRST,
    ),
    "weights after wrapping": Specimen(
        "exact.py",
        (
            (
                WRAPPED,
                WRAPPED + "    torch.manual_seed(rank)\n    model.module[0].reset_parameters()\n",
            ),
        ),
        "weights",
        causes.DIFFERENT_WEIGHTS,
    ),
    "seed of workers": Specimen(
        "exact.py",
        (("manual_seed(1)", "manual_seed(workers)"),),
        "weights",
        causes.WEIGHTS_BY_WORKERS,
    ),
    "no seed": Specimen("sampled.py", (("torch.manual_seed(0)", ""),), "weights", causes.NO_SEED),
    "padded batch": Specimen(
        "sampled.py",
        (),
        "data",
        causes.PADDED_BY_SAMPLER,
        3,
        ("--batch-size={10/workers}", "--samples=25"),
    ),
    "padded epoch": Specimen(
        "sampled.py",
        (),
        "data",
        causes.PADDED_BY_SAMPLER,
        3,
        ("--batch-size={12/workers}", "--samples=25"),
        3,
    ),
    "dropped": Specimen(
        "sampled.py",
        (("DistributedSampler(training)", "DistributedSampler(training, drop_last=True)"),),
        "data",
        causes.DROPPED,
        3,
        ("--batch-size={10/workers}", "--samples=25"),
    ),
    "no sampler": Specimen(
        "sampled.py",
        (
            (", sampler=sampler)", ", shuffle=False)"),
            ("        self.loader.sampler.set_epoch(epoch)\n", ""),
        ),
        "data",
        causes.SAME_SAMPLES,
    ),
    "every worker shuffles": Specimen(
        "sampled.py",
        (
            (", sampler=sampler)", ", shuffle=True)"),
            ("        self.loader.sampler.set_epoch(epoch)\n", ""),
            ("    trainer = ", "    torch.manual_seed(gpu_id)\n    trainer = "),
        ),
        "data",
        causes.SAME_SAMPLES,
        arguments=("--batch-size={8/workers}",),
    ),
    "noise per worker": Specimen(
        "sampled.py",
        (("return self.x[index],", "return self.x[index] + torch.randn(6) / 9,"),),
        "data",
        causes.RANDOM_CONTENT,
        arguments=("--batch-size={8/workers}",),
    ),
    "larger batch": Specimen(
        "sampled.py", (("lr=0.01", "lr=0.01 * dist.get_world_size()"),), "data", None
    ),
    "average of averages": Specimen(
        "exact.py",
        (
            (
                "        correct = torch.zeros(2, device=rank)\n",
                AVERAGED_LOSS + "        correct = torch.ones(2)\n",
            ),
            ("Parts(14, 14,", "Parts(13, 13,"),
            ("Points(14)", "Points(13)"),
            (
                "            for x, y in test_loader:\n                right",
                "            for x, y in ():\n                right",
            ),
        ),
        "metric",
        causes.MEAN_OF_MEANS,
        step=6,
    ),
    "padded evaluation": Specimen(
        "sampled.py",
        (("Points(12)", "Points(13)"),),
        "metric",
        causes.PADDED_BY_SAMPLER,
        7,
        ("--batch-size={8/workers}",),
    ),
    "tutorial": Specimen(
        "digits.py", (), "forward", causes.NORM_PER_SHARD, arguments=TUTORIAL_ARGUMENTS
    ),
    "penalty of workers": Specimen(
        "exact.py", (("momentum=0.9", "momentum=0.9, weight_decay=1e-3 * workers"),), "update", None
    ),
}
IN_DOUBLE = ("mean of means", "BatchNorm per shard", "clipped first", "padded epoch")
RIGHT = {
    "exact, two": Specimen("exact.py", (), "", None),
    "exact, three": Specimen("exact.py", (), "", None, workers=3),
    "again": Specimen("exact.py", (), "", None, workers=1),
    "sampled": Specimen("sampled.py", (), "", None, arguments=("--batch-size={8/workers}",)),
    "averaged by hand": Specimen(
        "exact.py",
        ((WRAPPED, ""), ("model.module", "model"), (BACKWARD, BACKWARD + AVERAGE)),
        "",
        None,
    ),
    "step with a closure": Specimen(
        "sampled.py",
        (
            ("        loss = nn.f", CLOSURE),
            (
                "        loss.backward()\n        self.optimizer.step()\n",
                "        loss.backward()\n        return loss\n",
            ),
            ("        output = self.model(source)\n        closure", "        closure"),
        ),
        "",
        None,
        arguments=("--batch-size={8/workers}",),
    ),
    "average of NCCL": Specimen(
        "exact.py",
        (
            (WRAPPED, ""),
            ("model.module", "model"),
            (BACKWARD, BACKWARD + AVERAGED_BY_NCCL),
        ),
        "",
        None,
    ),
    "checkpointed, given and returned in dicts": Specimen(
        "sampled.py",
        (
            (SEQUENTIAL, "model = Checkpointed()"),
            ("class Trainer:", CHECKPOINTED + "class Trainer:"),
            (
                "self.model(source)\n        loss",
                'self.model(batch={"x": source})["y"]\n        loss',
            ),
            ("self.model(source.to(self.gpu_id))", 'self.model(batch={"x": source})["y"]'),
        ),
        "",
        None,
        arguments=("--batch-size={8/workers}",),
    ),
    "a list of images": Specimen(
        "sampled.py",
        (
            ("sampler=sampler)", "sampler=sampler, collate_fn=list_of)"),
            ("class Trainer:", LIST_OF + "class Trainer:"),
            ("self.model(source)\n        loss", "self.model(source)\n        loss"),
            ("source.to(self.gpu_id), targets.to", "source, targets.to"),
            ("DDP(model.to(gpu_id)", "DDP(OfList(model).to(gpu_id)"),
            ("self.model(source.to(self.gpu_id))", "self.model(list(source))"),
        ),
        "",
        None,
        arguments=("--batch-size={8/workers}",),
    ),
    "adversarial": Specimen("adversarial.py", (), "", None, workers=3),
    "recurrent": Specimen("recurrent.py", (), "", None, workers=3),
    "accumulated": Specimen(
        "exact.py",
        (WITHOUT_NORM, ("        for step, (x, y) in enumerate(loader):\n", ACCUMULATED)),
        "",
        None,
    ),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(1) as server:
        yield server


def compared(
    server: Server, specimen: Specimen, folder: Path, **options: bool
) -> events.ScriptCompared:
    text = (SCRIPTS / specimen.base).read_text()
    for old, new in specimen.changes:
        assert text.count(old) >= 1, old
        text = text.replace(old, new)
    path = folder / "train.py"
    path.write_text(text)
    script = Script(path, specimen.arguments, timeout=60, **options)
    *_, last = compare_with(server, script, [specimen.workers])
    assert isinstance(last, events.ScriptCompared), last
    return last


def check(event: events.ScriptCompared, specimen: Specimen) -> None:
    first = event.findings[0]
    shown = (first["stage"], first["step"], first["cause"])
    assert shown == (specimen.stage, specimen.step, specimen.cause and specimen.cause.name), event
    if specimen.cause:
        assert {each["cause"] for each in event.findings} <= {specimen.cause.name, None}, event
        assert event.verdict == "differs"


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECIMENS)
def test_a_mistake_is_named(name: str, server: Server, tmp_path: Path):
    check(compared(server, SPECIMENS[name], tmp_path), SPECIMENS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_DOUBLE)
def test_a_mistake_is_named_in_double_precision(name: str, server: Server, tmp_path: Path):
    event = compared(server, SPECIMENS[name], tmp_path, double=True)
    assert event.dtype == "float64"
    check(event, SPECIMENS[name])


@pytest.mark.slow
@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_script_is_equal(name: str, double: bool, server: Server, tmp_path: Path):
    event = compared(server, RIGHT[name], tmp_path, double=double)
    assert event.verdict == "equal", event
    assert event.identical
    assert event.steps >= 10
    assert event.findings == []
    assert all(figure <= event.bounds[kind] for kind, figure in event.worst.items())
    assert max(event.bounds.values()) <= (1e-12 if double else 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
def test_a_tutorial_is_equal(double: bool, server: Server, tmp_path: Path):
    right = Specimen("digits.py", (), "", None, arguments=(*TUTORIAL_ARGUMENTS, "--sync-bn"))
    event = compared(server, right, tmp_path, double=double)
    assert (event.verdict, event.steps) == ("equal", 20)
    assert max(event.bounds.values()) <= (1e-12 if double else 1e-3)


@pytest.mark.slow
def test_only_steps_in_which_rounding_is_small_are_compared(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bound = max(compared(server, RIGHT["exact, two"], tmp_path).bounds.values())
    monkeypatch.setattr(comparison, "LARGEST_BOUND", bound * 0.999)
    event = compared(server, RIGHT["exact, two"], tmp_path)
    assert event.verdict == "equal"
    assert 0 < event.steps < event.compared == 10
    assert max(event.bounds.values()) < bound


@pytest.mark.slow
def test_a_model_that_draws_masks_itself_is_not_judged(server: Server, tmp_path: Path):
    drawn = "nn.Linear(6, 8), Drawn(), nn.BatchNorm1d(8)"
    changes = (
        ("nn.Linear(6, 8), nn.BatchNorm1d(8)", drawn),
        ("class Parts:", DRAWN + "class Parts:"),
    )
    event = compared(server, Specimen("exact.py", changes, "", None), tmp_path)
    assert (event.verdict, event.steps, event.compared) == ("undecided", 0, 10)
    assert "what 1 returns differs by" in event.notes[0]
