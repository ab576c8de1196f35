"""Word: .docx and .docm.

Read from the XML itself: python-docx leaves out text boxes, content controls, footnotes, list
numbers and tracked insertions, and refuses files with a dangling relation.
Format: ECMA-376, part 1, WordprocessingML.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from knowledge.documents import SourceFile
from knowledge.formats.contract import FileFault, Found, whole_file
from knowledge.formats.docx_styles import Look, Numbering, Styles, is_on
from knowledge.formats.docx_text import NOTE_MARK, Inline, ParagraphReader
from knowledge.formats.office import (
    PictureReader,
    attribute,
    child,
    core_facts,
    diagram_text,
    elements,
    load,
    local,
    read_relations,
)
from knowledge.formats.packages import damaged, open_package
from knowledge.formats.tables import Cell, fill_spans, split_caption, table_text
from knowledge.markup import Entry, heading_of, sections_of

# Bold lines stand below every real heading, numbered ones above the others.
_BOLD_LEVEL = 10
_LONGEST_BOLD_HEADING = 60
_NUMBERED = (
    re.compile(r"第[一二三四五六七八九十百\d]+[章编篇部]|part\s|chapter\s", re.IGNORECASE),
    re.compile(r"第[一二三四五六七八九十百\d]+节|[一二三四五六七八九十]+、|[IVX]+\.\s"),
    re.compile(r"[（(][一二三四五六七八九十]+[）)]|\d+[.、．]?\s*[^\d.\s]"),
    re.compile(r"\d+\.\d+[.\s]*[^\d.]"),
    re.compile(r"\d+\.\d+\.\d+|[（(]\d+[）)]"),
)
_CONTAINERS = frozenset(("sdt", "sdtContent", "customXml", "smartTag", "ins", "moveTo", "Choice"))


@dataclass(frozen=True, slots=True)
class _Block:
    """A paragraph, list item or table, as text."""

    text: str
    kind: str = "text"
    level: int = 0
    is_title: bool = False
    is_centred: bool = False
    is_bold: bool = False


def read_docx(file: SourceFile) -> Iterator[Found]:
    """See `Reader`. Headers, footers, comments, hidden and deleted text are left out."""
    with open_package(file.path) as package:
        story = _Story(package)
        blocks = list(story.read())
        entries = _entries(blocks)
        facts = core_facts(package)
        core_title = facts.pop("title", "")
        title, entries = _find_title(blocks, entries)
        title = title or core_title
        facts |= story.pictures.facts()
        counts = Counter(story.counts)
        counts.update(story.pictures.counts)
    yield from whole_file(
        file,
        sections_of(entries, title),
        title=title,
        metadata=facts,
        counts={name: count for name, count in counts.items() if count},
    )


def _find_title(blocks: list[_Block], entries: list[Entry]) -> tuple[str, list[Entry]]:
    """The paragraph that is styled as the title, or a first heading that stands above all others.

    With it the entries, in which such a heading is the only one of level 1.
    """
    styled = next((block for block in blocks if block.is_title), None)
    if styled is not None:
        return heading_of(styled.text), entries
    first, *others = entries or [Entry(0, "", "")]
    if not first.level or any(entry.level <= first.level for entry in others):
        return "", entries
    return first.heading, [replace(first, level=1), *others]


def _entries(blocks: list[_Block]) -> list[Entry]:
    """The blocks under their headings; neighbouring list items are lines together."""
    entries: list[Entry] = []
    level, heading, text, before = 0, "", "", ""
    if len(blocks) > 1 and blocks[0].is_title:
        blocks = blocks[1:]
    for number, block in enumerate(blocks):
        below = blocks[number + 1] if number + 1 < len(blocks) else None
        found = _heading_level(block, below)
        if found:
            entries.append(Entry(level, heading, text))
            level, heading, text, before = found, heading_of(block.text), "", ""
        else:
            together = block.kind == before == "list"
            text += ("\n" if together else "\n\n" if text else "") + block.text
            before = block.kind
    entries.append(Entry(level, heading, text))
    return [entry for entry in entries if entry.level or entry.text]


def _heading_level(block: _Block, below: _Block | None) -> int:
    """The level of a heading; of a short bold line above other text, too."""
    if block.level or block.is_title:
        return block.level or 1
    if not block.is_bold or block.kind == "table" or below is None:
        return 0
    short = len(block.text) <= _LONGEST_BOLD_HEADING and "\n" not in block.text
    if not short or block.text.endswith(tuple("。；;，,.!！")) or "](" in block.text:
        return 0
    numbered = next((n for n, mark in enumerate(_NUMBERED) if mark.match(block.text)), None)
    if numbered is None:
        # A list whose items are all bold is a list; so is a text that is bold throughout.
        is_heading = block.kind == "text" and (not below.is_bold or block.is_centred)
        return (_BOLD_LEVEL if block.is_centred else _BOLD_LEVEL + 9) if is_heading else 0
    return _BOLD_LEVEL + 1 + numbered


class _Story:
    """The body of a document, block by block."""

    def __init__(self, package: zipfile.ZipFile) -> None:
        self.counts: Counter[str] = Counter()
        self.pictures = PictureReader()
        self._package = package
        main = next(
            (
                relation.target
                for relation in read_relations(package, "").values()
                if relation.kind == "officeDocument"
            ),
            "word/document.xml",
        )
        self._main = main
        self._relations = read_relations(package, main)
        self._styles = Styles(self._part("styles"))
        self._numbering = Numbering(self._part("numbering"))
        self._paragraphs = ParagraphReader(self._relations, self.counts)
        self._notes = {
            (kind, attribute(note, "id")): note
            for kind in ("footnote", "endnote")
            for note in elements(self._part(kind + "s"))
        }
        self._noted = 0

    def read(self) -> Iterator[_Block]:
        """Its blocks.

        Raises:
            FileFault: It is damaged.
        """
        root = load(self._package, self._main)
        body = child(root, "body")
        if body is None:
            raise damaged(self._main)
        yield from self._blocks(body)
        self._count_left_out()

    def _part(self, kind: str) -> Any:
        """The XML of the part that stands in this relation to the body, if there is one."""
        targets = [one.target for one in self._relations.values() if one.kind == kind]
        try:
            return load(self._package, targets[0]) if targets else None
        except FileFault:
            # The text can be read without it.
            self.counts[f"damaged parts ({kind})"] += 1
            return None

    def _count_left_out(self) -> None:
        self.counts["comments left out"] += len(list(elements(self._part("comments"))))
        for relation in self._relations.values():
            if relation.kind in ("header", "footer"):
                part = load(self._package, relation.target)
                text = part is not None and any((t.text or "").strip() for t in part.iter())
                self.counts["headers and footers left out"] += bool(text)

    def _blocks(self, container: Any) -> Iterator[_Block]:
        for element in container:
            name = local(element)
            if name == "p":
                yield from self._paragraph(element)
            elif name == "tbl":
                yield from self._table(element)
            elif name == "AlternateContent" or name in _CONTAINERS:
                chosen = child(element, "Choice")
                yield from self._blocks(element if chosen is None else chosen)

    def _paragraph(self, element: Any) -> Iterator[_Block]:
        look = self._styles.look(element)
        if look.is_contents:
            self.counts["lines of tables of contents left out"] += 1
            return
        found = self._paragraphs.read(element, bold=look.is_bold)
        text, notes = self._number_notes(found)
        if text:
            yield self._labelled(element, look, text, found)
        for box in found.boxes:
            yield from self._blocks(box)
        yield from self._notes_of(notes)
        yield from self._hanging(found)

    def _number_notes(self, found: Inline) -> tuple[str, list[tuple[int, Any]]]:
        """The text with the numbers of its notes, and the notes."""
        text = found.text
        notes = []
        for key in found.notes:
            self._noted += 1
            text = text.replace(NOTE_MARK, f"[{self._noted}]", 1)
            notes.append((self._noted, self._notes.get(key)))
        return text, notes

    def _notes_of(self, notes: Iterable[tuple[int, Any]]) -> Iterator[_Block]:
        for number, note in notes:
            if note is not None:
                text = " ".join(block.text for block in self._blocks(note))
                yield _Block(f"[{number}] {text}")

    def _labelled(self, element: Any, look: Look, text: str, found: Inline) -> _Block:
        """A paragraph behind the number of its list."""
        label = self._numbering.label(look.place) if look.place else ""
        heading = bool(look.level or look.is_title)
        if heading and label == "-":
            label = ""
        if label:
            # "一、" and "（一）" are followed by no space.
            text = label + ("" if label[-1] in "、）．" else " ") + text
        kind = "text"
        if look.place and not heading:
            kind = "list"
            indent = "  " * look.place.depth
            text = indent + text.replace("\n", "\n  " + indent)
        return _Block(
            text=text,
            kind=kind,
            level=look.level,
            is_title=look.is_title,
            is_centred=attribute(child(element, "pPr", "jc"), "val") == "center",
            is_bold=found.is_bold,
        )

    def _hanging(self, found: Inline) -> Iterator[_Block]:
        """What pictures and diagrams in a paragraph say."""
        for relation_id in found.pictures:
            relation = self._relations.get(relation_id)
            if relation is None or relation.external:
                continue
            try:
                content = self._package.read(relation.target)
            except KeyError:
                continue
            if text := self.pictures.read(content):
                yield _Block(text)
        for relation_id in found.diagrams:
            relation = self._relations.get(relation_id)
            if relation and (text := diagram_text(self._package, relation.target)):
                yield _Block(text, kind="list")

    # Tables

    def _table(self, table: Any) -> Iterator[_Block]:
        rows, header_rows = _rows(table)
        if all(len(row) <= 1 for row in rows):
            # A frame around text, not a table.
            for cell in (cell for row in rows for cell in row if cell is not None):
                yield from self._blocks(cell)
            return
        grid = fill_spans([self._cells(row) for row in _without_continued(rows)])
        captions, grid_rows = split_caption(grid)
        for caption in captions:
            yield _Block(caption)
        header_rows = max(header_rows - (len(grid) - len(grid_rows)), 1)
        if text := table_text(grid_rows, header_rows=header_rows):
            yield _Block(text, kind="table")

    def _cells(self, row: list[tuple[Any, int, int]]) -> list[Cell]:
        return [Cell(self._cell_text(cell), across, down) for cell, across, down in row]

    def _cell_text(self, cell: Any) -> str:
        return "" if cell is None else " ".join(self._flat_blocks(cell))

    def _flat_blocks(self, cell: Any) -> Iterator[str]:
        """The texts in a cell; a table in it is one line: "a, b; c, d"."""
        for element in cell:
            if local(element) == "tbl":
                rows, _ = _rows(element)
                grid = fill_spans([self._cells(row) for row in _without_continued(rows)])
                yield "; ".join(", ".join(filter(None, row)) for row in grid if any(row))
            elif local(element) in _CONTAINERS:
                yield from self._flat_blocks(element)
            elif local(element) == "p":
                yield from (block.text.strip() for block in self._paragraph(element))


def _rows(table: Any) -> tuple[list[list[Any]], int]:
    """The cells of each row that is not deleted, and how many rows are the header."""
    rows: list[list[Any]] = []
    header_rows = 0
    for row in _inside(table, "tr"):
        properties = child(row, "trPr")
        if child(properties, "del") is not None:
            continue
        header_rows += is_on(properties, "tblHeader") and header_rows == len(rows)
        before = attribute(child(properties, "gridBefore"), "val")
        missing = [None] * int(before) if before.isdecimal() and len(before) < 3 else []
        rows.append([*missing, *_inside(row, "tc")])
    return rows, header_rows


def _inside(element: Any, name: str) -> Iterator[Any]:
    """The rows of a table or the cells of a row, in content controls too."""
    for inner in element:
        if local(inner) == name:
            yield inner
        elif local(inner) in _CONTAINERS:
            yield from _inside(inner, name)


def _without_continued(rows: list[list[Any]]) -> list[list[tuple[Any, int, int]]]:
    """For each row the cells that begin there, with the columns and rows that each covers.

    A cell that is None stands for the width that a row begins further in.
    """
    result: list[list[tuple[Any, int, int]]] = []
    #: For each column of the row above where the merged cell begins: row and place in the row.
    open_merges: dict[int, tuple[int, int]] = {}
    for row in rows:
        placed: list[tuple[Any, int, int]] = []
        merges: dict[int, tuple[int, int]] = {}
        column = 0
        for cell in row:
            properties = child(cell, "tcPr")
            span = attribute(child(properties, "gridSpan"), "val")
            across = int(span) if span.isdecimal() and len(span) < 4 else 1
            merge = child(properties, "vMerge")
            above = open_merges.get(column)
            if merge is not None and attribute(merge, "val") != "restart" and above is not None:
                merges[column] = above
                first, place = above
                begun, wide, down = result[first][place]
                result[first][place] = (begun, wide, down + 1)
            else:
                if merge is not None:
                    merges[column] = (len(result), len(placed))
                placed.append((cell, across, 1))
            column += across
        open_merges = merges
        result.append(placed)
    return result
