"""Reads the words of a PDF page with PDFium: place, size, weight."""

from __future__ import annotations

import ctypes
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from knowledge.formats.pdf.content import Box, Word, around
from knowledge.sentences import CJK

#: A page with more characters than this is no page for readers.
MOST_CHARS = 200_000

_BOLD_NAME = re.compile(r"bold|heavy|black|semibold|demi|simhei|黑体", re.IGNORECASE)
_BOLD_WEIGHT = 600
# The rise over the base line and the fall below it, in sizes; most fonts are near these.
_RISE, _FALL = 0.85, 0.2
# A gap wider than this many sizes parts words even where the file has no space.
_WORD_GAP = 0.6
# So many characters under one another are written down the page.
_LEAST_DOWN = 4
_CJK_CHARACTER = re.compile(f"[{CJK}，。、；：！？（）《》“”]")
_SPACES = frozenset(" \t\r\n\u00a0\u3000\u2002\u2003\u2009")
_FOLDED = re.compile("[\ufb00-\ufb06\u2e80-\u2fdf\uf900-\ufaff\u3000]")
_SYMBOLS = {
    **dict.fromkeys("\uf0b7\uf06c\uf0a7\uf0d8\uf06e\uf075\uf09f\uf0b2\uf076", "•"),
    **dict.fromkeys("\uf0fc\uf050", "✓"),
    "\uf0e0": "→",
    "\uf0a8": "□",
    "\uf0fe": "☑",
    "\x02": "-",
    "\ufffe": "-",
    "\xad": "-",
}


class _Style(NamedTuple):
    size: float
    bold: bool
    #: Degrees counter-clockwise.
    angle: float


class _Character(NamedTuple):
    text: str
    box: tuple[float, float, float, float]
    origin: tuple[float, float]
    style: _Style
    spaced: bool
    #: The space before it stands in the file.
    drawn: bool


@dataclass(slots=True)
class Characters:
    """The characters of a page as the file orders them."""

    found: list[_Character] = field(default_factory=list)
    unmapped: int = 0
    too_many: bool = False

    def turn(self, rotation: int) -> int:
        """By how many degrees the page is turned clockwise to put most text upright."""
        angles = Counter(_right_angle(char.style.angle) for char in self.found)
        del angles[None]
        return next((angle for angle, _ in angles.most_common(1) if angle is not None), rotation)


def read_characters(text_page: Any) -> Characters:
    """The characters of a page of pypdfium2."""
    import pypdfium2.raw as pdfium

    raw = text_page.raw
    total = pdfium.FPDFText_CountChars(raw)
    if total > MOST_CHARS:
        return Characters(too_many=True)
    result = Characters()
    styles: dict[int, _Style] = {}
    spaced, drawn = True, False
    for index in range(total):
        code = pdfium.FPDFText_GetUnicode(raw, index)
        text = chr(code) if code < 0x110000 else "\ufffd"
        if text in _SPACES:
            spaced = True
            drawn = drawn or not pdfium.FPDFText_IsGenerated(raw, index)
            continue
        if not code or pdfium.FPDFText_HasUnicodeMapError(raw, index) == 1:
            result.unmapped += 1
        style = _style(raw, index, styles)
        result.found.append(_character(raw, index, normalise(text), style, (spaced, drawn)))
        spaced = drawn = False
    return result


def normalise(text: str) -> str:
    """Ligatures, Kangxi radicals and the symbols of Wingdings as ordinary characters."""
    text = _SYMBOLS.get(text, text)
    return unicodedata.normalize("NFKC", text) if _FOLDED.match(text) else text


def _character(
    raw: Any, index: int, text: str, style: _Style, spaces: tuple[bool, bool]
) -> _Character:
    import pypdfium2.raw as pdfium

    box = pdfium.FS_RECTF()
    pdfium.FPDFText_GetLooseCharBox(raw, index, box)
    x, y = ctypes.c_double(), ctypes.c_double()
    pdfium.FPDFText_GetCharOrigin(raw, index, x, y)
    edges = (box.left, box.bottom, box.right, box.top)
    return _Character(text, edges, (x.value, y.value), style, *spaces)


def _style(raw: Any, index: int, styles: dict[int, _Style]) -> _Style:
    import pypdfium2.raw as pdfium

    text_object = pdfium.FPDFText_GetTextObject(raw, index)
    key = ctypes.cast(text_object, ctypes.c_void_p).value or -1
    style = styles.get(key)
    if style is None:
        matrix = pdfium.FS_MATRIX()
        pdfium.FPDFText_GetMatrix(raw, index, matrix)
        scale = math.hypot(matrix.c, matrix.d) or 1.0
        size = pdfium.FPDFText_GetFontSize(raw, index) * scale
        # PDFium counts clockwise.
        angle = -math.degrees(pdfium.FPDFText_GetCharAngle(raw, index)) % 360
        style = _Style(size, _is_bold(raw, index, text_object), angle)
        if key != -1:
            styles[key] = style
    return style


def _is_bold(raw: Any, index: int, text_object: Any) -> bool:
    import pypdfium2.raw as pdfium

    if pdfium.FPDFText_GetFontWeight(raw, index) >= _BOLD_WEIGHT:
        return True
    # Word makes Chinese bold by drawing the outline as well.
    mode = pdfium.FPDFTextObj_GetTextRenderMode(text_object) if text_object else None
    if mode == pdfium.FPDF_TEXTRENDERMODE_FILL_STROKE:
        return True
    name = ctypes.create_string_buffer(128)
    flags = ctypes.c_int()
    pdfium.FPDFText_GetFontInfo(raw, index, name, 128, flags)
    return bool(_BOLD_NAME.search(name.value.decode("utf-8", "ignore")))


def _right_angle(angle: float) -> int | None:
    nearest = round(angle / 90) * 90
    return nearest % 360 if abs(angle - nearest) < 3 else None


@dataclass(slots=True)
class Placing:
    """Turns PDF's coordinates into those of the upright page."""

    left: float
    top: float
    width: float
    height: float
    turn: int

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the file lies."""
        x, y = x - self.left, self.top - y
        if self.turn == 90:
            return self.height - y, x
        if self.turn == 180:
            return self.width - x, self.height - y
        if self.turn == 270:
            return y, self.width - x
        return x, y

    def box(self, left: float, bottom: float, right: float, top: float) -> Box:
        """Where a rectangle of the file lies."""
        (x0, y0), (x1, y1) = self.point(left, bottom), self.point(right, top)
        return Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the upright page."""
        sizes = (self.width, self.height)
        return sizes if self.turn % 180 == 0 else (sizes[1], sizes[0])


def place_words(
    characters: Characters, placing: Placing, links: Sequence[tuple[Box, str]] = ()
) -> Iterator[Word | None]:
    """The words that lie on the page; None for each slanted character."""
    word: Word | None = None
    for char in characters.found:
        angle = _right_angle(char.style.angle)
        if angle is None:
            yield None
            continue
        box = _place(char, placing, angle == placing.turn)
        if not (-1 <= box.middle[0] <= placing.size[0] + 1 and box.middle[1] >= -1):
            continue
        if box.middle[1] > placing.size[1] + 1:
            continue
        upright = angle == placing.turn
        link = next((url for area, url in links if area.holds(box.middle)), "") if links else ""
        if word is not None and word.link == link and _belongs(word, char, box, upright):
            _append(word, char, box)
            continue
        if word is not None:
            yield word
        style = char.style
        word = Word(char.text, box, style.size, style.bold, link, char.spaced, upright)
    if word is not None:
        yield word


def _place(char: _Character, placing: Placing, upright: bool) -> Box:
    box = placing.box(*char.box)
    if upright:
        base = placing.point(*char.origin)[1]
        size = char.style.size
        return Box(box.left, base - _RISE * size, box.right, base + _FALL * size)
    return box


def _belongs(word: Word, char: _Character, box: Box, upright: bool) -> bool:
    """Whether a character goes on with a word, raised or lowered as it may be."""
    if upright != word.upright:
        return False
    size = max(word.size, char.style.size)
    if not upright:
        return _near(word.box, box, size)
    gap = box.left - word.box.right
    if abs(box.bottom - word.box.bottom) > 0.6 * size or gap < -size:
        return False
    if char.spaced:
        # PDFium takes the loose setting of Chinese for spaces.
        return (
            not char.drawn and gap < 0.2 * size and _is_cjk(word.text[-1]) and _is_cjk(char.text[0])
        )
    return gap <= _WORD_GAP * size


def _is_cjk(character: str) -> bool:
    return _CJK_CHARACTER.match(character) is not None


def _near(box: Box, other: Box, size: float) -> bool:
    across = max(box.left, other.left) - min(box.right, other.right)
    down = max(box.top, other.top) - min(box.bottom, other.bottom)
    return across < 0.2 * size and down < 0.8 * size


def _append(word: Word, char: _Character, box: Box) -> None:
    if char.spaced and not (_is_cjk(word.text[-1]) and word.upright):
        word.text += " "
    word.text += char.text
    # A raised figure must not lift the line that its word stands in.
    base = word.box if not word.upright or char.style.size < word.size else box
    top, bottom = (base.top, base.bottom)
    if not word.upright:
        top, bottom = min(word.box.top, box.top), max(word.box.bottom, box.bottom)
    left, right = min(word.box.left, box.left), max(word.box.right, box.right)
    word.box = Box(left, top, right, bottom)
    word.size = max(word.size, char.style.size)


def join_vertical(words: Sequence[Word]) -> list[Word]:
    """The words, Chinese characters under one another as words that are not upright."""
    result: list[Word] = []
    run: list[Word] = []
    for word in [*words, None]:
        if word is not None and run and _is_below(run[-1], word):
            run.append(word)
            continue
        if len(run) >= _LEAST_DOWN:
            text = "".join(part.text for part in run)
            box = around(part.box for part in run)
            result.append(Word(text, box, run[0].size, run[0].bold, upright=False))
        else:
            result.extend(run)
        run = [word] if word is not None else []
    return result


def _is_below(above: Word, word: Word) -> bool:
    if len(above.text) > 1 or len(word.text) > 1 or not _is_cjk(above.text + word.text):
        return False
    across = abs(above.box.middle[0] - word.box.middle[0])
    down = word.box.middle[1] - above.box.middle[1]
    return across < 0.4 * word.size and 0.7 * word.size < down < 1.4 * word.size
