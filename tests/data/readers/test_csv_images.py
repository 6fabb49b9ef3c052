"""CSV files of images as programs write them: each kind is read exactly."""

import io
import zipfile

import numpy as np
import pytest
from support.csv_files import PIXELS, csv_text, expected, load, pairs

from triptych.data import loading as data
from triptych.errors import DataError


def sorted_columns(x, y) -> str:
    names = ["label", *PIXELS]
    order = np.argsort(names)
    table = np.concatenate([y[:, None], x.reshape(len(x), -1)], axis=1)[:, order]
    return "\n".join(",".join(map(str, row)) for row in [sorted(names), *table.tolist()])


def numbered_rows(x, y) -> str:
    body = csv_text(x, y).splitlines()
    return "\n".join(
        [",".join(["", "label", *PIXELS]), *(f"{i},{line}" for i, line in enumerate(body))]
    )


def zipped(name: str, content: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return out.getvalue()


READ = {
    "class last, quoted": (
        lambda x, y: csv_text(x, y, [f'"{n}"' for n in [*PIXELS, "class"]], last=True),
        "",
    ),
    "label, then numbers": (lambda x, y: csv_text(x, y, ["label", *map(str, range(784))]), ""),
    "numbers, then label": (
        lambda x, y: csv_text(x, y, [*map(str, range(784)), "label"], last=True),
        "",
    ),
    "a header of numbers": (
        lambda x, y: csv_text(x, y, list(map(str, range(785)))),
        "line 1 taken for a header",
    ),
    "# before the header": (lambda x, y: csv_text(x, y, ["# label", *PIXELS]), ""),
    "an index column": (numbered_rows, "column 1 (no name) left out: it numbers the rows"),
    "semicolons": (
        lambda x, y: csv_text(x, y, ["label", *PIXELS], sep=";"),
        "separated by semicolons",
    ),
    "Excel's sep line": (
        lambda x, y: "sep=;\n" + csv_text(x, y, ["label", *PIXELS], sep=";"),
        "semicolons",
    ),
    "tabs": (lambda x, y: csv_text(x, y, ["label", *PIXELS], sep="\t"), "separated by tabs"),
    "blanks": (lambda x, y: csv_text(x, y, sep=" "), "separated by blanks"),
    "UTF-16": (lambda x, y: csv_text(x, y, ["label", *PIXELS]).encode("utf-16"), "UTF-16"),
    "quoted labels": (
        lambda x, y: csv_text(x, [f"'{n}'" for n in y], [*PIXELS, "class"], last=True),
        "",
    ),
    "labels as floats": (
        lambda x, y: csv_text(
            x, [f"{n}.0" for n in y], ["label", *PIXELS], form=lambda v: f"{v:.1f}"
        ),
        "",
    ),
    "pixels from 0 to 1": (
        lambda x, y: csv_text(x, y, ["label", *PIXELS], form=lambda v: f"{v / 255:.4g}"),
        "pixels from 0 to 1 read times 255",
    ),
    "commas at the ends": (
        lambda x, y: csv_text(x, y, ["label", *PIXELS], end=",\n"),
        "the lines end in a separator",
    ),
    "label last, no header": (lambda x, y: csv_text(x, y, last=True), "labels in the last column"),
    "columns sorted by name": (
        sorted_columns,
        "columns put in the order of the numbers in their names",
    ),
    "a zip named csv": (lambda x, y: zipped("train.csv", csv_text(x, y, ["label", *PIXELS])), ""),
    "carriage returns only": (lambda x, y: csv_text(x, y, ["label", *PIXELS], end="\r"), ""),
}


@pytest.mark.parametrize("kind", READ)
def test_a_csv_as_programs_write_it_is_read_exactly(tmp_path, sample, kind: str):
    x, y = sample
    make, note = READ[kind]
    dataset = load(tmp_path / "T.CSV", make(x, y))
    assert pairs(dataset) == expected(x, y)
    assert dataset.classes == tuple("0123456789")
    assert dataset.shape == (28, 28, 1)
    assert note in "; ".join(dataset.notes)


def test_pixels_0_and_1_are_black_and_white(tmp_path, sample):
    x, y = sample
    ones = (x > 127).astype(int)
    for content in (
        csv_text(ones, y, ["label", *PIXELS]),
        csv_text(ones.astype(float), y, ["label", *PIXELS]),
    ):
        dataset = load(tmp_path / "t.csv", content)
        assert pairs(dataset) == expected(ones * 255, y)
        assert "pixels 0 and 1 read as 0 and 255" in dataset.notes
    np.savez(tmp_path / "t.npz", x=x > 127, y=y)
    assert pairs(data.load(str(tmp_path / "t.npz"))) == expected(ones * 255, y)


def test_a_corner_pixel_does_not_become_the_label(tmp_path, sample):
    """The first pixel is 0 in most rows and has noise; the last column has ten values, evenly."""
    x, y = sample[0].copy(), sample[1]
    x[::9, 0, 0] = 3
    x[1::9, 0, 0] = 7
    assert pairs(load(tmp_path / "t.csv", csv_text(x, y, last=True))) == expected(x, y)
    x[:, -1, -1] = x[:, 0, 0]
    assert pairs(load(tmp_path / "t.csv", csv_text(x, y))) == expected(x, y)


def test_two_columns_that_may_be_labels_are_asked_about(tmp_path, sample):
    x, y = sample[0].copy(), sample[1]
    x[:, -1, -1] = (y + 1) % 10
    with pytest.raises(
        DataError,
        match=r"first column \(10 values\) or in the last \(10\); say which: --label first",
    ):
        load(tmp_path / "t.csv", csv_text(x, y))
    assert pairs(load(tmp_path / "t.csv", csv_text(x, y), label="first")) == expected(x, y)


LABELS = {
    "two digits": ([0, 1], ("0", "1")),
    "from anywhere": ([-1, 7, 300], ("-1", "7", "300")),
    "by value, not by letter": ([2, 10, 9], ("2", "9", "10")),
    "words": (["pear", "apple", "fig tree"], ("apple", "fig tree", "pear")),
    "a separator between quotes": (['"b, c"', "a"], ("a", "b, c")),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("last", [False, True])
def test_classes_are_the_labels_that_occur(tmp_path, sample, kind: str, last: bool):
    labels, classes = LABELS[kind]
    x = sample[0][:60]
    y = [labels[i % len(labels)] for i in range(60)]
    header = [*PIXELS, "label"] if last else ["label", *PIXELS]
    dataset = load(tmp_path / "t.csv", csv_text(x, y, header, last=last))
    assert dataset.classes == classes
    assert pairs(dataset) == expected(x, [str(label).strip('"') for label in y])


def test_images_of_any_size_and_colour(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    for shape in ((8, 8, 1), (32, 32, 1), (28, 28, 3)):
        x = rng.integers(0, 256, (60, *shape), np.uint8)
        dataset = load(
            tmp_path / "t.csv",
            csv_text(x, y, ["label", *(f"pixel{i:04d}" for i in range(x[0].size))]),
        )
        assert dataset.shape == shape
        assert pairs(dataset) == expected(x, y)
    x = rng.integers(0, 256, (60, 5, 7), np.uint8)
    text = csv_text(x, y, ["label", *(f"{r}x{c}" for r in range(1, 6) for c in range(1, 8))])
    assert load(tmp_path / "t.csv", text).shape == (5, 7, 1)
    text = csv_text(x, y)
    assert load(tmp_path / "t.csv", text, shape="7x5", label="first").shape == (7, 5, 1)


def test_the_order_of_colours_is_found_from_real_neighbours_or_asked_for(tmp_path):
    """Smooth images, a ramp of its own in each channel; noise says nothing."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, 32)
    slopes = rng.uniform(-120, 120, (60, 2, 3))
    x = (
        128
        + slopes[:, 0, None, None] * ramp[:, None, None]
        + slopes[:, 1, None, None] * ramp[None, :, None]
    )
    x = np.clip(x / 2 + rng.uniform(0, 120, (60, 1, 1, 3)), 0, 255).astype(np.uint8)
    y = np.arange(60) % 3
    header = ["label", *(f"pixel{i}" for i in range(3072))]
    blocks = x.transpose(0, 3, 1, 2)
    assert pairs(load(tmp_path / "a.csv", csv_text(x, y, header))) == expected(x, y)
    assert pairs(load(tmp_path / "b.csv", csv_text(blocks, y, header))) == expected(x, y)
    noise = rng.integers(0, 256, x.shape, np.uint8)
    with pytest.raises(DataError, match=r"give --shape 32x32x3 .* or --shape 3x32x32"):
        load(tmp_path / "c.csv", csv_text(noise, y, header))
    planes = csv_text(noise.transpose(0, 3, 1, 2), y, header)
    assert pairs(load(tmp_path / "d.csv", planes, shape="3x32x32")) == expected(noise, y)


COMMENTS = {
    "prose": "# made by us\n",
    "prose with a comma": "# made by us, 2024\n",
    "two lines": "# made by us\n# on a Monday\n",
    "after the separator that Excel needs": "sep=,\n# made by us\n",
}


@pytest.mark.parametrize("kind", COMMENTS)
@pytest.mark.parametrize("mark", ["", "# ", None])
def test_comments_before_the_header(tmp_path, sample, kind: str, mark: str | None):
    """The header may be a comment, as NumPy writes it, or be missing (None)."""
    x, y = sample
    header = None if mark is None else [f"{mark}label", *PIXELS]
    dataset = load(tmp_path / "t.csv", COMMENTS[kind] + csv_text(x, y, header))
    assert pairs(dataset) == expected(x, y)


def test_pixels_packed_into_one_cell(tmp_path, sample):
    x, y = sample
    rows = [
        f"{label},{' '.join(map(str, image.ravel().tolist()))},Training"
        for image, label in zip(x, y, strict=True)
    ]
    dataset = load(tmp_path / "fer.csv", "\n".join(["emotion,pixels,Usage", *rows]))
    assert pairs(dataset) == expected(x, y)
    assert "column 3 ('Usage') left out" in dataset.notes


def test_one_hot_columns_are_not_taken_for_pixels(tmp_path, sample):
    x, y = sample
    rows = np.concatenate([x.reshape(len(x), -1), np.eye(10, dtype=int)[y]], axis=1)
    with pytest.raises(DataError, match="the last 10 columns hold a 1 in each row"):
        load(tmp_path / "t.csv", "\n".join(",".join(map(str, row)) for row in rows.tolist()))


def test_what_is_in_it_is_said(tmp_path, sample):
    x, y = sample[0].copy(), sample[1]
    x[y == 3] = 9
    np.savez(tmp_path / "t.npz", x_train=x[:-1], y_train=y[:-1], x_test=x, y_test=y)
    summary = data.load(str(tmp_path / "t.npz")).summary()
    mean = f"{x[:-1].mean():.4g}"
    assert (
        f"In it: pixels 0 to 255, mean {mean}; 10 images are blank (10 %); training samples of a "
        "class: 9 (9) to 10 (0)." in summary
    )
