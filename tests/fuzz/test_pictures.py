"""Damaged pictures, as files and in documents: read within bounds or named, and never an error."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import EpsImagePlugin, Image

from kfbot.errors import DocumentUnreadable
from knowledge import ocr
from knowledge.documents import SourceFile
from knowledge.formats import image, read_file
from knowledge.formats.office import PictureReader
from knowledge.ocr import Line, Recognised
from tests.fuzz.mutation import Pick, mutated_bytes
from tests.fuzz.profile import PICKS, fuzz

ENDINGS = (".bmp", ".gif", ".jpg", ".png", ".tiff", ".webp")
_MOST_PIXELS = 24_000_000
#: Written into a header they make a picture of other dimensions, or of another kind.
_EDGES = (0, 1, 2, 0x3F, 0x7F, 0x80, 0xFF)


@cache
def pictures() -> dict[str, tuple[bytes, ...]]:
    """Ending → pictures of its kinds; large enough to be read in a document."""
    grey = Image.effect_noise((160, 130), 80)
    colours, few, dots = grey.convert("RGB"), grey.convert("P"), grey.convert("1")
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        ".bmp": (_saved(colours, "BMP"), _saved(few, "BMP")),
        ".gif": (_saved(few, "GIF", save_all=True, append_images=[grey.rotate(9)]),),
        ".jpg": (
            _saved(colours, "JPEG", exif=exif),
            _saved(grey.convert("CMYK"), "JPEG", progressive=True),
        ),
        ".png": (
            _saved(colours, "PNG", exif=exif),
            _saved(few, "PNG", transparency=3),
            _saved(grey.convert("I").convert("I;16"), "PNG"),
            _saved(colours, "PNG", save_all=True, append_images=[colours.rotate(9)]),
        ),
        ".tiff": (
            _saved(colours, "TIFF", compression="tiff_lzw", save_all=True, append_images=[grey]),
            _saved(dots, "TIFF", compression="group4"),
            _saved(grey, "TIFF"),
        ),
        ".webp": (_saved(colours, "WEBP", exif=exif), _saved(grey, "WEBP", lossless=True)),
    }


def _saved(picture: Image.Image, kind: str, **how: object) -> bytes:
    target = io.BytesIO()
    picture.save(target, kind, **how)
    return target.getvalue()


def mutated_picture(content: bytes, pick: Pick) -> bytes:
    """A picture with faults anywhere, or in its header alone."""
    if pick(2):
        return mutated_bytes(content, pick)
    changed = bytearray(content)
    for _ in range(1 + pick(4)):
        value = _EDGES[pick(len(_EDGES))] if pick(2) else pick(256)
        changed[pick(min(len(changed), 200))] = value
    return bytes(changed)


def read_at_once(picture: NDArray[np.uint8]) -> Recognised:
    """In the place of OCR, which takes a second a picture."""
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert picture.shape[0] * picture.shape[1] <= _MOST_PIXELS
    return Recognised((Line("Returns", 0.9, (0, 0, 9, 9)),))


@pytest.fixture(scope="module", autouse=True)
def without_recogniser() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ocr, "recognise", read_at_once)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


def check_picture(content: bytes, ending: str, folder: Path) -> None:
    """A picture gives a document, or reasons of one line each; in a document it is left out."""
    path = folder / f"fuzzed{ending}"
    path.write_bytes(content)
    for found in read_file(SourceFile(path, path.name)):
        if isinstance(found, DocumentUnreadable):
            assert "\n" not in str(found)
        else:
            assert {one.text for one in found.document.sections} == {"Returns"}
    PictureReader().read(content)


@pytest.mark.parametrize("ending", ENDINGS)
def test_good_pictures_are_read(ending: str, folder: Path) -> None:
    for content in pictures()[ending]:
        check_picture(content, ending, folder)
        assert PictureReader().read(content) == "Returns"


@pytest.mark.parametrize("ending", ENDINGS)
@fuzz(8, pick=PICKS)
def test_a_damaged_picture_is_read_or_named(ending: str, folder: Path, pick: Pick) -> None:
    kinds = pictures()[ending]
    check_picture(mutated_picture(kinds[pick(len(kinds))], pick), ending, folder)


def test_a_page_of_a_tiff_without_a_width_is_named(folder: Path) -> None:
    # The entry that says how wide a page is has the number 256, and is of the type 3.
    before, behind = pictures()[".tiff"][0].rsplit(b"\x00\x01\x03\x00", 1)
    path = folder / "narrow.tiff"
    path.write_bytes(before + b"\x00\x00\x03\x00" + behind)
    [fault] = read_file(SourceFile(path, path.name))
    assert str(fault) == "narrow.tiff: the picture is damaged"


def test_a_program_that_draws_a_picture_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **named: ran.append(given))
    reader = PictureReader()
    assert (
        reader.read(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 300 300\n%%EndComments\n") == ""
    )
    assert reader.counts == {"pictures that cannot be read": 1}
    assert not ran


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I", "F", "I;16"])
def test_more_pixels_than_are_read_are_made_fewer(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "_MOST_PIXELS_READ", 100)
    assert image.as_pixels(Image.new(mode, (60, 50))).shape == (9, 10, 3)
