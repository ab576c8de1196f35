"""What a Word file's styles and numbering say: which paragraphs are headings, and list numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from knowledge.formats.office import attribute, child, elements, local

# Word writes "heading 1" in every language; converters write what their menus say.
_HEADING_NAME = re.compile(
    r"(?:heading|标题|標題|见出し|見出し|제목|überschrift|titre|título|titolo|заголовок)\s*([1-9])",
    re.IGNORECASE,
)
_TITLE_NAMES = {"title", "标题", "標題", "题名", "文档标题", "titel", "titre", "título"}
_CONTENTS_NAME = re.compile(r"(?:toc|目录|目錄)\s*\d|table of figures", re.IGNORECASE)
_BODY_LEVEL = 9
_MOST_BASES = 20
_MOST_LEVELS = 9


@dataclass(frozen=True, slots=True)
class ListPlace:
    """Which list a paragraph is an item of, and how deep in it, from 0."""

    list_id: str
    depth: int


@dataclass(frozen=True, slots=True)
class Look:
    """What a paragraph is, by its own properties and its style."""

    #: 1 for the outermost heading; 0: no heading.
    level: int = 0
    is_title: bool = False
    #: A line of the table of contents.
    is_contents: bool = False
    is_bold: bool = False
    place: ListPlace | None = None


class Styles:
    """The styles of a document, by id."""

    def __init__(self, root: Any) -> None:
        self._styles = {
            attribute(style, "styleId"): style
            for style in elements(root)
            if local(style) == "style"
        }

    def look(self, paragraph: Any) -> Look:
        """What a paragraph is."""
        own = child(paragraph, "pPr")
        style_id = attribute(child(own, "pStyle"), "val")
        chain = list(self._chain(style_id))
        names = [attribute(child(style, "name"), "val").strip() for style in chain]
        properties = [own, *(child(style, "pPr") for style in chain)]
        return Look(
            level=_level(properties, names),
            is_title=bool(names) and names[0].lower() in _TITLE_NAMES,
            is_contents=bool(names) and _CONTENTS_NAME.match(names[0]) is not None,
            is_bold=any(is_on(child(style, "rPr"), "b") for style in chain),
            place=_place(properties),
        )

    def _chain(self, style_id: str) -> Iterator[Any]:
        """A style and those that it is based on."""
        for _ in range(_MOST_BASES):
            style = self._styles.get(style_id)
            if style is None:
                return
            yield style
            style_id = attribute(child(style, "basedOn"), "val")


def is_on(properties: Any, name: str) -> bool:
    """Whether a switch like bold stands in these properties and is not turned off."""
    switch = child(properties, name)
    return switch is not None and attribute(switch, "val") not in ("0", "false", "off", "none")


def _level(properties: list[Any], names: list[str]) -> int:
    for place in properties:
        outline = attribute(child(place, "outlineLvl"), "val")
        if outline.isdecimal():
            return int(outline) + 1 if int(outline) < _BODY_LEVEL else 0
    match = next((found for name in names if (found := _HEADING_NAME.fullmatch(name))), None)
    return int(match[1]) if match else 0


def _place(properties: list[Any]) -> ListPlace | None:
    list_id, depth = "", ""
    for place in properties:
        numbering = child(place, "numPr")
        list_id = list_id or attribute(child(numbering, "numId"), "val")
        depth = depth or attribute(child(numbering, "ilvl"), "val")
    if not list_id or list_id == "0":
        return None
    return ListPlace(list_id, min(int(depth), _MOST_LEVELS - 1) if depth.isdecimal() else 0)


@dataclass(slots=True)
class _Level:
    format: str = "decimal"
    text: str = ""
    start: int = 1


@dataclass(slots=True)
class _List:
    levels: dict[int, _Level] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)


class Numbering:
    """The lists of a document; counts their items as they are met."""

    def __init__(self, root: Any) -> None:
        #: Lists that share their definition count on together.
        self._lists: dict[str, _List] = {}
        abstract: dict[str, _List] = {}
        for element in elements(root):
            if local(element) == "abstractNum":
                levels = {depth: level for depth, level in _levels(element)}
                abstract[attribute(element, "abstractNumId")] = _List(levels)
            elif local(element) == "num":
                base = abstract.get(attribute(child(element, "abstractNumId"), "val"), _List())
                self._lists[attribute(element, "numId")] = _overridden(base, element)

    def label(self, place: ListPlace) -> str:
        """The mark before the next item at this place: "1.", "（一）", or "-" for a bullet."""
        found = self._lists.setdefault(place.list_id, _List())
        level = found.levels.get(place.depth, _Level(format="bullet"))
        before = found.numbers.get(place.depth, level.start - 1)
        found.numbers[place.depth] = before + 1
        for deeper in [depth for depth in found.numbers if depth > place.depth]:
            del found.numbers[deeper]
        if level.format == "bullet":
            return "-"
        if level.format == "none":
            return ""
        return re.sub("%([1-9])", lambda match: _number(found, int(match[1]) - 1), level.text)


def _levels(element: Any) -> Iterator[tuple[int, _Level]]:
    for level in element.iter():
        depth = attribute(level, "ilvl")
        if local(level) == "lvl" and depth.isdecimal():
            start = attribute(child(level, "start"), "val")
            yield (
                int(depth),
                _Level(
                    format=attribute(child(level, "numFmt"), "val") or "decimal",
                    text=attribute(child(level, "lvlText"), "val"),
                    start=int(start) if start.isdecimal() else 1,
                ),
            )


def _overridden(base: _List, element: Any) -> _List:
    """The list as one numbering has it: its own copy only where it begins anew."""
    levels = dict(base.levels)
    levels.update(_levels(element))
    restarted = False
    for override in element:
        start = attribute(child(override, "startOverride"), "val")
        depth = attribute(override, "ilvl")
        if start.isdecimal() and depth.isdecimal():
            old = levels.get(int(depth), _Level())
            levels[int(depth)] = _Level(old.format, old.text, int(start))
            restarted = True
    return _List(levels, {} if restarted else base.numbers)


def _number(found: _List, depth: int) -> str:
    level = found.levels.get(depth, _Level())
    number = found.numbers.get(depth, level.start)
    return _FORMATS.get(level.format, str)(number)


_DIGITS = "〇一二三四五六七八九"


def _chinese(number: int) -> str:
    if not 0 < number < 100:
        return str(number)
    tens, ones = divmod(number, 10)
    text = ("" if tens == 1 else _DIGITS[tens]) + "十" if tens else ""
    return text + (_DIGITS[ones] if ones else "")


def _roman(number: int) -> str:
    if not 0 < number < 4000:
        return str(number)
    text = ""
    for value, letters in zip(
        (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1),
        ["M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I"],
        strict=True,
    ):
        text += letters * (number // value)
        number %= value
    return text


def _letter(number: int) -> str:
    # Word goes on after z with aa, bb, cc.
    if not 0 < number <= 26 * 9:
        return str(number)
    return chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1)


def _circled(number: int) -> str:
    return chr(ord("①") + number - 1) if 0 < number <= 20 else str(number)


_FORMATS: dict[str, Callable[[int], str]] = {
    "chineseCounting": _chinese,
    "chineseCountingThousand": _chinese,
    "japaneseCounting": _chinese,
    "taiwaneseCounting": _chinese,
    "taiwaneseCountingThousand": _chinese,
    "ideographDigital": _chinese,
    "upperRoman": _roman,
    "lowerRoman": lambda number: _roman(number).lower(),
    "upperLetter": lambda number: _letter(number).upper(),
    "lowerLetter": _letter,
    "decimalEnclosedCircle": _circled,
    "decimalEnclosedCircleChinese": _circled,
    "decimalZero": lambda number: f"{number:02}",
}
