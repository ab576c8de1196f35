"""Pictures: photographs, scans and screenshots of text, read by OCR."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kfbot.errors import DocumentUnreadable
from knowledge.cleaning import clean
from knowledge.documents import Section, SourceFile
from knowledge.formats.contract import FileFault, Found, whole_file

if TYPE_CHECKING:
    from PIL.Image import Image

#: Nothing else is opened: of EPS, Pillow would have Ghostscript run the program that it is.
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
# A sheet of A3 at 300 dpi has 17 million; what a phone takes beyond that is no sharper.
_MOST_PIXELS_READ = 24_000_000
# "ftyp" and a brand at byte 4: ISO 23008-12 (HEIF) and AV1 Image File Format.
_NOT_READ = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC", b"avif": "AVIF"}
_LIGHT = 170


def read_image_file(file: SourceFile) -> Iterator[Found | DocumentUnreadable]:
    """See `Reader`: one section a page of a TIFF, the first picture of a GIF."""
    from knowledge.ocr import as_text, recognise

    sections: list[Section] = []
    chars, sure = 0, 0.0
    with file.path.open("rb") as stream:
        for page, picture in _pictures(stream, file):
            if isinstance(picture, DocumentUnreadable):
                yield picture
                continue
            read = recognise(picture)
            if text := clean(as_text(read)):
                sections.append(Section("", text, page))
                chars += len(text)
                sure += read.confidence * len(text)
    if not sections:
        raise FileFault("no text found in the picture")
    for found in whole_file(file, tuple(sections)):
        metadata = {**found.document.metadata, "ocr_confidence": f"{sure / chars:.2f}"}
        yield replace(
            found,
            document=replace(found.document, metadata=metadata),
            counts={"pictures read by OCR": len(sections)},
        )


def as_pixels(image: Image) -> NDArray[np.uint8]:
    """A picture of any kind as height × width × RGB: upright by its EXIF, on paper, 8 bits deep.

    What is transparent becomes white, or black where the picture itself is light. More than 24
    million pixels are made fewer.
    """
    from PIL import ImageOps

    shrink = 1
    while image.width * image.height > _MOST_PIXELS_READ * shrink**2:
        shrink += 1
    if shrink > 1:
        # Colours of a palette and black dots have no mean; of I;16 Pillow makes none.
        mode = {"1": "L", "P": "RGBA", "PA": "RGBA"}.get(image.mode, image.mode)
        image = image.convert(mode.partition(";")[0]).reduce(shrink)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return _as_8_bits(np.asarray(image, np.float64))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _on_paper(np.asarray(image.convert("RGBA")))
    return np.asarray(image.convert("RGB"))


def _as_8_bits(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    # Scanners of 10 or 12 bits write files of 16: the range says nothing, what is used does.
    values = np.nan_to_num(values)
    low, high = float(values.min()), float(values.max())
    grey = ((values - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _on_paper(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    opacity = pixels[:, :, 3:].astype(np.float32) / 255
    colours = pixels[:, :, :3].astype(np.float32)
    light = float((colours * opacity).sum() / max(opacity.sum() * 3, 1e-9)) > _LIGHT
    paper = 0.0 if light else 255.0
    return np.rint(colours * opacity + paper * (1 - opacity)).astype(np.uint8)


def _pictures(
    stream: BinaryIO, file: SourceFile
) -> Iterator[tuple[int, NDArray[np.uint8] | DocumentUnreadable]]:
    """The pages with their numbers, 0 where there is but one; a damaged one of several is named.

    Raises:
        FileFault: It is no picture, or the only one is damaged.
    """
    from PIL import Image

    with named_faults():
        _refuse_unread(stream)
        image = Image.open(stream, formats=PICTURE_FORMATS)
        pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    for number in range(pages):
        picture: NDArray[np.uint8] | DocumentUnreadable
        try:
            with named_faults():
                image.seek(number)
                picture = as_pixels(image)
        except FileFault as fault:
            if pages == 1:
                raise
            picture = DocumentUnreadable(file.name, f"page {number + 1}: {fault}")
        yield number + 1 if pages > 1 else 0, picture


def _refuse_unread(stream: BinaryIO) -> None:
    start = stream.read(12)
    stream.seek(0)
    kind = _NOT_READ.get(start[8:12]) if start[4:8] == b"ftyp" else None
    if kind:
        raise FileFault(f"a {kind} picture; save it as JPEG or PNG")


@contextmanager
def named_faults() -> Iterator[None]:
    """Name what Pillow does not take.

    Raises:
        FileFault: In its place.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Small faults of a file that is read all the same: bad EXIF, extra bytes, …
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        most = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise FileFault(f"the picture has more than {most} million pixels") from None
    except UnidentifiedImageError:
        raise FileFault("not a picture of a kind that is read, or damaged") from None
    except FileFault:
        raise
    except OSError as error:
        # Those of the file itself carry a number.
        if error.errno is not None:
            raise
        raise FileFault("the picture is damaged or cut off") from None
    # A TIFF without a size is a TypeError.
    except (SyntaxError, ValueError, TypeError, EOFError, struct.error, OverflowError):
        raise FileFault("the picture is damaged") from None
