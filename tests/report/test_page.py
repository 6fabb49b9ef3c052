"""What the report says: its headline, its sections and its colours, for runs of every outcome."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import made

from triptych.bench.results import spread
from triptych.core import registry
from triptych.core.colors import style
from triptych.report import notebook, page, slots, verdict
from triptych.report.answers import answers
from triptych.spec.optimizers import SHORTHANDS, optimizer
from triptych.spec.recipe import Recipe
from triptych.spec.zoo import get

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

ORIGINAL = {"name": "mnist_test", "train": 9000, "test": 1000}


@pytest.fixture(autouse=True)
def _uncalibrated(tmp_path, monkeypatch):
    """No calibration of this machine is found."""
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "no-data"))


def rows_of(*names: str, **changes: Any) -> dict[str, dict[str, Any]]:
    return {name: made.row(name, registry.entry(name).default_backend, **changes) for name in names}


def written(root: Path, results: dict[str, Any]) -> str:
    """The text of the report of a run."""
    return page.write(made.folder(root, results)).read_text(encoding="utf-8")


def test_rows_that_round_more_by_design_do_not_spoil_the_headline():
    rows = made.every_row()
    exact = sum(not row["as_announced"] for row in rows.values())
    assert 0 < exact < len(rows)
    headline = verdict.headline(made.results(rows)["runs"][0], "float32")
    assert headline["equal"] is True
    assert headline["big"] == f"{exact} of {exact} float32 rows are equal"
    assert headline["small"].endswith("PyTorch bf16 rounds more by design.")


def test_a_row_that_is_not_proved_makes_the_headline_red_and_is_named():
    rows = made.every_row()
    rows["tensorflow"] |= {"proved": False, "unproved": "differs in float64 at step 1"}
    headline = verdict.headline(made.results(rows)["runs"][0], "float32")
    assert headline["equal"] is False
    assert headline["big"] == "TensorFlow is not proved equal"


def test_a_notebook_shows_why_a_row_is_not_proved():
    rows = made.every_row()
    rows["tensorflow"] |= {"proved": False, "unproved": "differs in float64 at step <1>"}
    shown = notebook.comparison_html(made.results(rows)["runs"][0], [], "float32")
    assert "<p>TensorFlow: differs in float64 at step &lt;1&gt;</p>" in shown
    assert "The reasons are below the table. No speed" in shown
    assert "The proof" not in shown
    assert "reduced precision" not in shown  # as announced


def test_the_headline_gives_the_largest_difference_and_the_fewest_steps():
    rows = rows_of("numpy", "torch", "tensorflow")
    rows["torch"]["float64"] = rows["torch"]["float64"] | {"largest": 4.25e-12}
    rows["tensorflow"]["float64"] = rows["tensorflow"]["float64"] | {"steps": 31}
    headline = verdict.headline(made.results(rows)["runs"][0], "float32")
    assert headline["big"] == "All three engines are equal"
    assert "4.2e−12" in headline["small"]
    assert "In 31 training steps" in headline["small"]


def test_rows_that_did_not_run_are_named_in_the_headline():
    rows = rows_of("numpy", "torch") | rows_of(
        "tensorflow", failed="TensorFlow is not installed", proved=False, float64=None
    )
    headline = verdict.headline(made.results(rows)["runs"][0], "float32")
    assert headline["equal"] is True
    assert headline["big"] == "Both engines are equal"
    assert headline["small"].endswith("TensorFlow did not run.")


def original(**changes: Any) -> dict[str, Any]:
    """Results of the original's job, or of another one where something is changed."""
    recipe, network = changes.pop("recipe", Recipe()), changes.pop("network", get("classic"))
    results = made.results(rows_of("numpy", "torch", "tensorflow"), recipe)
    run = results["runs"][0]
    run["data"] |= ORIGINAL | changes
    return results | {"network": network.to_json()}


OTHER_JOBS = {
    "the digits": {"name": "digits", "train": 1617, "test": 180},
    "MNIST": {"name": "mnist", "train": 60000, "test": 10000},
    "another file of that name": {"train": 900, "test": 100},
    "another network": {"network": get("custom")},
    "with dropout": {"network": replace(get("classic"), layers=get("mlp").layers)},
    "another rate": {"recipe": replace(Recipe(), optimizer=optimizer("sgd", 0.01))},
    "momentum": {"recipe": replace(Recipe(), optimizer=optimizer("momentum", 0.1))},
    "Adam": {"recipe": replace(Recipe(), optimizer=optimizer("adam", 0.1))},
    "batches": {"recipe": Recipe(batch_size=64)},
    "fewer epochs": {"recipe": Recipe(epochs=499)},
}


@pytest.mark.parametrize("job", OTHER_JOBS)
def test_the_originals_claims_are_absent_from_every_other_job(job: str, tmp_path):
    results = original(**OTHER_JOBS[job])
    assert answers(results) == []
    assert "original" not in written(tmp_path, results)


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(seed=7), Recipe(dtype="float64")])
def test_the_originals_job_has_its_claims_without_a_judgement(recipe: Recipe, tmp_path):
    results = original(recipe=recipe)
    claims = {answer.claim: answer.measured for answer in answers(results)}
    assert claims["NumPy reaches an accuracy of 85–90 %"] == "95.00 %"
    assert claims["NumPy trains in 60–120 s"] == "0.50 s"
    assert claims["TensorFlow is 3–5 times as fast as NumPy"] == "0.67 times as fast"
    text = written(tmp_path, results)
    assert "What the original claimed" in text
    section = text[text.index("What the original claimed") : text.index("Confusion matrix")]
    assert 'class="no"' not in section
    assert ">no<" not in section


@pytest.mark.parametrize("signs", [{"busy": "other programs used 40% of it"}, {}])
def test_a_busy_machine_names_no_winner_and_gives_no_factor(signs: dict[str, str], tmp_path):
    """The result says that the machine was busy, or, in a result of an earlier version, the
    processor time does.
    """
    rows = rows_of("numpy", "torch", cpu_share=1.0 if signs else 0.5)
    text = written(tmp_path, made.results(rows, fastest=None, **signs))
    assert "No row is named the fastest: other programs used the machine" in text
    assert "times as" not in text
    assert "was the fastest" not in text


UNRELIABLE = "* The machine was busy, so this ratio is not reliable."


def cells(text: str, label: str) -> list[str]:
    """The cells of a row of the table of results, without their small figures."""
    table = text[text.index('<table class="results">') :]
    line = table[table.index(f">{label}<") :].partition("</tr>")[0]
    return re.findall(r"<td>([^<]*)<", line)


def on_a_machine(busy: str | None) -> dict[str, Any]:
    """Results of which NumPy's ratio is 1 by definition and PyTorch's was measured."""
    rows = rows_of("numpy", "torch")
    rows["numpy"]["ratio"] = {"median": 1.0, "low": 1.0, "high": 1.0}
    return made.results(rows, fastest=None, busy=busy)


@pytest.mark.parametrize("busy", ["other programs used 40% of it", None])
def test_ratios_of_a_busy_machine_are_marked_and_explained(busy: str | None, tmp_path):
    results = on_a_machine(busy)
    text = written(tmp_path, results)
    assert "1.00" in cells(text, "NumPy")
    assert ("1.50*" if busy else "1.50") in cells(text, "PyTorch")
    assert (UNRELIABLE in text) == bool(busy)
    shown = notebook.comparison_html(results["runs"][0], [], "float32")
    assert "<td>1.00</td>" in shown
    assert f"<td>1.50{'*' if busy else ''}</td>" in shown
    assert (f"<p>{UNRELIABLE}</p>" in shown) == bool(busy)


def test_ratios_over_seeds_are_marked_where_the_machine_was_busy_for_one(tmp_path):
    results = on_a_machine(None)
    results["runs"] += on_a_machine("other programs used 40% of it")["runs"]
    results["spread"] = spread(results["runs"])
    text = written(tmp_path, results)
    assert "1.50" in cells(text, "PyTorch")  # the first seed's
    assert UNRELIABLE not in text
    assert "<td>1.50*</td>" in text
    footnote = "* The machine was busy for 1 of 2 seeds, so this ratio is not reliable."
    assert footnote in text


def test_differences_within_the_uncertainty_name_no_winner_but_keep_the_factors(tmp_path):
    text = written(tmp_path, made.results(rows_of("numpy", "torch"), fastest=None, busy=None))
    assert (
        "No row is named the fastest: the differences are not larger than the uncertainty" in text
    )
    assert "1.50 times as long as NumPy" in text


def test_a_quiet_machine_names_the_winner_and_the_factor(tmp_path):
    text = written(tmp_path, made.results(rows_of("numpy", "torch")))
    assert "NumPy was the fastest here" in text
    assert "1.50 times as long as NumPy" in text


@pytest.mark.parametrize(
    "nothing", [{}, {"float64": None, "blocks": None, "float32": None, "ratio": None, "step": None}]
)
def test_a_comparison_of_one_row_is_a_report_that_says_what_to_install(
    nothing: dict[str, Any], tmp_path, monkeypatch
):
    missing = {
        name: replace(entry, requires=f"no_module_{name}")
        for name, entry in registry.entries().items()
        if name != "numpy"
    }
    known = {"numpy": registry.entry("numpy")} | missing
    monkeypatch.setattr(registry, "entries", lambda: known)
    text = written(tmp_path, made.results(rows_of("numpy", **nothing), fastest=None))
    assert "Only NumPy ran" in text
    assert "pip install &#39;triptych[torch]&#39;" in text
    assert "pip install &#39;triptych[tensorflow]&#39;" in text
    assert "One network in NumPy" in text
    assert "The proof" not in text
    assert "Largest weight difference" not in text
    assert "times as" not in text
    assert "equal</b>" not in text


def test_where_all_others_failed_their_reasons_are_given(tmp_path):
    why = "PyTorch is not installed: pip install 'triptych[torch]'"
    nothing = dict.fromkeys(
        (
            "float64",
            "float32",
            "blocks",
            "accuracy",
            "confusion",
            "step",
            "ratio",
            "training_seconds",
            "weights_apart",
        )
    )
    rows = rows_of("numpy") | rows_of("torch", failed=why, proved=False, **nothing)
    headline = verdict.headline(made.results(rows)["runs"][0], "float32")
    assert headline == {
        "equal": None,
        "big": "Only NumPy ran",
        "small": f"There was nothing to compare it with. {why}.",
    }
    text = written(tmp_path, made.results(rows, fastest=None, busy="other programs used 40% of it"))
    assert "There was nothing to compare the time with." in text
    assert "One network in NumPy" in text
    assert "Confusion matrix</h2>" in text


def colors_in(text: str) -> dict[str, str]:
    """The colour of each row's card, by its label."""
    return {
        label: color
        for color, label in re.findall(
            r'class="card engine" style="--key: ([^"]+)">\s*<small>([^<]+)</small>', text
        )
    }


def test_a_row_has_the_same_colour_whichever_other_rows_there_are(tmp_path):
    every = made.every_row()
    sets = [
        list(every),
        ["numpy", "tensorflow"],
        ["numpy", "jax", "torch"],
        ["tensorflow-fit", "torch-compiled", "jax"],
    ]
    colors_of_rows = [
        colors_in(written(tmp_path, made.results({name: every[name] for name in names})))
        for names in sets
    ]
    assert len(colors_of_rows[0]) == len(every)
    for names, colors in zip(sets, colors_of_rows, strict=True):
        assert len(colors) == len(names)
        assert colors.items() <= colors_of_rows[0].items()


def test_no_two_rows_look_the_same():
    specs = [
        (name, backend) for name, entry in registry.entries().items() for backend in entry.backends
    ]
    looks = [style(*spec) for spec in specs]
    assert len({look.light for look in looks}) == len({look.dark for look in looks}) == len(specs)
    for name, entry in registry.entries().items():
        dashes = [style(name, backend).dash for backend in entry.backends]
        assert dashes[0] == ""
        assert len(set(dashes)) == len(dashes)


def test_an_engine_that_is_not_known_here_has_a_colour_that_does_not_change():
    assert style("acme", "eager") == style("acme", "eager")
    assert re.fullmatch("#[0-9a-f]{6}", style("acme", "eager").light)


@pytest.mark.parametrize("name", SHORTHANDS)
def test_every_slot_of_every_optimizer_is_explained(name: str, tmp_path):
    rows, recipe = made.with_optimizer(rows_of("numpy", "torch"), name)
    expected = {*recipe.optimizer.slots, *(["step"] if recipe.optimizer.counts_steps else [])}
    words = slots.described(recipe.optimizer)
    assert words.keys() == expected
    assert slots.OTHERWISE not in words.values()
    text = written(tmp_path, made.results(rows, recipe))
    assert ("optimizer state (largest)" in text) == bool(expected)
    assert all(f"<code>{slot}</code> is {words[slot]}" in text for slot in expected)
    if expected:
        largest = f"{len(expected)}.0e−16"  # of the slots' figures 1e-16, 2e-16, …
        assert f"<td>{largest}</td>" in text


def test_a_slot_that_is_not_finite_is_the_largest(tmp_path):
    rows, recipe = made.with_optimizer(rows_of("numpy", "torch"), "adam")
    rows["torch"]["float64"]["worst"]["v"] = None
    assert "<td>not finite</td>" in written(tmp_path, made.results(rows, recipe))


def drawn(text: str) -> dict[str, Any]:
    """The data of the charts."""
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert match
    return json.loads(match.group(1))


def test_equal_confusion_matrices_are_drawn_once(tmp_path):
    text = written(tmp_path, made.results(rows_of("numpy", "torch", "tensorflow", "jax")))
    assert text.count("data-confusion=") == 1
    assert "Confusion matrix: the same in all four" in text
    assert drawn(text)["confusion"][0]["changed"] == []


def test_a_confusion_matrix_that_differs_is_drawn_with_its_differences_framed(tmp_path):
    rows = rows_of("numpy", "torch", "tensorflow", "jax")
    other = np.array(rows["numpy"]["confusion"])
    other[4, 9], other[4, 4] = 1, 17
    rows["tensorflow"]["confusion"] = other.tolist()
    text = written(tmp_path, made.results(rows))
    assert text.count("data-confusion=") == 2
    assert "Confusion matrix: NumPy, PyTorch and JAX" in text
    assert "Confusion matrix: TensorFlow<" in text
    assert "Most frequent mistakes: 4 taken for 9 (1)." in text
    assert drawn(text)["confusion"][1]["changed"] == [[4, 4], [4, 9]]


def test_equal_weights_are_drawn_once_and_others_get_their_own_pictures(tmp_path):
    results = made.results(rows_of("numpy", "torch", "jax"))
    folder = made.folder(tmp_path, results)
    for name, scale in (("numpy", 1), ("torch", 1 + 1e-6), ("jax", -1)):
        made.state(folder, name, scale)
    text = page.write(folder).read_text(encoding="utf-8")
    assert "What a hidden unit looks for: NumPy and PyTorch" in text
    assert "What a hidden unit looks for: JAX" in text
    assert text.count('alt="unit 1"') == 2


def test_a_table_of_numbers_has_samples_and_no_pictures(tmp_path):
    results = made.results(rows_of("numpy", "torch"))
    results["runs"][0]["data"]["image"] = [1, 1, 30]
    folder = made.folder(tmp_path, results)
    made.state(folder, "numpy")
    text = page.write(folder).read_text(encoding="utf-8")
    assert "1,617 training and 180 test samples" in text
    assert "a cell counts test samples" in text
    assert "hidden unit looks for" not in text
    assert " images" not in text.split("<script")[0]


def test_the_only_script_that_may_run_is_the_pages_own(tmp_path):
    import base64
    import hashlib

    text = written(tmp_path, made.results(rows_of("numpy", "torch")))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    script = re.search(r'<script type="module">(.*?)</script>', text, re.DOTALL)
    assert policy
    assert script
    digest = base64.b64encode(hashlib.sha256(script.group(1).encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy.group(1)
    assert "<script" not in text.replace('<script type="module">', "").replace(
        '<script type="application/json" id="data">', ""
    )
