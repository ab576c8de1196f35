"""The text of Word paragraphs: as it reads once all changes are accepted, with its links."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from knowledge.cleaning import clean
from knowledge.formats.docx_styles import is_on
from knowledge.formats.office import Relation, attribute, child, local
from knowledge.markup import web_address

_CONTAINERS = ("ins", "moveTo", "smartTag", "sdt", "sdtContent", "customXml", "dir", "bdo")
_FORMULAS = ("oMathPara", "oMath", "num", "den", "sub", "sup", "sSub", "sSup", "f", "rad", "nary")
_WALKED_INTO = frozenset((*_CONTAINERS, *_FORMULAS, "d", "e", "fldSimple", "ruby", "rubyBase"))
#: Stands where a note is referred to; no character, so no text has it.
NOTE_MARK = "\ufdd0"
_DELETED = frozenset(("del", "moveFrom"))
_CHARACTERS = {"tab": " ", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "ptab": " "}
_LINK_FIELD = re.compile(r'\s*HYPERLINK\s+(?:\\[a-z]\s+)*"?(https?://[^"\s]+)', re.IGNORECASE)
# Fonts that are as good as bold in Chinese documents.
_BOLD_FONTS = re.compile("黑体|SimHei|Heiti|小标宋", re.IGNORECASE)


@dataclass(slots=True)
class Inline:
    """What stands in a paragraph."""

    text: str = ""
    #: Whether all of it is printed bold.
    is_bold: bool = False
    #: Text boxes, relation ids of pictures and diagrams, ids of notes: what hangs on it.
    boxes: list[Any] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    diagrams: list[str] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Field:
    """A field whose result may be a link: its instruction, and where its result begins."""

    instruction: str = ""
    start: int | None = None


def link(text: str, address: str) -> str:
    """A CommonMark link; the text alone when the address is none for a browser."""
    url = web_address(address)
    shown = text.strip()
    if not url or not shown or shown == url:
        return text
    target = f"<{url}>" if re.search("[()]", url) else url
    return f"[{shown.replace('[', '(').replace(']', ')')}]({target})"


class ParagraphReader:
    """Reads one paragraph after the other; `counts` says what was left out."""

    def __init__(self, relations: Mapping[str, Relation], counts: Counter[str]) -> None:
        self._relations = relations
        self._counts = counts
        self._parts: list[str] = []
        self._fields: list[_Field] = []
        self._plain_chars = 0
        self._found = Inline()

    def read(self, paragraph: Any, *, bold: bool) -> Inline:
        """What stands in a paragraph whose style is bold or not."""
        self._parts, self._fields, self._plain_chars = [], [], 0
        self._found = Inline()
        self._walk(paragraph, bold)
        lines = clean("".join(self._parts)).split("\n")
        self._found.text = "\n".join(
            text for line in lines if (text := re.sub(r"[^\S\n]+", " ", line).strip())
        )
        self._found.is_bold = not self._plain_chars
        return self._found

    def _walk(self, element: Any, bold: bool) -> None:
        for inner in element:
            name = local(inner)
            if name in _DELETED:
                self._counts["tracked deletions left out"] += 1
            elif name == "hyperlink":
                self._read_link(inner, bold)
            elif name == "r":
                self._read_run(inner, bold)
            elif name == "AlternateContent":
                # The fallback says the same once more.
                chosen = child(inner, "Choice")
                self._walk(inner if chosen is None else chosen, bold)
            elif name in _WALKED_INTO:
                self._walk(inner, bold)
            else:
                self._read_leaf(inner, name, bold)

    def _read_link(self, element: Any, bold: bool) -> None:
        start = len(self._parts)
        self._walk(element, bold)
        relation = self._relations.get(attribute(element, "id"))
        if relation is not None and relation.external:
            self._make_link(start, relation.target)

    def _make_link(self, start: int, address: str) -> None:
        self._parts[start:] = [link("".join(self._parts[start:]), address)]

    def _read_run(self, run: Any, bold: bool) -> None:
        properties = child(run, "rPr")
        if is_on(properties, "vanish"):
            self._counts["hidden texts left out"] += 1
            return
        if child(properties, "b") is not None:
            bold = is_on(properties, "b")
        elif _BOLD_FONTS.search(attribute(child(properties, "rFonts"), "eastAsia")):
            bold = True
        self._walk(run, bold)

    def _read_leaf(self, element: Any, name: str, bold: bool) -> None:
        if name == "t":
            text = element.text or ""
            self._parts.append(text)
            self._plain_chars += 0 if bold else len(text.strip())
        elif name in _CHARACTERS:
            self._parts.append(_CHARACTERS[name])
        elif name in ("fldChar", "instrText"):
            self._read_field(element, name)
        elif name in ("footnoteReference", "endnoteReference"):
            self._found.notes.append((name[: -len("Reference")], attribute(element, "id")))
            self._parts.append(NOTE_MARK)
        elif name in ("drawing", "pict", "object"):
            self._read_drawing(element)

    def _read_field(self, element: Any, name: str) -> None:
        kind = attribute(element, "fldCharType")
        if kind == "begin":
            self._fields.append(_Field())
        elif not self._fields:
            return
        elif name == "instrText":
            self._fields[-1].instruction += element.text or ""
        elif kind == "separate":
            self._fields[-1].start = len(self._parts)
        elif kind == "end":
            ended = self._fields.pop()
            match = _LINK_FIELD.match(ended.instruction)
            if match and ended.start is not None:
                self._make_link(ended.start, match[1])

    def _read_drawing(self, element: Any) -> None:
        stack = [element]
        while stack:
            inner = stack.pop()
            name = local(inner)
            if name == "txbxContent":
                self._found.boxes.append(inner)
                continue
            if name in ("blip", "imagedata"):
                self._found.pictures.append(attribute(inner, "embed") or attribute(inner, "id"))
            elif name == "relIds":
                self._found.diagrams.append(attribute(inner, "dm"))
            if name == "AlternateContent" and child(inner, "Choice") is not None:
                inner = child(inner, "Choice")
            stack.extend(reversed(inner))
