"""Cuts a document into the pieces that are embedded and searched."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from knowledge.documents import Chunk, Document, Section
from knowledge.sentences import (
    CJK,
    is_table_row,
    split_clauses,
    split_lines,
    split_paragraphs,
    split_sentences,
    split_words,
)

#: A chunk of a long text comes near this size and never passes MAX_UNITS. One unit is one Chinese
#: character. Measured with XLM-R's tokenizer on SQuAD, CMRC, XQuAD, CAsT and KdConv passages, a
#: unit is 0.7 tokens in both languages, 0.85 at worst: MAX_UNITS are the 512 that the model reads.
TARGET_UNITS = 400
MAX_UNITS = 600
#: Neighbouring sections smaller than this share a chunk; a remainder joins the chunk before it.
TINY_UNITS = 80
#: A first page with less than this is a cover.
COVER_UNITS = 20

_WORD_UNITS = 1.8
_SYMBOL_UNITS = 1.6
# A long word is several tokens, and a key or a URL has no end of them.
_WORD_PART_CHARS = 10
_TOKEN = re.compile(rf"([{CJK}])|([^\W_{CJK}]{{1,{_WORD_PART_CHARS}}})|\S")
_PATH_SEPARATOR = " › "
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
# A cell up to the bar behind it, which is not escaped, and the bar before the first one.
_CELL = re.compile(r"\|?(?:[^|\\]|\\.)*(?:\|\s*|\Z|\\\Z)", re.DOTALL)


def cut(document: Document) -> tuple[Chunk, ...]:
    """Cut a document into chunks, in its order, of at most MAX_UNITS; the same each time.

    An FAQ entry gives its question and each distinct variant, uncut. Of a document nothing is
    lost: a section that fits is one chunk; a longer one is cut between paragraphs, list items or
    table rows, else sentences, else clauses; tiny neighbours under one heading are one chunk under
    that heading and keep their own headings in its text. Only this is repeated: the header of a
    table in each further chunk of it, and in those that go on inside a row its first cell.
    """
    if document.kind == "faq":
        return _cut_faq(document)
    chunks: list[Chunk] = []
    for group in _group(_without_cover(document.sections)):
        if len(group) > 1:
            text = _text_with_headings(group)
            chunks.append(Chunk(_parent(group[0].heading), text, group[0].page))
        else:
            chunks.extend(_cut_section(group[0]))
    return tuple(chunks)


def _without_cover(sections: Sequence[Section]) -> Sequence[Section]:
    """What a cover says is put before what follows: alone it would only seem to answer."""
    if len(sections) < 2 or sections[0].page != 1 or measure(sections[0].text) >= COVER_UNITS:
        return sections
    cover, first, *rest = sections
    said = (cover.heading.rpartition(_PATH_SEPARATOR)[2], cover.text.strip())
    text = "\n".join(part for part in said if part)
    return [replace(first, text=f"{text}\n\n{first.text}"), *rest]


def measure(text: str) -> float:
    """The size of a text in units: characters in Chinese, about half the words in English."""
    units = 0.0
    for match in _TOKEN.finditer(text):
        if match.lastindex == 1:
            units += 1
        else:
            units += _WORD_UNITS if match.lastindex == 2 else _SYMBOL_UNITS
    return units


def _cut_faq(entry: Document) -> tuple[Chunk, ...]:
    distinct = {
        " ".join(text.casefold().split()): text.strip()
        for text in reversed((entry.question, *entry.variants))
        if text.strip()
    }
    return tuple(Chunk("", text) for text in reversed(distinct.values()))


def _group(sections: Sequence[Section]) -> Iterator[list[Section]]:
    """The sections in order, tiny neighbours of one parent together."""
    group: list[Section] = []
    size = 0.0
    for section in sections:
        if not section.text.strip():
            continue
        units = _units_if_tiny(section)
        if group and size + units <= TARGET_UNITS and _are_siblings(group[-1], section):
            group.append(section)
            size += units
            continue
        if group:
            yield group
        group, size = [section], units
    if group:
        yield group


def _units_if_tiny(section: Section) -> float:
    """The size with its heading of a section that may share a chunk, else infinity."""
    # A heading that is a question makes its section an answer of its own.
    if not section.heading or section.heading.endswith(("?", "？")):
        return math.inf
    # Most sections are long: no need to measure those to the end.
    if len(section.text) > TINY_UNITS * _WORD_PART_CHARS or measure(section.text) >= TINY_UNITS:
        return math.inf
    return measure(_text_with_headings([section]))


def _are_siblings(one: Section, other: Section) -> bool:
    return _parent(one.heading) == _parent(other.heading)


def _parent(heading: str) -> str:
    return heading.rpartition(_PATH_SEPARATOR)[0]


def _text_with_headings(sections: Iterable[Section]) -> str:
    return "\n\n".join(
        f"{section.heading.rpartition(_PATH_SEPARATOR)[2]}\n{section.text.strip()}"
        for section in sections
    )


def _cut_section(section: Section) -> Iterator[Chunk]:
    for text in _pack(_pieces(section.text.strip(), 0)):
        yield Chunk(section.heading, text, section.page)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of text, and what a chunk that begins with it says above it."""

    text: str
    units: float
    above: str = ""


def _pieces(text: str, level: int, most: float = MAX_UNITS) -> Iterator[_Piece]:
    """The text in pieces of at most `most` units, parted as coarsely as can be."""
    units = measure(text)
    if units <= most:
        yield _Piece(text, units)
        return
    if level == _SPLITTERS.index(split_lines):
        for part, rows in _split_tables(text):
            for inner in split_lines(part):
                yield from _pieces(inner, level + 1, most)
            yield from _table_pieces(rows)
        return
    for part in _SPLITTERS[level](text):
        yield from _pieces(part, level + 1, most)


def _split_tables(text: str) -> Iterator[tuple[str, list[str]]]:
    """The text in turns: what is no table, then the lines of a CommonMark table."""
    lines = _LINE.findall(text)
    start = number = 0
    while number < len(lines):
        if not _begins_table(lines, number):
            number += 1
            continue
        end = number + 2
        while end < len(lines) and is_table_row(lines[end]):
            end += 1
        yield "".join(lines[start:number]), lines[number:end]
        start = number = end
    yield "".join(lines[start:]), []


def _begins_table(lines: Sequence[str], number: int) -> bool:
    rule = lines[number + 1].strip() if number + 1 < len(lines) else ""
    return set(rule) <= set("|:- \t") and "-" in rule and "|" in rule and "|" in lines[number]


def _table_pieces(rows: Sequence[str]) -> Iterator[_Piece]:
    """The rows of a table, each whole where it fits below the header."""
    if not rows:
        return
    head, rule, *body = rows
    headers = [header for header in (head + rule, head) if measure(header) <= MAX_UNITS / 2]
    above = headers[0] if headers else ""
    if not body or measure(above + body[0]) > MAX_UNITS or not above:
        yield from _pieces(head + rule, _SPLITTERS.index(split_clauses))
    else:
        first = above + body.pop(0)
        yield _Piece(first, measure(first))
    for row in body:
        units = measure(row)
        room = MAX_UNITS - units
        if fitting := [header for header in headers if measure(header) <= room]:
            yield _Piece(row, units, fitting[0])
        elif headers or units > MAX_UNITS:
            small = [header for header in headers if measure(header) <= TARGET_UNITS / 2]
            yield from _row_pieces(row, (small or headers[-1:] or [""])[0])
        else:
            yield _Piece(row, units)


def _row_pieces(row: str, above: str) -> Iterator[_Piece]:
    """A row that is too long, between its cells, and inside those that are too long themselves."""
    cells = _CELL.findall(row)
    key = next((cell.strip("| \t\n") for cell in cells if cell.strip("| \t\n")), "")
    again = f"{above}| {key} | … " if measure(key) <= TINY_UNITS / 2 else above
    room = MAX_UNITS - measure(again)
    first = True
    for cell in cells:
        bar = cell[len(cell.rstrip("| \t\n")) :]
        words = cell[: len(cell) - len(bar)]
        parts = list(_pieces(words, _SPLITTERS.index(split_sentences), room - measure(bar)))
        for number, part in enumerate(parts, start=1):
            text = part.text + (bar if number == len(parts) else "")
            yield _Piece(text, measure(text), above if first else again)
            first = False


def _split_hard(text: str) -> list[str]:
    tokens = [match.end() for match in _TOKEN.finditer(text)]
    # No token is more than two units, so these parts fit beside the header of a table.
    step = TARGET_UNITS // 3
    bounds = [0, *tokens[step - 1 : -1 : step], len(text)]
    return [text[start:end] for start, end in pairwise(bounds)]


_SPLITTERS: tuple[Callable[[str], list[str]], ...] = (
    split_paragraphs,
    split_lines,
    split_sentences,
    split_clauses,
    split_words,
    _split_hard,
)


def _pack(pieces: Iterable[_Piece]) -> list[str]:
    """Join neighbouring pieces to texts near TARGET_UNITS, none over MAX_UNITS or empty."""
    packs: list[list[_Piece]] = []
    sizes: list[float] = []
    for piece in pieces:
        if packs and _takes(sizes[-1], piece.units):
            packs[-1].append(piece)
            sizes[-1] += piece.units
        else:
            packs.append([piece])
            sizes.append(piece.units + measure(piece.above))
    if len(packs) > 1:
        rest = sum(piece.units for piece in packs[-1])
        if rest < TINY_UNITS and sizes[-2] + rest <= MAX_UNITS:
            packs[-2].extend(packs.pop())
    joined = ((pack[0].above + "".join(piece.text for piece in pack)).strip() for pack in packs)
    return [text for text in joined if text]


def _takes(size: float, units: float) -> bool:
    if size < TARGET_UNITS / 2:
        return size + units <= MAX_UNITS
    return size + units <= TARGET_UNITS
