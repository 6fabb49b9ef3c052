"""The PNG figures: what is drawn where, read from matplotlib's own objects."""

import numpy as np
import pytest
from support import made

from triptych.core.colors import style
from triptych.report import figures

pytest.importorskip("matplotlib")


@pytest.fixture
def axes():
    from matplotlib.figure import Figure

    return Figure().subplots()


def series(name: str, values: list[float | None], **others) -> dict:
    return {
        "key": name,
        "name": name,
        "color": "#112233",
        "x": list(range(len(values))),
        "y": values,
    } | others


def spec(*found: dict, log: bool = True) -> dict:
    return {"x": "step", "y": "difference", "log": log, "series": list(found)}


def test_zeros_are_gaps_on_a_logarithmic_axis(axes):
    figures.draw_lines(axes, spec(series("torch", [0.0, 1e-7, 0.0, 2e-7])), {"torch": "-"})
    (line,) = axes.get_lines()
    assert np.isnan(line.get_ydata()).tolist() == [True, False, True, False]
    assert axes.get_yscale() == "log"
    assert axes.get_ylim()[0] > 1e-8


@pytest.mark.parametrize("values", [[0.0, 0.0], [None, None], []])
def test_without_any_difference_the_figure_says_so(axes, values: list):
    figures.draw_lines(axes, spec(series("torch", values)), {"torch": "-"})
    assert [text.get_text() for text in axes.texts] == ["no difference"]


def test_the_logarithm_of_no_other_chart_is_taken(axes):
    figures.draw_lines(axes, spec(series("torch", [0.0, 0.5]), log=False), {"torch": "-"})
    assert axes.get_yscale() == "linear"
    assert axes.get_lines()[0].get_ydata().tolist() == [0, 0.5]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_rows_of_times_have_room_and_their_intervals_are_beside_the_dots(axes, count: int):
    names = [f"row {i}" for i in range(count)]
    rows = {name: {"name": name, "color": "#112233"} for name in names}
    steps = {name: {"low": 0.00098, "median": 0.001, "high": 0.00102} for name in names}
    figures.draw_times(axes, {name: [0.98, 1.0, 1.02] for name in names}, rows, steps)
    bottom, top = axes.get_ylim()
    assert top <= -0.5
    assert bottom >= count - 1 + 0.5
    dots = [line for line in axes.get_lines() if line.get_gid()]
    bars = [container.lines for container in axes.containers]
    assert len(dots) == len(bars) == count
    for line, (median, _, (interval,)) in zip(dots, bars, strict=True):
        (segment,) = interval.get_segments()
        assert segment[:, 0] == pytest.approx([0.98, 1.02])
        assert median.get_xdata()[0] == pytest.approx(1)
        assert segment[0, 1] > line.get_ydata()[0] + 0.2


def test_the_figures_have_the_colours_of_the_engines(tmp_path, monkeypatch):
    """Whichever rows there are, a line of the figures has the colour of its engine and the dash of
    its backend.
    """
    seen: dict[str, tuple] = {}
    real = figures.draw_lines

    def remember(axes, spec, dashes) -> None:
        real(axes, spec, dashes)
        seen.update(
            {line.get_label(): (line.get_color(), line.is_dashed()) for line in axes.get_lines()}
        )

    monkeypatch.setattr(figures, "draw_lines", remember)
    every = made.every_row()
    for names in (["numpy", "tensorflow"], list(every)):
        seen.clear()
        paths = figures.write(
            made.folder(tmp_path, made.results({name: every[name] for name in names}))
        )
        assert [path.name for path in paths] == [
            "loss.png",
            "accuracy.png",
            "difference.png",
            "step-time.png",
        ]
        for name in names:
            row = every[name]
            look = style(row["engine"], row["backend"])
            assert seen[row["label"]] == (look.light, bool(look.dash))


@pytest.mark.parametrize(
    "title",
    [
        "784-10-10",
        "784-10-10: Adam 0.001, beta1 0.9, beta2 0.999, epsilon 1e-08, batch 64, float32, seed 0",
        "784-128-64-10: " + "weight decay 0.05, decoupled, " * 8,
    ],
)
def test_nothing_of_a_title_is_cut_off(tmp_path, title: str):
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    figure = Figure(figsize=(6.4, 3.8))
    axes = figure.subplots()
    axes.set_yticks([0, 1], ["TensorFlow with oneDNN", "NumPy"])
    pixels = imread(figures._save(figure, title, tmp_path / "t.png"))[..., :3]
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 1).all()
