"""What one training step does: the counts, the table, and the page that explains it."""

import re
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from support.commands import ROOT, run_python

from benchmarks.training import Training
from tools import step_counts as counts
from tools import step_profile as profile
from triptych.core import registry
from triptych.engines.numpy.optimizers import adam
from triptych.spec import zoo
from triptych.spec.optimizers import SGD, Adam
from triptych.spec.recipe import Recipe

STEPS = 5
BATCH = 4
NETWORK = zoo.dense("tiny", [6, 5])  # three dense layers
TINY = Training("tiny", NETWORK, Recipe(1, BATCH, SGD(0.1)), 40, STEPS, ())
PAGE = ROOT / "docs" / "compiled-loops.md"


@pytest.fixture
def numba_step() -> counts.Loaded:
    """The Numba engine, whose functions are compiled."""
    pytest.importorskip("numba")
    loaded = counts.load("numba", TINY)
    loaded.make_steps(loaded.plan)
    return loaded


# --- Counts --------------------------------------------------------------------------------------


def test_a_dense_network_has_three_products_a_layer_but_one():
    tally = counts.Tally()
    assert counts.count_numpy(counts.load("numpy", TINY), tally) == 1
    assert tally.products == 3 * 3 - 1


def test_counting_changes_no_result():
    loaded = counts.load("numpy", TINY)
    other = counts.load("numpy", TINY)
    counts.count_numpy(loaded, counts.Tally())
    other.make_steps(other.plan[:1])
    for name, array in other.engine.state().items():
        np.testing.assert_array_equal(loaded.engine.state()[name], array)


def counted(*shape: int) -> Any:
    """Return a counted array of float32, whose counts begin at 0."""
    counts.CountedArray.tally = counts.Tally()
    return counts.as_counted(np.ones(shape, np.float32))


def tally() -> tuple[int, int | None]:
    return counts.CountedArray.tally.operations, counts.CountedArray.tally.moved


def test_an_operation_reads_its_operands_and_writes_its_result():
    x = counted(3, 5)
    assert type(x * x) is counts.CountedArray
    assert tally() == (1, 3 * 15 * 4)
    x += 1
    assert tally() == (2, (3 + 2) * 15 * 4)
    assert (x > 0).dtype == bool
    assert tally() == (3, (3 + 2 + 1) * 15 * 4 + 15)


def test_a_product_reads_two_matrices_and_writes_one():
    x = counted(3, 5)
    assert (x @ np.ones((5, 2), np.float32)).shape == (3, 2)
    assert tally() == (1, (15 + 10 + 6) * 4)


def test_a_view_is_no_operation():
    x = counted(3, 5)
    x.T[1:].reshape(4, 3).swapaxes(0, 1)
    np.broadcast_to(x, (2, 3, 5))
    assert tally() == (0, None)


def test_selected_rows_are_read_and_written():
    x = counted(30, 5)
    assert x[np.array([4, 2])].shape == (2, 5)
    assert tally() == (1, 2 * 10 * 4)


def test_adam_moves_as_many_arrays_as_the_page_tells():
    """In NumPy 30 by 13 operations: 2, 2 and 3 for a mean, 2 for the square, 2, 2, 2, 2, 3, 3."""
    w = counted(100)
    m, v, g = (counts.as_counted(np.zeros(100, np.float32)) for _ in range(3))
    adam(Adam(), w, g, {"m": m, "v": v}, 0.1, 1)
    assert tally() == (13, 30 * 100 * 4)
    text = PAGE.read_text()
    assert "13 operations" in text
    assert "7 instead of 30" in text


def test_a_plan_of_a_dense_network_is_one_compiled_call(numba_step: counts.Loaded):
    figures = counts.Tally()
    assert counts.count_numba(numba_step, figures) == STEPS
    assert figures.operations == 1


def test_layer_by_layer_each_part_of_a_step_is_a_compiled_call(numba_step: counts.Loaded):
    figures = counts.Tally()
    counts.count_moved_by_layers(numba_step, figures)
    forward = 3 + 2  # products and activations
    backward = 3 + 2 + 2  # gradients of parameters, of inputs, of activations
    loss_and_update = 2
    assert figures.operations == forward + backward + loss_and_update
    assert figures.moved is not None
    assert figures.moved > 2 * BATCH * 784 * 4 + 3 * NETWORK.parameter_count * 4


def test_a_changed_array_counts_twice():
    figures = counts.Tally()

    def double(x: Any, y: Any, factor: float) -> None:
        y[:] = factor * x

    call = counts.counted_call(double, figures)
    call(np.ones(10, np.float32), np.zeros(10, np.float32), 2.0)
    assert (figures.operations, figures.moved) == (1, 3 * 40)


def test_kernels_are_as_before_after_counting(numba_step: counts.Loaded):
    from triptych.engines.numba.kernels import steps

    compiled = steps.dense_steps
    before = [compiled.alone, compiled.shared]
    with counts.counted_kernels(counts.Tally()):
        assert compiled.alone is not before[0]
        assert compiled.shared is not before[1]
    assert [compiled.alone, compiled.shared] == before


def test_python_calls_are_those_of_a_step():
    class Engine:
        def run(self, data: object, plan: list[int]) -> None:
            for _ in plan:
                self.step()

        def step(self) -> None:
            len("x")

        def wait(self) -> None:
            pass

    plan: Any = [0] * 10
    called = counts.count_python_calls(counts.Loaded(Engine(), None, plan))
    # A step is two calls; make_steps, run, len(plan) outside and wait are those of a plan.
    assert called == pytest.approx(2, abs=0.5)


def test_the_peak_is_that_of_new_arrays():
    class Engine:
        def run(self, data: object, plan: object) -> None:
            first = np.zeros(100_000)
            del first
            second = np.zeros(50_000)
            del second

        def wait(self) -> None:
            pass

    plan: Any = [0]
    peak = counts.traced_peak(counts.Loaded(Engine(), None, plan))
    assert 800_000 <= peak < 810_000


def test_the_products_are_timed_by_their_sizes(monkeypatch: pytest.MonkeyPatch):
    timed: list[tuple[int, int, int]] = []

    def one_second(m: int, k: int, n: int, dtype: str) -> float:
        timed.append((m, k, n))
        return 1.0

    monkeypatch.setattr(counts, "seconds_of_product", one_second)
    assert counts.measure_products(TINY) == counts.Products(3 * 3 - 1, 8.0)
    assert timed[0] == (BATCH, 784, 6)
    assert timed[-1] == (BATCH, 10, 5)


# --- The command ---------------------------------------------------------------------------------


def test_the_table_of_numpy(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{profile.BEGIN}\nold\n{profile.END}\nafter\n")
    options = ["--network", "overhead", "--engines", "numpy", "--write", str(page)]
    result = run_python("-m", "tools.step_profile", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "`python -m tools.step_profile --network overhead --engines numpy`" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| NumPy ")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(cells) == len(profile.COLUMNS)
    assert float(cells[1]) > 3 * 2 - 1
    assert float(cells[3]) > 5 * 784 * 32 * 4 / 1e6  # drawn, then read by two products


def test_an_engine_that_is_not_installed_has_a_row(monkeypatch: pytest.MonkeyPatch):
    absent = replace(registry.entry("jax"), requires="no_such_module")
    monkeypatch.setattr(registry, "entry", lambda name: absent)
    figures = profile.figures_of("jax", "overhead", {})
    measured = profile.Measured("tiny", TINY, {"count": 8, "seconds": 1.0}, {"jax": figures})
    _, row = measured.cells()
    assert row[:2] == ["JAX", "not installed: `pip install 'triptych[jax]'`"]
    assert len(row) == len(profile.COLUMNS)


def test_a_failed_process_has_a_row():
    assert "NoSuchWorkload" in profile.run_counts("numpy", "NoSuchWorkload", {})["error"]


def test_mistakes_are_told(tmp_path: Path):
    with pytest.raises(typer.BadParameter, match="'R9' is unknown; there are R1, R2, R3, overhead"):
        profile.chosen_networks("R2,R9")
    with pytest.raises(typer.BadParameter, match="did you mean 'numba'"):
        profile.chosen_engines("nunba")
    page = tmp_path / "page.md"
    page.write_text("no comments")
    with pytest.raises(typer.BadParameter, match="has no lines"):
        profile.replace_table(page, "")
    with pytest.raises(typer.BadParameter, match="No such file"):
        profile.replace_table(tmp_path / "absent.md", "")


# --- The page ------------------------------------------------------------------------------------


def test_quoted_code_is_in_the_sources():
    blocks = re.findall(r"^ *```python\n(.*?)^ *```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    folders = [ROOT / "triptych" / "engines" / name for name in ("numpy", "numba")]
    sources = [path.read_text() for folder in folders for path in folder.rglob("*.py")]
    assert len(blocks) >= 8
    for block in blocks:
        code = textwrap.dedent(block)
        forms = [textwrap.indent(code, " " * spaces) for spaces in (0, 4, 8, 12)]
        assert any(form in source for form in forms for source in sources), code


def table_of(network: str) -> dict[str, dict[str, str]]:
    """Return the page's table of a network: the cells of each engine, by column."""
    _, _, rest = PAGE.read_text().partition(f"**{network}: ")
    rows: dict[str, dict[str, str]] = {}
    for line in rest.split("\n\n")[1].splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows[cells[0]] = dict(zip(profile.COLUMNS, cells, strict=True))
    return rows


@pytest.mark.parametrize("network", profile.NETWORKS.split(","))
def test_the_page_has_every_engine(network: str):
    labels = [entry.label for entry in registry.entries().values() if entry.name in counts.COUNTERS]
    assert list(table_of(network)) == ["the products alone", *labels]


def test_what_the_page_tells_is_in_its_tables():
    for network in ("overhead", "R2"):
        table = table_of(network)
        assert float(table["Numba"]["operations"]) < 1
        assert float(table["NumPy"]["operations"]) > 20
        for engine in ("Numba", "PyTorch", "JAX"):
            assert float(table[engine]["MB moved"]) < float(table["NumPy"]["MB moved"])
        for engine in ("Numba", "TensorFlow", "JAX"):
            assert float(table[engine]["Python calls"]) < float(table["NumPy"]["Python calls"])
    of_update = 30 * 109_386 * 4 / 1e6
    fused = of_update * 7 / 30
    assert f"{of_update:.1f} MB in NumPy and {fused:.1f} MB in Numba" in PAGE.read_text()
    assert float(table_of("R2")["NumPy"]["MB moved"]) / 2 < of_update
    saved: dict[str, float] = {}
    for name in ("R2", "R3"):
        table = table_of(name)
        saved[name] = float(table["NumPy"]["MB moved"]) - float(table["Numba"]["MB moved"])
    assert saved["R3"] > saved["R2"]
    assert float(table_of("R3")["NumPy"]["MB new"]) > 64 * 24 * 24 * 288 * 4 / 1e6
