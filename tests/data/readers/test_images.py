"""What pixels mean: transparency, bits in use, grey in colour's clothes, and formats that scanners
and data sets use.
"""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.pictures import COLOUR, SKIP, encoded, error_of, fill, table

from triptych.data import loading as data
from triptych.data.readers import decoded, folder, images, parquet
from triptych.data.reading import PLAIN, Contents, Options

RNG = np.random.default_rng(2)
GREY = RNG.integers(0, 256, (6, 5), np.uint8)


def written(array: np.ndarray, kind: str, mode: str | None = None, **options) -> bytes:
    content = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(content, kind, **options)
    return content.getvalue()


def raw_png(array: np.ndarray, depth: int, kind: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand, of samples that Pillow cannot write: 0 grey, 2 RGB, 3 palette, 4 grey with
    alpha, 6 RGBA.
    """
    h, w = array.shape[:2]
    samples = array.reshape(h, -1).astype(">u2" if depth == 16 else np.uint8)
    body = b"".join(b"\0" + row.tobytes() for row in samples)
    parts = [
        (b"IHDR", struct.pack(">2I5B", w, h, depth, kind, 0, 0, 0)),
        *chunks,
        (b"IDAT", zlib.compress(body)),
        (b"IEND", b""),
    ]
    framed = [
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
        for name, part in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def two_classes(root: Path, contents: list[bytes], suffix: str = "png") -> Path:
    """Write contents into train/a and train/b in turn, and the first two into test."""
    for i, content in enumerate(contents):
        place = root / "train" / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:03}.{suffix}").write_bytes(content)
    for name, content in zip("ab", contents, strict=False):
        fill(root / "test" / name, content, suffix=suffix)
    return root


def read(root: Path, options: Options = PLAIN) -> Contents:
    """Read a folder as the command line does, twice: what was kept must be the same."""
    first = folder.read(root, options, None)
    again = folder.read(root, options, None)
    assert (again.train.digest, again.notes, again.classes) == (
        first.train.digest,
        first.notes,
        first.classes,
    )
    return first


def in_order(arrays: list[np.ndarray]) -> np.ndarray:
    """Return arrays in the order in which `two_classes` has them read: all of a, then all of b."""
    return np.stack([*arrays[::2], *arrays[1::2]])


# ---------------------------------------------------------------- formats


FORMATS = {
    "PPM": (written(COLOUR, "PPM"), COLOUR),
    "PGM": (written(GREY, "PPM"), GREY[..., None]),
    "plain PGM": (
        f"P2 5 6 255 {' '.join(map(str, GREY.ravel().tolist()))}\n".encode(),
        GREY[..., None],
    ),
    "PGM of 16 bits": (b"P5 5 6 65535 " + (GREY.astype(">u2") * 257).tobytes(), GREY[..., None]),
    "PGM that names 12 bits": (
        b"P5 5 6 4095 " + (GREY.astype(np.uint32) * 4095 // 255).astype(">u2").tobytes(),
        GREY[..., None],
    ),
    "PBM": (written(GREY > 99, "PPM"), (GREY > 99)[..., None] * 255),
    "TIFF": (written(GREY, "TIFF"), GREY[..., None]),
    "TIFF in colour": (written(COLOUR, "TIFF"), COLOUR),
    "TIFF, LZW": (written(COLOUR, "TIFF", compression="tiff_lzw"), COLOUR),
    "TIFF, deflated": (written(GREY, "TIFF", compression="tiff_adobe_deflate"), GREY[..., None]),
    "TIFF of 16 bits": (written(GREY.astype(np.uint16) * 257, "TIFF"), GREY[..., None]),
    "TIFF of one bit": (
        written(GREY > 99, "TIFF", compression="group4"),
        (GREY > 99)[..., None] * 255,
    ),
    "grey palette": (written(GREY, "PNG", "P"), GREY[..., None]),
    "grey GIF": (written(GREY, "GIF"), GREY[..., None]),
    "16-bit grey with alpha": (
        raw_png(
            np.stack([GREY.astype(np.uint16) * 257, np.full(GREY.shape, 65535, np.uint16)], -1),
            16,
            4,
        ),
        GREY[..., None],
    ),
    "RGB with equal channels": (written(GREY, "PNG", "RGB"), np.dstack([GREY] * 3)),
    "RGBA with equal channels": (
        written(np.dstack([GREY] * 3 + [np.full_like(GREY, 255)]), "PNG"),
        np.dstack([GREY] * 3),
    ),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_the_pixels_of_a_format(root, kind: str):
    content, pixels = FORMATS[kind]
    two_classes(root, [content] * 4, "dat")
    dataset = read(root)
    assert np.array_equal(dataset.train.images[0], pixels)
    assert dataset.notes == ()


def test_a_palette_in_colour_makes_all_rgb(root):
    two_classes(
        root,
        [written(GREY, "GIF"), written(np.full((6, 5, 3), (255, 0, 0), np.uint8), "GIF")] * 2,
        "gif",
    )
    dataset = read(root)
    assert np.array_equal(dataset.train.images[0], np.dstack([GREY] * 3))
    assert dataset.train.images[2, 0, 0].tolist() == [255, 0, 0]


def with_note(orientation: int, kind: str, **options) -> bytes:
    """Return an image whose camera noted which side is up; 1 is as it is stored."""
    image = Image.fromarray(COLOUR)
    exif = image.getexif()
    exif[274] = orientation
    content = io.BytesIO()
    image.save(content, kind, exif=exif, **options)
    return content.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_note_of_a_camera_which_side_is_up_is_said_and_not_followed(root, kind: str):
    two_classes(root, [with_note(orientation, kind) for orientation in (1, 3, 6, 8)])
    dataset = read(root)
    assert (dataset.train.images == dataset.train.images[0]).all()
    assert dataset.notes == (  # three of the training images, one of the test images
        "4 images have a camera's note to turn or mirror them: it is not followed",
    )


def test_a_tiff_file_says_itself_which_side_is_up(root):
    two_classes(root, [with_note(orientation, "TIFF") for orientation in (1, 3, 2, 4)])
    dataset = read(root)
    whole = COLOUR[::-1, ::-1]
    turned = [COLOUR, COLOUR[:, ::-1], whole, COLOUR[::-1]]  # a/000, a/002, b/001, b/003
    assert np.array_equal(dataset.train.images, turned)
    assert dataset.notes == ()


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG"])
def test_several_pictures_in_a_file_are_said(root, kind: str):
    frames = [Image.new("RGB", (5, 6), colour) for colour in ("red", "blue")]
    content = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(content, kind, save_all=True, append_images=frames[1:], **options)
    two_classes(root, [content.getvalue(), written(COLOUR, "PNG")] * 2)
    dataset = read(root)
    assert dataset.train.images[0, 0, 0].tolist() == [255, 0, 0]
    assert dataset.notes == ("3 files have more than one picture: the first of each is read",)


OTHER_FORMATS = {
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "a HEIC photograph"),
    "AVIF": (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + bytes(200), "an AVIF image"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200), "a JPEG 2000 image"),
    "JPEG XL": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(200), "a JPEG XL image"),
    "SVG": (b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "an SVG drawing"),
    "Photoshop": (b"8BPS\0\1" + bytes(200), "a Photoshop file"),
    "NumPy": (b"\x93NUMPY\1\0v\0" + bytes(200), "a NumPy array"),
    "Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "a pointer of Git LFS",
    ),
}


@pytest.mark.parametrize("kind", OTHER_FORMATS)
def test_good_data_of_another_format_is_not_to_be_thrown_away(root, kind: str):
    content, what = OTHER_FORMATS[kind]
    two_classes(root, [content] * 4, "jpg")
    message = error_of(root)
    assert f"not a PNG, JPEG, BMP, GIF, WebP, PPM or TIFF image, but {what}; " in message
    assert "--skip-unreadable" not in message
    assert "mend" not in message
    assert what in error_of(root, SKIP)


@pytest.mark.parametrize("kind", ["TGA", "PCX", "ICO"])
def test_other_formats_that_only_their_names_tell(root, kind: str):
    two_classes(root, [written(COLOUR, kind)] * 4, kind.lower())
    message = error_of(root)
    assert f"TIFF image, but an image of the format {kind}; convert it to PNG or JPEG" in message
    assert "--skip-unreadable" not in message


@pytest.mark.parametrize(
    ("suffix", "tags"), [("nef", {}), ("CR2", {}), ("tif", {50706: b"\1\4\0\0"})]
)
def test_the_preview_of_a_raw_photograph_is_not_taken_for_it(root, suffix: str, tags: dict):
    two_classes(root, [written(COLOUR, "TIFF", tiffinfo=tags)] * 4, suffix)
    assert (
        "a camera's raw file, of which only the preview can be read; convert it to PNG or JPEG"
        in error_of(root)
    )


PIXELS_WITHOUT_RANGE = {
    "fractions": (
        written(GREY.astype(np.float32), "TIFF"),
        "its pixels are fractions; save it with 8 or 16 bits",
    ),
    "32 bits": (
        written(GREY.astype(np.int32) * 70_000, "TIFF"),
        "its pixels are not from 0 to 65535; save it with",
    ),
    "negative": (
        written(-GREY.astype(np.int32), "TIFF"),
        "its pixels are not from 0 to 65535; save it with",
    ),
    "white is 0": (
        written(GREY.astype(np.uint16) * 257, "TIFF", tiffinfo={262: 0}),
        "16 bits a pixel with 0 for white; save it",
    ),
}


@pytest.mark.parametrize("kind", PIXELS_WITHOUT_RANGE)
def test_pixels_whose_range_is_unknown_are_refused(root, kind: str):
    content, says = PIXELS_WITHOUT_RANGE[kind]
    two_classes(root, [content] * 4, "tif")
    assert f"000.tif: {says}" in error_of(root)


# ---------------------------------------------------------------- transparency


def stencil(colour: tuple[int, int, int], alpha: np.ndarray = GREY) -> bytes:
    """An image of one colour, whose shape is in its transparency."""
    return encoded(np.dstack([np.full((*alpha.shape, 3), colour, np.uint8), alpha]))


def indexed(alpha: list[int], pixels: np.ndarray, colour: bytes = b"\0\0\0") -> bytes:
    """A PNG of a palette in which all entries are of one colour and of different transparency."""
    return raw_png(pixels, 8, 3, (b"PLTE", colour * len(alpha)), (b"tRNS", bytes(alpha)))


GREYS = [RNG.integers(0, 256, (6, 5), np.uint8) for _ in range(6)]
STENCILS = {
    "black": ([stencil((0, 0, 0), a) for a in GREYS], [255 - a[..., None] for a in GREYS], "white"),
    "white": ([stencil((255, 255, 255), a) for a in GREYS], [a[..., None] for a in GREYS], "black"),
    "grey and alpha": (
        [encoded(np.dstack([np.zeros_like(a), a])) for a in GREYS],
        [255 - a[..., None] for a in GREYS],
        "white",
    ),
    "palette": (
        [indexed([255, 102, 0], a % 3) for a in GREYS],
        [np.array([0, 153, 255], np.uint8)[a % 3][..., None] for a in GREYS],
        "white",
    ),
    "red": (
        [stencil((255, 0, 0), a) for a in GREYS],
        [np.dstack([np.full_like(a, 255), 255 - a, 255 - a]) for a in GREYS],
        "white",
    ),
}


@pytest.mark.parametrize("kind", STENCILS)
def test_a_shape_only_in_the_transparency_is_seen(root, kind: str):
    contents, pixels, ground = STENCILS[kind]
    two_classes(root, contents)
    dataset = read(root)
    assert np.array_equal(dataset.train.images, in_order(pixels))
    assert dataset.notes == (
        f"8 images have a shape only in the transparency: put on a {ground} ground",
    )


def test_the_same_in_parquet(tmp_path):
    contents, pixels, _ = STENCILS["black"]
    path = table(tmp_path / "t.parquet", contents * 2, [0, 1] * 6)
    dataset = parquet.read(path, PLAIN, None)
    assert np.array_equal(dataset.train.images, np.stack(pixels * 2))
    assert dataset.notes == (
        "12 images have a shape only in the transparency: put on a white ground",
    )


def test_light_and_dark_shapes_have_no_common_ground(root):
    two_classes(root, [stencil((0, 0, 0)), stencil((255, 255, 255))] * 2)
    message = error_of(root)
    assert (
        "the shape of 6 images is only in their transparency, and some are light, some dark"
        in message
    )


def test_transparency_that_is_dropped_is_said(root):
    opaque = encoded(np.dstack([COLOUR, np.full(GREY.shape, 255, np.uint8)]))
    two_classes(root, [encoded(np.dstack([COLOUR, GREY])), opaque] * 2)
    dataset = read(root)
    assert (dataset.train.images == COLOUR).all()
    assert dataset.notes == ("3 images have transparent pixels: the transparency is dropped",)


# ---------------------------------------------------------------- ranges


def sixteen(bits: int, highest: int | None = None) -> tuple[list[np.ndarray], list[bytes]]:
    """Values of this many bits that reach the highest, and the PNGs of 16 bits that hold them."""
    most = highest or 2**bits - 1
    values = [RNG.integers(0, most, (6, 5)) for _ in range(6)]
    values[3][2, 2] = most
    return values, [encoded(v.astype(np.uint16)) for v in values]


@pytest.mark.parametrize(
    ("highest", "bits"),
    [(255, 8), (128, 8), (700, 10), (1023, 10), (4095, 12), (2500, 12), (9000, 14)],
)
def test_the_bits_in_use_by_the_whole_set_are_scaled(root, highest: int, bits: int):
    values, contents = sixteen(bits, highest)
    two_classes(root, contents)
    dataset = read(root)
    right = in_order(values)[..., None] * 255 / (2**bits - 1)
    assert np.abs(dataset.train.images - right).max() <= 0.5
    assert dataset.notes == (
        (
            f"8 images have 16 bits a pixel, of which {bits} are in use: 0 to {2**bits - 1:,} "
            "become 0 to 255"
        ),
    )


@pytest.mark.parametrize("highest", [65535, 40_000, 20_000])
def test_sixteen_bits_in_use_stay_so(root, highest: int):
    values, contents = sixteen(16, highest)
    two_classes(root, contents)
    dataset = read(root)
    assert np.abs(dataset.train.images - in_order(values)[..., None] / 257).max() <= 0.5
    assert dataset.notes == ()


def test_the_test_set_counts_too(root):
    """Otherwise the same value would mean two things."""
    values, contents = sixteen(12)
    two_classes(root, contents)
    fill(root / "test" / "a", encoded(np.full((6, 5), 65535, np.uint16)))
    dataset = read(root)
    assert np.abs(dataset.train.images - in_order(values)[..., None] / 257).max() <= 0.5


def test_a_range_that_nothing_tells_is_refused(root):
    _, contents = sixteen(4)
    two_classes(root, contents)
    assert (
        "images of 16 bits with no pixel over 15; save them with 8 bits, from 0 to 255"
        in error_of(root)
    )


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("most", [255, 4095])
def test_colours_of_16_bits_with_only_the_lower_in_use_are_refused(
    root, kind: int, channels: int, most: int
):
    two_classes(
        root, [raw_png(RNG.integers(0, most + 1, (6, 5, channels)), 16, kind) for _ in range(4)]
    )
    assert (
        "colours of 16 bits of which only the lower are in use; save the images with 8 bits a "
        "channel" in error_of(root)
    )


def test_colours_of_16_bits(root):
    values = [RNG.integers(0, 256, (6, 5, 3)) for _ in range(4)]
    two_classes(root, [raw_png(v * 257, 16, 2) for v in values])
    assert np.array_equal(read(root).train.images, in_order(values))


def test_a_set_that_is_nearly_black_or_of_one_colour_is_said(root, tmp_path):
    two_classes(root, [encoded(a // 16) for a in GREYS])
    assert read(root).notes == (
        (
            "no pixel is over 15 of 255: nearly black; save the images again with their whole "
            "range from 0 to 255"
        ),
    )
    flat = two_classes(tmp_path / "flat", [encoded(np.full((6, 5), 7, np.uint8))] * 4)
    assert read(flat).notes == ("every pixel of every image is 7: there is nothing to learn from",)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_masks_of_0_and_1_have_the_whole_contrast(root, dtype: type):
    masks = [(a > 99).astype(dtype) for a in GREYS]
    two_classes(root, [encoded(mask) for mask in masks])
    dataset = read(root)
    assert np.array_equal(dataset.train.images[..., 0], in_order(masks) * 255)
    assert dataset.test is not None
    assert dataset.test.images.max() == 255
    eight = "pixels 0 and 1 read as 0 and 255"
    how = (
        eight
        if dtype is np.uint8
        else "8 images have 16 bits a pixel, of which 1 is in use: 0 to 1 become 0 to 255"
    )
    assert dataset.notes == (how,)


# ---------------------------------------------------------------- amounts


def test_skipping_leaves_out_no_more_than_its_limit(root, monkeypatch):
    two_classes(root, [b"x"] * 4 + [encoded()] * 4)
    monkeypatch.setattr(images, "MOST_LEFT_OUT", 3)
    assert "over 3 images cannot be read" in error_of(root, SKIP)


@pytest.mark.parametrize("where", ["folder", "Parquet"])
def test_where_nothing_can_be_read_skipping_says_so(root, tmp_path, where: str):
    source = (
        two_classes(root, [b"\1\2"] * 4)
        if where == "folder"
        else table(tmp_path / "t.parquet", [b""] * 20, [0, 1] * 10)
    )
    message = error_of(source, SKIP)
    assert message.startswith(f"{source}: no training image is left; ")
    assert "\n" not in message


def test_what_is_left_out_leaves_the_others_in_their_places(root):
    two_classes(root, [encoded(a) for a in GREYS])
    (root / "train" / "a" / "002.png").write_bytes(b"")
    dataset = folder.read(root, SKIP, None)
    assert np.array_equal(
        dataset.train.images[..., 0], np.stack([GREYS[i] for i in (0, 4, 1, 3, 5)])
    )
    assert dataset.train.labels.tolist() == [0, 0, 1, 1, 1]


def test_file_names_in_messages_are_one_line(root):
    two_classes(root, [encoded()] * 4)
    fill(root / "train" / "a", b"", suffix="\x1b[2J\nall is well\x07.png")
    message = error_of(root)
    assert "0.\\x1b[2J all is well\\x07.png: no bytes where an image is needed" in message
    assert message.isprintable()
    left_out = folder.read(root, SKIP, None).left_out
    assert all(line.isprintable() for line in left_out)


def test_a_long_file_name_is_shortened(root):
    two_classes(root, [encoded()] * 4)
    fill(root / "train" / "a", b"", suffix="x" * 240)
    message = error_of(root)
    assert len(message) <= 300
    assert "…" in message


def test_notes_are_kept_with_what_was_decoded(root):
    two_classes(root, [stencil((0, 0, 0))] * 4)
    data.load(str(root))
    (cached,) = decoded.folder().glob("*.npz")
    with np.load(cached) as archive:
        assert b"put on a white ground" in archive["about"].tobytes()
