"""CSV files of tables: standardised by the training rows, with labels of any kind."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler
from support.csv_files import PIXELS, csv_text, expected, load, pairs

from triptych.errors import DataError

IRIS = load_iris()


FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


SPECIES = [str(IRIS.target_names[label]) for label in IRIS.target]


IRIS_FILES = {
    "names": csv_text(IRIS.data, SPECIES, [*FEATURES, "species"], last=True),
    "no header": csv_text(IRIS.data, SPECIES, last=True),
    "decimal commas": csv_text(
        IRIS.data, SPECIES, [*FEATURES, "species"], ";", True, lambda v: str(v).replace(".", ",")
    ),
    "an Id": "\n".join(
        f"{i or 'Id'},{line}"
        for i, line in enumerate(
            csv_text(IRIS.data, SPECIES, [*FEATURES, "Species"], last=True).splitlines()
        )
    ),
}


@pytest.mark.parametrize("kind", IRIS_FILES)
def test_a_table_is_standardised_by_its_training_rows(tmp_path, kind: str):
    dataset = load(tmp_path / "iris.csv", IRIS_FILES[kind])
    assert (dataset.shape, dataset.classes) == ((1, 1, 4), ("setosa", "versicolor", "virginica"))
    table = dataset.table
    assert table is not None
    train, test = (split.images.reshape(len(split), 4) for split in (dataset.train, dataset.test))
    back = [rows * table.deviation + table.mean for rows in (train, test)]
    both = sorted(map(tuple, np.concatenate(back).round(9).tolist()))
    assert both == sorted(map(tuple, IRIS.data.round(9).tolist()))
    scaler = StandardScaler().fit(back[0])
    assert np.abs(scaler.transform(back[0]) - train).max() < 1e-12
    assert np.abs(scaler.transform(back[1]) - test).max() < 1e-12
    assert dataset.describe()["standardised"]["mean"] == table.mean.tolist()
    assert (
        "135 training and 15 test rows of 4 features, standardised by the training rows"
        in dataset.summary()
    )


def test_constant_columns_and_other_numbers_of_a_table(tmp_path):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(40, 3)) * 1e6 + 1e9
    table[:, 1] = 0.1
    dataset = load(
        tmp_path / "t.csv", csv_text(table, np.arange(40) % 2, ["y", "a", "b", "c"], form=repr)
    )
    assert (dataset.train.images[..., 1] == 0).all()
    assert np.isfinite(dataset.train.images).all()
    assert "1 constant column" in dataset.summary()
    bad = csv_text(table, np.arange(40) % 2, ["y", "a", "b", "c"], form=repr).replace("0.1", "", 1)
    with pytest.raises(
        DataError, match=r"line 2, column 3 \('b'\): '' is not a number; fill it in"
    ):
        load(tmp_path / "t.csv", bad)


def test_labels_of_a_table_are_named_where_they_are_not_known(tmp_path):
    rows = np.random.default_rng(0).random((40, 2)).round(3)
    text = csv_text(rows, np.arange(40) % 3 + 5, ["acid", "sugar", "quality"], last=True)
    with pytest.raises(DataError, match=r"--label NAME; the columns are acid, sugar, quality"):
        load(tmp_path / "t.csv", text)
    assert load(tmp_path / "t.csv", text, label="Quality").classes == ("5", "6", "7")
    with pytest.raises(DataError, match="did you mean 'quality'"):
        load(tmp_path / "t.csv", text, label="qualty")
    with pytest.raises(DataError, match=r"line 2: label 0\.\d+ is not a whole number or a word"):
        load(tmp_path / "t.csv", text, label="acid")


@given(
    st.lists(
        st.lists(
            st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: round(v, 3)), min_size=2, max_size=2
        ),
        min_size=20,
        max_size=40,
    ),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from([("a", "b"), ("1", "2"), ("x y", "z")]),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_what_is_written_is_read(
    tmp_path, rows, sep: str, names: tuple[str, str], last: bool, end: str
):
    labels = [names[i % 2] for i in range(len(rows))]
    header = ["u", "v", "class"] if last else ["class", "u", "v"]
    dataset = load(tmp_path / "t.csv", csv_text(rows, labels, header, sep, last, repr, end))
    table = dataset.table
    assert table is not None
    spread = np.abs(np.array(rows)).max() + 1
    back = []
    for split in (dataset.train, dataset.test):
        values = split.images.reshape(-1, 2) * table.deviation + table.mean
        back += [
            (dataset.classes[label], *row)
            for label, row in zip(split.labels, values.tolist(), strict=True)
        ]
    wanted = sorted((label, *row) for label, row in zip(labels, rows, strict=True))
    got = np.array(sorted(row[1] + 3 * row[2] for row in back))
    assert (
        np.abs(got - np.array(sorted(row[1] + 3 * row[2] for row in wanted))).max() < 1e-9 * spread
    )
    assert sorted(row[0] for row in back) == sorted(labels)


def test_names_of_rows_as_r_writes_them(tmp_path, sample):
    x, y = sample
    rows = [f'"{i + 1}" {line}' for i, line in enumerate(csv_text(x, y, sep=" ").splitlines())]
    dataset = load(tmp_path / "t.csv", "\n".join([" ".join(["label", *PIXELS]), *rows]))
    assert pairs(dataset) == expected(x, y)


def with_commas(value: float) -> str:
    return str(value).replace(".", ",")


def test_labels_with_decimal_commas_are_whole_numbers_too(tmp_path):
    """Eleven classes, which would be sorted as words: 0,0 then 1,0 then 10,0."""
    labels = np.arange(99) % 11
    rows = np.random.default_rng(0).normal(size=(99, 3)).round(2)
    written = [with_commas(float(label)) for label in labels]
    dataset = load(
        tmp_path / "t.csv", csv_text(rows, written, ["class", *"abc"], ";", form=with_commas)
    )
    assert dataset.classes == tuple(map(str, range(11)))
    counts = np.bincount(np.concatenate([dataset.train.labels, dataset.test.labels]))
    assert counts.tolist() == [9] * 11


@pytest.mark.parametrize("quote", ["", '"'])
def test_quantities_with_decimal_commas_are_refused(tmp_path, quote: str):
    rows = np.random.default_rng(0).normal(size=(99, 3)).round(2)
    target = [f"{quote}{with_commas(row.sum().round(2))}{quote}" for row in rows]
    with pytest.raises(DataError, match="only classes can be learned, not quantities"):
        load(tmp_path / "t.csv", csv_text(rows, target, ["target", *"abc"], ";", form=with_commas))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_header_may_end_in_a_separator_where_rows_do_not(tmp_path, end: str):
    """As the file of Wisconsin's breast cancer data does."""
    rows = np.random.default_rng(0).normal(size=(60, 3)).round(2)
    words = np.array(["B", "M"])[np.arange(60) % 2]
    text = csv_text(rows, words, ["diagnosis", *"abc", ""], end=end)
    dataset = load(tmp_path / "t.csv", text)
    assert dataset.classes == ("B", "M")
    values = np.concatenate([dataset.train.images, dataset.test.images])[:, 0, 0]
    assert dataset.table is not None
    restored = values * dataset.table.deviation + dataset.table.mean
    assert sorted(restored.round(2).tolist()) == sorted(rows.tolist())


def test_the_example_of_a_column_of_words_is_a_word(tmp_path):
    lines = ["label,size,width"]
    for i in range(60):
        size = '"3,200"' if i % 3 else "0"
        lines.append(f"{i % 3},{size},{i}")
    with pytest.raises(DataError, match="holds words, for example '3,200'"):
        load(tmp_path / "t.csv", "\n".join(lines))
