"""The map as data and as a picture; and both commands."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.planted import COMPILED, NUMPY, TORCH, calibrated, costs

from triptych.advise import calibration, plot
from triptych.advise.advice import Advisor
from triptych.cli.app import main
from triptych.core.colors import style
from triptych.core.selection import specs

PLANTED = calibrated(
    {
        NUMPY: costs(1e-5, 4e-10, 2e-11),
        TORCH: costs(2e-4, 1e-10, 2e-12),
        COMPILED: costs(3e-4, 2e-10, 2e-11),
    }
)


@pytest.fixture(autouse=True)
def _kept(tmp_path, monkeypatch):
    """This machine is calibrated, for one thread."""
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plot, "CELLS", 9)
    calibration.save(PLANTED, calibration.path(1))


def said(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return f"{ended.value.code}: " + " ".join((printed.out + printed.err).split())


def test_the_map_names_the_planted_winners():
    dense, convolution = plot.panels(Advisor(PLANTED))
    for panel in (dense, convolution):
        assert len(panel.fastest) == len(panel.sizes)
        assert {len(row) for row in panel.fastest} == {len(panel.batches)}
        assert panel.batches == sorted(set(panel.batches))
        assert panel.fastest[0][0] == ["numpy"]
        assert panel.fastest[-1][-1] == ["torch"]
        assert {len(keys) for row in panel.fastest for keys in row} >= {
            1,
            2,
        }  # on the way it cannot be told


@pytest.mark.parametrize(
    ("name", "begins"), [("map.png", b"\x89PNG"), ("map.svg", b"<?xml"), ("map.pdf", b"%PDF")]
)
def test_show_prints_and_draws_without_timing(capsys, name: str, begins: bytes):
    text = said(capsys, "map", "--show", "--out", name)
    assert text.startswith("0: ")
    assert "NumPy 60" in text
    assert "PyTorch compiled 60" in text
    assert "10 NumPy" in text  # the narrowest network: NumPy at the smallest batch
    assert Path(name).read_bytes().startswith(begins)


def test_a_row_that_timed_too_few_is_said_to_be_missing(capsys):
    few = [
        replace(s, seconds=s.seconds if i < 3 else {"numpy": s.seconds["numpy"]})
        for i, s in enumerate(PLANTED.samples)
    ]
    calibration.save(replace(PLANTED, samples=tuple(few)), calibration.path(1))
    text = said(capsys, "map", "--show")
    assert text.startswith("0: ")
    for label in ("PyTorch", "PyTorch compiled"):
        assert (
            f"Not on the map: {label} (only 3 networks timed; run triptych map with more "
            "--minutes)." in text
        )
    assert "Not on the map: JAX (never timed; " in text


def test_advice_in_a_table_and_a_sentence(capsys):
    text = said(capsys, "advise", "--hidden", "1024,1024", "--batch-size", "2048")
    assert "batch 2,048" in text
    assert "Fastest: PyTorch, expected to spend" in text
    assert all(share in text for share in ("overhead", "memory", "arithmetic"))


def test_advice_says_what_it_leaves_out(capsys):
    assert "no network of the calibration had GlobalAvgPool, Residual" in said(
        capsys, "advise", "--network", "resnet20"
    )
    Path("r.json").write_text('{"dtype": "float64", "augmentation": {"shift": 1}, "batch_size": 8}')
    text = said(capsys, "advise", "--recipe", "r.json")
    assert "augmentation is not counted" in text
    assert "calibrated in float32; in float64" in text


MISTAKES = {
    "threads that were never timed": (
        ["advise", "--threads", "2"],
        "not calibrated for 2 threads; run: triptych map --threads 2",
    ),
    "a misspelt network": (["advise", "--network", "clasic"], "did you mean 'classic'"),
    "a picture of no kind": (
        ["map", "--show", "--out", "map.jpeg"],
        "map.jpeg: a picture ends in .png, .svg, .pdf",
    ),
    "a misspelt engine": (["map", "--engines", "pytorch"], "did you mean 'torch'"),
    "no images": (["advise", "--images", "0"], "--images"),
    "nothing to show": (["map", "--show", "--threads", "3"], "not calibrated for 3 threads"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_answered_in_words(capsys, kind: str):
    arguments, says = MISTAKES[kind]
    text = said(capsys, *arguments)
    assert text.startswith("2: ")
    assert says in text


BARRED = replace(PLANTED, unproved={"torch": "it computes something else"})


def drawn_words(advisor: Advisor, monkeypatch) -> str:
    """All words of the picture of a map."""
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    seen: list[str] = []
    save = Figure.savefig

    def read(figure: Figure, *arguments, **options) -> None:
        save(figure, *arguments, **options)
        seen.extend(text.get_text() for text in figure.findobj(Text))

    monkeypatch.setattr(Figure, "savefig", read)
    plot.draw(advisor, Path("map.png"))
    return " ".join(" ".join(seen).split())


def test_the_picture_names_every_row_that_is_not_on_the_map(monkeypatch):
    pytest.importorskip("matplotlib")
    few = [
        replace(s, seconds={k: v for k, v in s.seconds.items() if k != "torch-compiled" or i < 1})
        for i, s in enumerate(BARRED.samples)
    ]
    words = drawn_words(Advisor(replace(BARRED, samples=tuple(few))), monkeypatch)
    assert "Not on the map: PyTorch (it computes something else)." in words
    assert (
        "Not on the map: PyTorch compiled (only 1 network timed; run triptych map with more "
        "--minutes)." in words
    )
    assert "Not on the map: TensorFlow (never timed; " in words
    assert "Not on the map: JAX (never timed; " in words
    assert "Not on the map: NumPy" not in words


def test_every_row_of_the_map_has_the_colour_of_its_engine(monkeypatch):
    pytest.importorskip("matplotlib")
    colors: list[dict[str, str]] = []
    monkeypatch.setattr(plot, "_draw", lambda axes, panel, found: colors.append(found))
    for calibrated_rows in (PLANTED, replace(PLANTED, rows=(COMPILED,))):
        plot.draw(Advisor(calibrated_rows), Path("map.png"))
    assert colors[0] == {
        spec.key: style(spec.engine, spec.backend).light for spec in (NUMPY, TORCH, COMPILED)
    }
    assert colors[-1].items() <= colors[0].items()


def test_the_names_of_many_rows_are_whole(monkeypatch):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    inside: list[bool] = []
    save = Figure.savefig

    def look(figure: Figure, *arguments, **options) -> None:
        save(figure, *arguments, **options)
        (legend,) = figure.legends
        page, names = figure.bbox, legend.get_window_extent()
        inside.append(page.x0 <= names.x0 and names.x1 <= page.x1 and names.y1 <= page.y1)

    monkeypatch.setattr(Figure, "savefig", look)
    rows = {spec: costs() for spec in specs(None, all_backends=True)}
    plot.draw(Advisor(calibrated(rows)), Path("map.png"))
    assert inside == [True]


def test_advice_lists_the_row_that_it_names_first_and_rows_that_are_not_ranked_last(capsys):
    large = ("advise", "--hidden", "1024,1024", "--batch-size", "2048")
    text = said(capsys, *large)
    assert text.index("PyTorch ") < text.index("NumPy ")
    calibration.save(BARRED, calibration.path(1))
    text = said(capsys, *large)
    assert text.index("NumPy ") < text.index("(PyTorch)")
    assert text.index("PyTorch compiled ") < text.index("(PyTorch)")
    first = text.index("PyTorch compiled ") < text.index("NumPy ")
    assert ("Fastest: PyTorch compiled" in text) == first
    assert "(PyTorch) is not ranked: it computes something else" in text
    assert "JAX is not in the table: never timed; " in text
