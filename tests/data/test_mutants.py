"""Damaged files of every format of images: an answer in one line, in bounded time and memory,
whatever the damage.
"""

import io
import json
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.damage import mutant
from support.pictures import encoded, table
from support.streams import drawings, write_raw

AT_ONCE = 1_000  # sources that one process reads
SECONDS = 300  # for all of them
MEGABYTES = 2600  # that it may have at its peak: the limit of 2 GiB, and what the libraries take
NOISE = np.random.default_rng(5).integers(0, 256, (40, 30, 3), np.uint8)

FORMATS = {
    "PNG": {"kind": "PNG"},
    "PNG with a palette": {"kind": "PNG", "mode": "P"},
    "PNG of 16 bits": {"kind": "PNG", "deep": True},
    "JPEG": {"kind": "JPEG"},
    "CMYK JPEG": {"kind": "JPEG", "mode": "CMYK"},
    "BMP": {"kind": "BMP"},
    "GIF": {"kind": "GIF"},
    "WebP": {"kind": "WEBP"},
    "PPM": {"kind": "PPM"},
    "TIFF": {"kind": "TIFF"},
    "TIFF, LZW": {"kind": "TIFF", "compression": "tiff_lzw"},
    "TIFF, JPEG": {"kind": "TIFF", "compression": "jpeg"},
    "TIFF, group 4": {"kind": "TIFF", "mode": "1", "compression": "group4"},
}

# Read in another process, so that its memory can be measured and a crash of a library does not end
# the tests.
READER = textwrap.dedent(
    """
    import json, sys
    from triptych.data import loading as data
    from triptych.data.reading import Options
    from triptych.errors import DataError
    from triptych.process import machine

    answers = []
    asked = json.loads(sys.stdin.read())
    size = tuple(asked["size"]) if asked["size"] else None
    for source in asked["sources"]:
        for skip in (False, True):
            try:
                options = Options(size, skip, stream=asked["stream"])
                dataset = data.load(source, 0, options)
                if asked["stream"]:
                    for block in dataset.train.blocks():
                        assert len(block.images)
                answers.append("")
            except DataError as error:
                answers.append(str(error))
    print(json.dumps({"answers": answers, "peak": (machine.peak_memory() or 0) / 2**20}))
    """
)


def image(kind: str, mode: str | None = None, deep: bool = False, **options) -> bytes:
    content = io.BytesIO()
    whole = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257 if deep else NOISE)
    (whole.convert(mode) if mode else whole).save(content, kind, **options)
    return content.getvalue()


def read(
    sources: list[Path],
    cache: Path,
    size: tuple[int, int] | None = (8, 8),
    stream: bool = False,
) -> list[str]:
    """Return the answer to each source, without and with leaving out what cannot be read."""
    answers: list[str] = []
    for begin in range(0, len(sources), AT_ONCE):
        answers += _read(sources[begin : begin + AT_ONCE], cache, size, stream)
    return answers


def _read(
    sources: list[Path], cache: Path, size: tuple[int, int] | None, stream: bool
) -> list[str]:
    """Return the answers of one process."""
    done = subprocess.run(
        [sys.executable, "-c", READER],
        input=json.dumps(
            {"sources": [str(source) for source in sources], "size": size, "stream": stream}
        ),
        env={"TRIPTYCH_DATA": str(cache), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result["peak"] < MEGABYTES
    assert len(result["answers"]) == 2 * len(sources)
    for answer in result["answers"]:
        assert answer.isprintable()
        assert len(answer) < 600
    return result["answers"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_images(tmp_path, mutants: int, kind: str):
    whole = image(**FORMATS[kind])
    rng = random.Random(kind)
    sources: list[Path] = []
    for i in range(mutants):
        root = tmp_path / str(i)
        for name in ("a", "b"):
            (root / "train" / name).mkdir(parents=True)
            (root / "test" / name).mkdir(parents=True)
            (root / "train" / name / "1.dat").write_bytes(whole)
            (root / "test" / name / "1.dat").write_bytes(whole)
        (root / "train" / "a" / "0.dat").write_bytes(mutant(whole, rng))
        sources.append(root)
    answers = read(sources, tmp_path / "cache")
    assert any(answers[::2])  # some damage is seen
    assert answers[1::2] == [""] * len(sources)  # and can be left out


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["encoded", "raw"])
def test_damaged_parquet(tmp_path, mutants: int, kind: str, stream: bool):
    _check_damaged_parquet(tmp_path, mutants, kind, stream)


@pytest.mark.process
def test_some_damaged_parquet_that_is_streamed(tmp_path):
    _check_damaged_parquet(tmp_path, 12, "encoded", stream=True)


def _check_damaged_parquet(tmp_path: Path, mutants: int, kind: str, stream: bool) -> None:
    """Each answer names its file."""
    path = tmp_path / "whole.parquet"
    if kind == "raw":
        write_raw(path, *drawings(20), rows=5)
    else:
        table(path, [encoded()] * 20, [0, 1] * 10, ["a", "b"])
    whole = path.read_bytes()
    rng = random.Random("Parquet")
    sources = [tmp_path / f"{i}.parquet" for i in range(mutants)]
    for i, path in enumerate(sources):
        # The footer, at the end, says where everything is.
        path.write_bytes(mutant(whole[::-1], rng)[::-1] if i % 2 else mutant(whole, rng))
    size = (8, 8) if kind == "encoded" else None
    answers = read(sources, tmp_path / "cache", size, stream)
    assert any(answers)
    assert all(
        not answer or answer.startswith(str(sources[i // 2])) for i, answer in enumerate(answers)
    )


@pytest.mark.slow
@pytest.mark.parametrize("record", [3073, 3074])
def test_damaged_cifar(tmp_path, mutants: int, record: int):
    content = np.random.default_rng(0).integers(0, 256, (10, record), np.uint8)
    content[:, : record - 3072] = np.arange(10)[:, None]
    whole = content.tobytes()
    names = (
        [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
        if record == 3073
        else ["train.bin", "test.bin"]
    )
    rng = random.Random(record)
    sources: list[Path] = []
    for i in range(mutants):
        root = tmp_path / str(i)
        root.mkdir()
        for name in names:
            (root / name).write_bytes(whole)
        (root / rng.choice(names)).write_bytes(mutant(whole, rng))
        sources.append(root)
    answers = read(sources, tmp_path / "cache", None)
    assert any(answers)  # some damage is seen
    assert not all(answers)  # and some only changes pixels
