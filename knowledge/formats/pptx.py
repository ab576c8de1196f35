"""PowerPoint: .pptx, .pptm and .ppsx; a section a slide, by python-pptx.

Format: ECMA-376, part 1, PresentationML and DrawingML.
"""

from __future__ import annotations

import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

from kfbot.errors import DocumentUnreadable
from knowledge.cleaning import clean
from knowledge.documents import Section, SourceFile
from knowledge.formats.contract import FileFault, Found, whole_file
from knowledge.formats.docx_text import link
from knowledge.formats.office import (
    PictureReader,
    attribute,
    child,
    core_facts,
    diagram_text,
    local,
)
from knowledge.formats.packages import damaged, open_package
from knowledge.formats.tables import Cell, fill_spans, split_caption, table_text
from knowledge.markup import heading_of

_MOST_GROUPS = 50
# Boxes that overlap by less than this share of the lower one stand below each other.
_OVERLAP = 0.3

_Box = tuple[int, int, int, int]


def read_pptx(file: SourceFile) -> Iterator[Found | DocumentUnreadable]:
    """See `Reader`. Hidden slides, dates, footers and slide numbers are left out."""
    sections: list[Section] = []
    with open_package(file.path) as package, warnings.catch_warnings():
        # Odd packages are read all the same.
        warnings.simplefilter("ignore")
        slides = _open_slides(file)
        reader = _SlideReader(package)
        for number, slide in enumerate(slides, start=1):
            try:
                sections.extend(reader.read(slide, number))
            except _oddities():
                reason = f"slide {number} is damaged: open it in its program and save it again"
                yield DocumentUnreadable(file.name, reason)
        facts = core_facts(package)
    title = facts.pop("title", "")
    if sections and sections[0].page == 1:
        title = sections[0].heading or title
    facts |= reader.pictures.facts()
    counts = reader.counts + reader.pictures.counts
    yield from whole_file(file, tuple(sections), title=title, metadata=facts, counts=counts)


def _oddities() -> tuple[type[Exception], ...]:
    """What python-pptx raises where a part or a value is missing that it counts on."""
    from lxml.etree import XMLSyntaxError
    from pptx.exc import PythonPptxError

    lookups = (KeyError, IndexError, AttributeError, TypeError, ValueError, NotImplementedError)
    return (PythonPptxError, XMLSyntaxError, *lookups)


def _open_slides(file: SourceFile) -> list[Any]:
    from pptx import Presentation

    try:
        return list(Presentation(str(file.path)).slides)
    except _oddities() as error:
        raise damaged(f"{error}") from None


class _SlideReader:
    """Reads one slide after the other."""

    def __init__(self, package: zipfile.ZipFile) -> None:
        self.counts: Counter[str] = Counter()
        self.pictures = PictureReader()
        self._package = package

    def read(self, slide: Any, number: int) -> Iterator[Section]:
        """What a slide shows, and what its notes say; nothing when it is hidden or empty."""
        if slide.element.get("show") in ("0", "false"):
            self.counts["hidden slides left out"] += 1
            return
        title = slide.shapes.title
        heading = heading_of(clean(title.text_frame.text)) if title is not None else ""
        parts = self._texts(
            shape for shape in slide.shapes if title is None or shape.shape_id != title.shape_id
        )
        if notes := _notes(slide):
            self.counts["slides with notes"] += 1
            parts.append(f"Notes: {notes}")
        text = "\n\n".join(parts) or heading
        if text:
            yield Section(heading, text, number)

    def _texts(self, shapes: Iterable[Any], depth: int = 0) -> list[str]:
        """What these shapes say, in the order in which they are read; hidden ones nothing."""
        shown = [shape for shape in shapes if not _is_hidden(shape)]
        texts = (self._read_shape(shape, depth) for shape in _reading_order(shown))
        return [text for text in texts if text]

    def _read_shape(self, shape: Any, depth: int) -> str:
        try:
            if local(shape.element) == "grpSp":
                inner = self._texts(shape.shapes, depth + 1) if depth < _MOST_GROUPS else []
                return "\n".join(inner)
            return self._text(shape)
        except FileFault:
            raise
        except _oddities():
            self.counts["shapes that cannot be read"] += 1
            return ""

    def _text(self, shape: Any) -> str:
        if shape.is_placeholder and _is_furniture(shape):
            self.counts["headers and footers left out"] += bool(shape.text_frame.text.strip())
            return ""
        if getattr(shape, "has_table", False):
            return _table(shape.table)
        if getattr(shape, "has_chart", False):
            return _chart(shape.chart)
        if shape.has_text_frame:
            return _paragraphs(shape)
        return self._picture(shape)

    def _picture(self, shape: Any) -> str:
        parts = []
        for element in shape.element.iter():
            name = local(element)
            if name == "blip" and (relation_id := attribute(element, "embed")):
                part = shape.part.related_part(relation_id)
                parts.append(self.pictures.read(part.blob))
            elif name == "relIds":
                part = shape.part.related_part(attribute(element, "dm"))
                parts.append(diagram_text(self._package, str(part.partname).lstrip("/")))
        return "\n\n".join(filter(None, parts))


def _is_hidden(shape: Any) -> bool:
    properties = next((one for one in shape.element.iter() if local(one) == "cNvPr"), None)
    return attribute(properties, "hidden") in ("1", "true")


def _is_furniture(shape: Any) -> bool:
    from pptx.enum.shapes import PP_PLACEHOLDER

    kinds = (PP_PLACEHOLDER.DATE, PP_PLACEHOLDER.FOOTER, PP_PLACEHOLDER.SLIDE_NUMBER)
    return shape.placeholder_format.type in (*kinds, PP_PLACEHOLDER.HEADER)


def _reading_order(shapes: Sequence[Any]) -> list[Any]:
    """Bands from the top, in each band columns from the left, in those bands again."""
    placed = [(_box(shape), number) for number, shape in enumerate(shapes)]
    return [shapes[number] for number in _cut(placed, 1, tried=False)]


def _box(shape: Any) -> _Box:
    try:
        left, top = int(shape.left or 0), int(shape.top or 0)
        return left, top, left + int(shape.width or 0), top + int(shape.height or 0)
    except _oddities():
        return 0, 0, 0, 0


def _cut(placed: list[tuple[_Box, int]], axis: int, *, tried: bool) -> Iterator[int]:
    """The numbers of boxes in reading order; cuts across `axis` (1: down, 0: to the right)."""
    if len(placed) == 1:
        yield placed[0][1]
        return
    bands: list[list[tuple[_Box, int]]] = []
    end = 0
    for box, number in sorted(placed, key=lambda one: (one[0][axis], one[0][1 - axis], one[1])):
        if not bands or box[axis] + _OVERLAP * (box[axis + 2] - box[axis]) < end:
            bands = bands or [[]]
            end = max(end, box[axis + 2])
        else:
            bands.append([])
            end = box[axis + 2]
        bands[-1].append((box, number))
    if len(bands) > 1:
        for band in filter(None, bands):
            yield from _cut(band, 1 - axis, tried=False)
    elif tried:
        yield from (number for _, number in sorted(placed, key=lambda one: one[0][1::-1]))
    else:
        yield from _cut(placed, 1 - axis, tried=True)


def _paragraphs(shape: Any) -> str:
    """The lines of a box; what has a bullet or a number shows it."""
    lines = []
    paragraphs = [one for one in shape.text_frame.paragraphs if one.text.strip()]
    has_bullets = shape.is_placeholder and len(paragraphs) > 1
    number = 0
    for paragraph in paragraphs:
        text = "".join(_run(element, paragraph) for element in paragraph._p)
        text = " ".join(clean(text).split())
        properties = child(paragraph._p, "pPr")
        number = number + 1 if child(properties, "buAutoNum") is not None else 0
        bullet = child(properties, "buChar") is not None or paragraph.level > 0 or has_bullets
        if number:
            text = f"{number}. {text}"
        elif bullet and child(properties, "buNone") is None:
            text = f"- {text}"
        lines.append("  " * paragraph.level + text)
    return "\n".join(lines)


def _run(element: Any, paragraph: Any) -> str:
    name = local(element)
    if name == "br":
        return " "
    if name not in ("r", "fld"):
        return ""
    target = child(element, "rPr", "hlinkClick")
    text = "".join(one.text or "" for one in element if local(one) == "t")
    relation_id = attribute(target, "id")
    relations = paragraph.part.rels
    if relation_id not in relations or not relations[relation_id].is_external:
        return text
    return link(text, relations[relation_id].target_ref)


def _table(table: Any) -> str:
    rows = [
        [
            Cell(clean(cell.text), cell.span_width, cell.span_height)
            for cell in row.cells
            if not cell.is_spanned
        ]
        for row in table.rows
    ]
    captions, grid = split_caption(fill_spans(rows))
    return "\n\n".join([*captions, table_text(grid)])


def _chart(chart: Any) -> str:
    """The numbers of a chart as a table below its title."""
    title = ""
    if chart.has_title and chart.chart_title.has_text_frame:
        title = " ".join(clean(chart.chart_title.text_frame.text).split())
    parts = [title] if title else []
    for plot in chart.plots:
        series = [[clean(one.name), *map(_number, one.values)] for one in plot.series]
        columns = [["", *(clean(str(one)) for one in plot.categories)], *series]
        parts.append(table_text(list(zip_longest(*columns, fillvalue=""))))
    return "\n\n".join(filter(None, parts))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.15g}"


def _notes(slide: Any) -> str:
    try:
        frame = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
    except _oddities():
        return ""
    return "" if frame is None else "\n".join(clean(frame.text).split("\n")).strip()
