"""Reads pages and images without a sound text layer by OCR."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowledge import ocr
from knowledge.formats.pdf.content import Box, Content, Word

#: So many pages or images of a file go through OCR.
MOST_READINGS = 200

_DOTS_PER_INCH = 200
_MOST_PIXELS_WIDE = 4000
# Below this mean a page is a photograph, or noise.
_LEAST_CONFIDENCE = 0.6
# An image smaller than this, in points, holds no text worth reading.
_LEAST_WIDTH, _LEAST_HEIGHT = 90.0, 36.0
_LEAST_AREA_SHARE = 0.015
# Words on an image say already what it says.
_MOST_WORDS_ON_IMAGE = 3
_LEAST_LETTERS = 4
# Of a chart little but numbers is read.
_CHART_LETTERS = 100
_SAME_SIZE = 0.25


@dataclass(slots=True)
class Readings:
    """What OCR did for a file."""

    pages: int = 0
    images: int = 0
    #: Sum over the characters.
    confidence: float = 0.0
    characters: int = 0
    dropped: int = 0
    #: Pages that were not read for want of allowance.
    refused: int = 0

    def allow(self) -> bool:
        """Whether one more may be read; counts it as refused else."""
        if self.pages + self.images < MOST_READINGS:
            return True
        self.refused += 1
        return False


def read_page(page: Any, content: Content, readings: Readings) -> Content | None:
    """A page read by OCR in place of its text layer; None when nothing sure is found."""
    if not readings.allow():
        return None
    picture, scale = _render(page)
    readings.pages += 1
    recognised = ocr.recognise(picture)
    words = _words(recognised.lines, scale, Box(0, 0, 0, 0), readings)
    if not words:
        return None
    # Boxes are not exact: sizes that are nearly the usual one are that.
    usual = median(word.size for word in words)
    for word in words:
        if abs(word.size - usual) < _SAME_SIZE * usual:
            word.size = usual
    height, width = picture.shape[:2]
    sizes = (width / scale, height / scale)
    if recognised.turned % 180:
        sizes = sizes[::-1]
    return Content(content.number, *sizes, words=words, recognised=True)


def read_images(page: Any, content: Content, readings: Readings, skipped: set[str]) -> None:
    """Add to a page what its larger images say, where no words stand on them already."""
    wanted = [
        box for box in content.images if _is_worth(box, content) and _place(box) not in skipped
    ]
    # The page is rendered as it lies; boxes of a turned page do not fit that.
    if not wanted or content.turn != page.get_rotation():
        return
    picture, scale = _render(page)
    for box in wanted:
        if not readings.allow():
            return
        left, top, right, bottom = (max(0, round(edge * scale)) for edge in box)
        readings.images += 1
        recognised = ocr.recognise(np.ascontiguousarray(picture[top:bottom, left:right]))
        if recognised.turned:
            continue
        words = _worth_telling(_words(recognised.lines, scale, box, readings))
        # Large letters in an image are no heading of the text around it.
        usual = median(word.size for word in content.words)
        for word in words:
            word.size = min(word.size, usual)
        content.words.extend(words)


def _worth_telling(words: list[Word]) -> list[Word]:
    """The words of an image, without the figures along the axes of a chart."""
    letters = [sum(character.isalpha() for character in word.text) for word in words]
    if sum(letters) < _LEAST_LETTERS:
        return []
    lettered = [word for word, count in zip(words, letters, strict=True) if count > 2]
    chart = len(lettered) < 0.4 * len(words) and sum(letters) < _CHART_LETTERS
    return lettered if chart else words


def _place(box: Box) -> str:
    return ",".join(str(round(edge / 4)) for edge in box)


def repeated_images(pages: list[Content]) -> set[str]:
    """The places of images that stand on several pages, as logos do."""
    seen: dict[str, int] = {}
    for page in pages:
        for place in {_place(box) for box in page.images if not _fills(box, page)}:
            seen[place] = seen.get(place, 0) + 1
    return {place for place, count in seen.items() if count > 2}


def _fills(box: Box, page: Content) -> bool:
    return box.width * box.height > 0.5 * page.width * page.height


def _is_worth(box: Box, content: Content) -> bool:
    area = box.width * box.height
    if box.width < _LEAST_WIDTH or box.height < _LEAST_HEIGHT:
        return False
    if area < _LEAST_AREA_SHARE * content.width * content.height:
        return False
    on_it = sum(1 for word in content.words if box.holds(word.box.middle))
    return on_it <= _MOST_WORDS_ON_IMAGE


def _render(page: Any) -> tuple[NDArray[np.uint8], float]:
    """The page as a picture, and its pixels per point."""
    scale = min(_DOTS_PER_INCH / 72, _MOST_PIXELS_WIDE / max(page.get_size()))
    bitmap = page.render(scale=scale, rev_byteorder=True, may_draw_forms=True)
    picture: NDArray[np.uint8] = np.array(bitmap.to_numpy(), dtype=np.uint8)
    bitmap.close()
    if picture.ndim == 2 or picture.shape[2] == 1:
        picture = np.repeat(picture.reshape(*picture.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(picture[:, :, :3]), scale


def _words(
    lines: tuple[ocr.Line, ...], scale: float, origin: Box, readings: Readings
) -> list[Word]:
    """The lines as words; none when they are hardly sure."""
    characters = sum(len(line.text) for line in lines)
    confidence = sum(line.confidence * len(line.text) for line in lines)
    if not characters:
        return []
    if confidence < _LEAST_CONFIDENCE * characters:
        readings.dropped += 1
        return []
    readings.characters += characters
    readings.confidence += confidence
    words = []
    for line in lines:
        left, top, right, bottom = (edge / scale for edge in line.box)
        box = Box(left + origin.left, top + origin.top, right + origin.left, bottom + origin.top)
        # A line's box is somewhat higher than its letters; sizes are told apart roughly only.
        words.append(Word(line.text, box, max(1.0, round(box.height * 0.8))))
    return words
