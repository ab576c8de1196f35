"""Cuts a document into the pieces that are embedded and searched."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from knowledge.documents import Chunk, Document, Section
from knowledge.sentences import (
    CJK,
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

_WORD_UNITS = 1.8
_SYMBOL_UNITS = 1.6
# A long word is several tokens, and a key or a URL has no end of them.
_WORD_PART_CHARS = 10
_TOKEN = re.compile(rf"([{CJK}])|([^\W_{CJK}]{{1,{_WORD_PART_CHARS}}})|\S")
_PATH_SEPARATOR = " › "


def cut(document: Document) -> tuple[Chunk, ...]:
    """Cut a document into chunks, in its order, of at most MAX_UNITS; the same each time.

    An FAQ entry gives its question and each distinct variant, uncut. Of a document nothing is
    lost or repeated: a section that fits is one chunk; a longer one is cut between paragraphs,
    list items or table rows, else sentences, else clauses; tiny neighbours under one heading are
    one chunk under that heading and keep their own headings in its text.
    """
    if document.kind == "faq":
        return _cut_faq(document)
    chunks: list[Chunk] = []
    for group in _group(document.sections):
        if len(group) > 1:
            chunks.append(Chunk(_parent(group[0].heading), _text_with_headings(group)))
        else:
            chunks.extend(_cut_section(group[0]))
    return tuple(chunks)


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
        yield Chunk(section.heading, text)


def _pieces(text: str, level: int) -> Iterator[tuple[str, float]]:
    """The text in pieces of at most MAX_UNITS with their sizes, parted as coarsely as can be."""
    units = measure(text)
    if units <= MAX_UNITS:
        yield text, units
        return
    for part in _SPLITTERS[level](text):
        yield from _pieces(part, level + 1)


def _split_hard(text: str) -> list[str]:
    tokens = [match.end() for match in _TOKEN.finditer(text)]
    # No token is more than two units, so these parts stay below TARGET_UNITS.
    step = TARGET_UNITS // 2
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


def _pack(pieces: Iterable[tuple[str, float]]) -> list[str]:
    """Join neighbouring pieces to texts near TARGET_UNITS, none over MAX_UNITS or empty."""
    packs: list[list[str]] = []
    sizes: list[float] = []
    for text, units in pieces:
        if packs and _takes(sizes[-1], units):
            packs[-1].append(text)
            sizes[-1] += units
        else:
            packs.append([text])
            sizes.append(units)
    if len(packs) > 1 and sizes[-1] < TINY_UNITS and sizes[-2] + sizes[-1] <= MAX_UNITS:
        packs[-2].extend(packs.pop())
    joined = ("".join(texts).strip() for texts in packs)
    return [text for text in joined if text]


def _takes(size: float, units: float) -> bool:
    if size < TARGET_UNITS / 2:
        return size + units <= MAX_UNITS
    return size + units <= TARGET_UNITS
