"""Draws pages of text and damages them the way scanners, phones and faxes do: always the same."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

_TEXTS = Path(__file__).with_name("evaluation")
_FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts")
#: File and face: the simplified Chinese face of Noto CJK is the third. Those that have no
#: Chinese draw English pages only.
_CHINESE_FONTS = (("NotoSansCJK-Regular.ttc", 2), ("NotoSerifCJK-Regular.ttc", 2))
_BOLD_FONT = ("NotoSansCJK-Bold.ttc", 2)
_ENGLISH_FONTS = (
    ("LiberationSerif-Regular.ttf", 0),
    ("DejaVuSans.ttf", 0),
    ("LiberationMono-Regular.ttf", 0),
    ("LiberationSans-Regular.ttf", 0),
)
_PAPER = 250
_INK = 25
_MARGIN = 90
_NEVER_FIRST = "，。、；：？！）”》…"

_Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Scan:
    """A damaged picture of a page, and what stands on it."""

    name: str
    damage: str
    language: str
    #: Paragraphs, and tables as lists of rows.
    blocks: tuple[str | tuple[tuple[str, ...], ...], ...]
    image: _Picture

    @property
    def text(self) -> str:
        """All its characters in reading order, without white space."""
        return "".join("".join(self.cells).split())

    @property
    def cells(self) -> list[str]:
        """The paragraphs and the cells of tables, in reading order."""
        found: list[str] = []
        for block in self.blocks:
            found.extend([block] if isinstance(block, str) else [c for row in block for c in row])
        return found


def missing_font() -> str | None:
    """The font without which nothing can be drawn, when it is not installed."""
    needed = [*_CHINESE_FONTS, _BOLD_FONT]
    return next((name for name, _ in needed if _font_file(name) is None), None)


def scans() -> Iterator[Scan]:
    """All scans, the same at each call where the same fonts are installed."""
    numbers = count()
    for damage, (spoil, layout) in _DAMAGES.items():
        for language in ("zh", "en", "mixed"):
            number = next(numbers)
            pages = _pages(language)
            tables = [page for page in pages if any(not isinstance(block, str) for block in page)]
            chosen = tables if layout in ("ruled", "bare") else pages
            page = chosen[number // 3 % len(chosen)]
            if layout == "columns":
                page = tuple(block for block in page if isinstance(block, str))
            drawn = _draw(page, _font_name(language, number), layout)
            image = spoil(drawn, np.random.default_rng(number))
            yield Scan(f"{damage} {language} {number}", damage, language, page, image)


def draw_lines(lines: Sequence[str], size: int = 30) -> _Picture:
    """A clean picture of a few lines, dark on white."""
    font = _load(_CHINESE_FONTS[0], size)
    width = round(max(font.getlength(line) for line in lines)) + 2 * size
    image = Image.new("L", (width, (len(lines) + 1) * size * 3 // 2), _PAPER)
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((size, size // 2 + number * size * 3 // 2), line, _INK, font)
    return np.asarray(image.convert("RGB"))


def _pages(language: str) -> list[tuple[str | tuple[tuple[str, ...], ...], ...]]:
    pages = []
    for page in (_TEXTS / f"scans_{language}.txt").read_text("utf-8").split("====\n"):
        blocks: list[str | tuple[tuple[str, ...], ...]] = []
        for part in page.strip().split("\n\n"):
            if " | " in part:
                blocks.append(tuple(tuple(row.split(" | ")) for row in part.split("\n")))
            else:
                blocks.extend(part.split("\n"))
        pages.append(tuple(blocks))
    return pages


@cache
def _font_file(name: str) -> Path | None:
    folders = [Path(folder).expanduser() for folder in _FONT_FOLDERS]
    return next((path for folder in folders for path in sorted(folder.rglob(name))), None)


def _font_name(language: str, number: int) -> tuple[str, int]:
    if language != "en":
        return _CHINESE_FONTS[number // 3 % 2]
    installed = [font for font in _ENGLISH_FONTS if _font_file(font[0])]
    return (installed or list(_CHINESE_FONTS))[number // 3 % len(installed or _CHINESE_FONTS)]


def _load(font: tuple[str, int], size: int) -> ImageFont.FreeTypeFont:
    path = _font_file(font[0])
    assert path is not None, f"the font {font[0]} is not installed"
    return ImageFont.truetype(path, size, index=font[1])


def _draw(
    page: Sequence[str | tuple[tuple[str, ...], ...]], font_name: tuple[str, int], layout: str
) -> _Picture:
    """A page as wide as A5 at 200 dpi with print of 10.5 points."""
    sheet = _Sheet(font_name, 620 if layout == "phone" else 1180)
    sheet.write(str(page[0]), _load(_BOLD_FONT, 40))
    sheet.skip(14)
    if layout == "columns":
        _draw_columns(sheet, page[1:])
    else:
        for block in page[1:]:
            if isinstance(block, str):
                sheet.write(block)
            else:
                sheet.table(block, ruled=layout != "bare")
            sheet.skip(24)
    return sheet.picture()


def _draw_columns(sheet: _Sheet, blocks: Sequence[str | tuple[tuple[str, ...], ...]]) -> None:
    top, middle = sheet.y, (len(blocks) + 1) // 2
    whole = sheet.right
    lowest = top
    for part, left, right in (
        (blocks[:middle], _MARGIN, whole // 2 + _MARGIN // 2 - 30),
        (blocks[middle:], whole // 2 + _MARGIN // 2 + 30, whole),
    ):
        sheet.y, sheet.left, sheet.right = top, left, right
        for block in part:
            sheet.write(str(block))
            sheet.skip(24)
        lowest = max(lowest, sheet.y)
    sheet.y = lowest


class _Sheet:
    """Paper that is written on from the top."""

    def __init__(self, font_name: tuple[str, int], width: int) -> None:
        self.font = _load(font_name, 29)
        self.left, self.right, self.y = _MARGIN, width, _MARGIN
        self._paper = Image.new("L", (width + _MARGIN, 3000), _PAPER)
        self._pen = ImageDraw.Draw(self._paper)

    def write(self, text: str, font: ImageFont.FreeTypeFont | None = None) -> None:
        font = font or self.font
        for line in _wrap(text, font, self.right - self.left):
            self._pen.text((self.left, self.y), line, _INK, font)
            self.y += round(font.size * 1.55)

    def table(self, rows: Sequence[Sequence[str]], *, ruled: bool) -> None:
        columns = range(len(rows[0]))
        widths = [max(self.font.getlength(row[column]) for row in rows) for column in columns]
        spare = (self.right - self.left - sum(widths)) / len(widths)
        edges = [self.left + sum(widths[:column]) + spare * column for column in columns]
        height = round(self.font.size * 1.9)
        for row in rows:
            if ruled:
                for edge in [*edges, self.right]:
                    self._pen.line((edge - 12, self.y, edge - 12, self.y + height), _INK, 2)
                self._pen.line((self.left - 12, self.y, self.right - 12, self.y), _INK, 2)
            for edge, cell in zip(edges, row, strict=True):
                self._pen.text((edge, self.y + height // 6), cell, _INK, self.font)
            self.y += height
        if ruled:
            self._pen.line((self.left - 12, self.y, self.right - 12, self.y), _INK, 2)

    def skip(self, height: int) -> None:
        self.y += height

    def picture(self) -> _Picture:
        page = self._paper.crop((0, 0, self._paper.width, self.y + _MARGIN))
        return np.asarray(page.convert("RGB"))


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> Iterator[str]:
    line = ""
    for piece in _breakable(text):
        if line and font.getlength((line + piece).rstrip()) > width and piece not in _NEVER_FIRST:
            yield line.rstrip()
            line = piece.lstrip()
        else:
            line += piece
    yield line.rstrip()


def _breakable(text: str) -> Iterator[str]:
    """Words with the space after them, Chinese characters one by one."""
    word = ""
    for character in text:
        if character >= "\u2e80" or len(word) > 24:
            if word:
                yield word
            yield character
            word = ""
        else:
            word += character
            if character == " ":
                yield word
                word = ""
    if word:
        yield word


_Spoil = Callable[[_Picture, np.random.Generator], _Picture]


def _clean(picture: _Picture, _: np.random.Generator) -> _Picture:
    return picture


def _turned(quarters: int) -> _Spoil:
    return lambda picture, _: np.ascontiguousarray(np.rot90(picture, quarters))


def _skewed(degrees: float) -> _Spoil:
    def spoil(picture: _Picture, _: np.random.Generator) -> _Picture:
        paper = (_PAPER,) * 3
        image = Image.fromarray(picture)
        return np.asarray(image.rotate(degrees, Image.Resampling.BICUBIC, True, fillcolor=paper))

    return spoil


def _scaled(factor: float) -> _Spoil:
    def spoil(picture: _Picture, _: np.random.Generator) -> _Picture:
        size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
        return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))

    return spoil


def _noisy(picture: _Picture, rng: np.random.Generator) -> _Picture:
    return _bytes(picture + rng.normal(0, 28, picture.shape))


def _speckled(picture: _Picture, rng: np.random.Generator) -> _Picture:
    dust = rng.random(picture.shape[:2])
    spoiled = picture.copy()
    spoiled[dust < 0.008] = 0
    spoiled[dust > 0.992] = 255
    return spoiled


def _blurred(picture: _Picture, _: np.random.Generator) -> _Picture:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(2.2)))


def _jpeg(quality: int) -> _Spoil:
    def spoil(picture: _Picture, _: np.random.Generator) -> _Picture:
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "JPEG", quality=quality)
        return np.asarray(Image.open(stream).convert("RGB"))

    return spoil


def _on_grey(picture: _Picture, rng: np.random.Generator) -> _Picture:
    return _bytes(picture * 0.62 + rng.normal(0, 6, picture.shape))


def _in_shadow(picture: _Picture, _: np.random.Generator) -> _Picture:
    light = np.linspace(1.0, 0.35, picture.shape[1])[None, :, None]
    return _bytes(picture * light * np.linspace(1.0, 0.8, picture.shape[0])[:, None, None])


def _negative(picture: _Picture, _: np.random.Generator) -> _Picture:
    return 255 - picture


def _faint(picture: _Picture, _: np.random.Generator) -> _Picture:
    return _bytes(255 - (255 - picture.astype(float)) * 0.3)


def _fax(picture: _Picture, rng: np.random.Generator) -> _Picture:
    grey = _scaled(0.6)(picture, rng).astype(float) + rng.normal(0, 20, (1, 1, 1))
    return np.where(grey < 150, 0, 255).astype(np.uint8)


def _photographed(picture: _Picture, rng: np.random.Generator) -> _Picture:
    """Seen from the lower left, on a table."""
    height, width = picture.shape[:2]
    table = 110
    image = Image.new("RGB", (width + 120, height + 120), (table, table - 20, table - 40))
    image.paste(Image.fromarray(picture), (60, 60))
    far = (-20, -10, -70, height + 125, width + 150, height + 200, width + 160, -60)
    tilted = image.transform(
        image.size, Image.Transform.QUAD, far, Image.Resampling.BICUBIC, fillcolor=(table,) * 3
    )
    return _jpeg(60)(_in_shadow(np.asarray(tilted), rng), rng)


def _in_turn(*steps: _Spoil) -> _Spoil:
    def spoil(picture: _Picture, rng: np.random.Generator) -> _Picture:
        for step in steps:
            picture = step(picture, rng)
        return picture

    return spoil


def _bytes(picture: NDArray[np.float64]) -> _Picture:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


#: What happens to a page, and how it is laid out; each in Chinese, in English and in both.
_DAMAGES: dict[str, tuple[_Spoil, str]] = {
    "none": (_clean, "page"),
    "two columns": (_clean, "columns"),
    "ruled table": (_clean, "ruled"),
    "bare table": (_clean, "bare"),
    "phone, dark mode": (_negative, "phone"),
    "turned 90": (_turned(3), "page"),
    "turned 180": (_turned(2), "page"),
    "turned 270": (_turned(1), "page"),
    "skewed 1.5": (_skewed(1.5), "page"),
    "skewed -4": (_skewed(-4), "page"),
    "skewed 9": (_skewed(9), "page"),
    "noise": (_noisy, "page"),
    "dust": (_speckled, "page"),
    "blur": (_blurred, "page"),
    "JPEG 12": (_jpeg(12), "page"),
    "100 dpi": (_scaled(0.5), "page"),
    "80 dpi": (_scaled(0.4), "page"),
    "grey paper": (_on_grey, "page"),
    "shadow": (_in_shadow, "page"),
    "faint print": (_faint, "page"),
    "fax": (_fax, "page"),
    "photograph": (_photographed, "page"),
    "columns, skewed, noise": (_in_turn(_skewed(2), _noisy), "columns"),
    "turned, 100 dpi, JPEG": (_in_turn(_turned(1), _scaled(0.5), _jpeg(40)), "ruled"),
}
