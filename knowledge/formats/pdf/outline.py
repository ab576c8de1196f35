"""Makes titles and sections of the blocks of all pages: headings, sentences over page ends."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from knowledge.documents import Section
from knowledge.formats.pdf.columns import CAPTION, count_header_rows
from knowledge.formats.pdf.grids import Table, is_value
from knowledge.formats.pdf.layout import Block
from knowledge.formats.pdf.lines import join
from knowledge.formats.tables import split_caption, table_text
from knowledge.sentences import split_sentences

_SEPARATOR = " › "
_LONGEST_HEADING = 120
_MOST_HEADING_LINES = 3
# Larger than the text by this, a line is a heading.
_LARGER = 1.12
_MOST_BOLD_SHARE = 0.3
_MOST_LEVELS = 6
_MOST_CAPTIONS = 2
# A heading larger than the first one by this is the title rather.
_MUCH_LARGER = 1.3
_ENDS_SENTENCE = tuple("。；;，,、！!：:.")
_SENTENCE_END = re.compile(r"[。.!?！？:：;；…][\"'”’」』）)\]】》]*(?:\[[\d, –-]+\])?$")
# Numberings from the outermost in.
_NUMBERINGS = (
    re.compile(r"第[\s一二三四五六七八九十百零\d]+[编篇部卷]"),
    re.compile(r"第[\s一二三四五六七八九十百零\d]+章|chapter\s+\w+|part\s+[\divxIVX]+", re.I),
    re.compile(r"第[\s一二三四五六七八九十百零\d]+节|section\s+\d", re.I),
    re.compile(r"[一二三四五六七八九十]{1,3}[、．.]|appendix\s+\w", re.I),
    re.compile(r"[（(][一二三四五六七八九十]{1,3}[)）]"),
    re.compile(r"\d{1,2}(?:\.|、|．)?\s*(?=[^\d\s.、．%])"),
    re.compile(r"\d{1,2}\.\d{1,2}\.?(?=[\s\u3400-\u9fff])"),
    re.compile(r"\d{1,2}(?:\.\d{1,2}){2,}\.?(?=[\s\u3400-\u9fff])"),
)
_STRONG = 3
_LAST = len(_NUMBERINGS)


@dataclass(slots=True)
class Outline:
    """What the pages of a file say."""

    sections: tuple[Section, ...]
    #: As the file names itself, else a heading of its first page; "" when there is none.
    title: str = ""


@dataclass(slots=True)
class _Part:
    """What stands under one heading on one page."""

    path: tuple[tuple[int, str], ...]
    page: int
    blocks: list[Block] = field(default_factory=list)


def make_outline(blocks: Sequence[Block], title: str = "") -> Outline:
    """The sections under their headings, none of which goes over the end of a page.

    `title` is what the file names itself; a heading that says the same stands in no path.
    """
    blocks = _join_over_pages(blocks)
    _join_tables(blocks)
    levels = _levels(blocks)
    title = title or _title(blocks, levels)
    sections: list[Section] = []
    part = _Part((), blocks[0].page if blocks else 1)
    for number, block in enumerate(blocks):
        level = levels.get(number)
        if level is None:
            if block.page != part.page:
                sections.extend(_close(part, title, last=False))
                part = _Part(part.path, block.page)
            part.blocks.append(block)
            continue
        deeper = bool(part.path) and part.path[-1][0] < level
        sections.extend(_close(part, title, last=not deeper))
        heading = " ".join(block.text.split()).replace("›", ">")
        path = tuple(above for above in part.path if above[0] < level)
        part = _Part((*path, (level, heading)), block.page)
    sections.extend(_close(part, title, last=True))
    return Outline(tuple(sections), title)


def _title(blocks: Sequence[Block], levels: Mapping[int, int]) -> str:
    """The first heading of the first page, or one there that is much larger."""
    headings = [blocks[number] for number in levels if blocks[number].page == blocks[0].page]
    if not headings:
        return ""
    largest = max(headings, key=_size)
    larger = _size(largest) > _MUCH_LARGER * _size(headings[0])
    return " ".join((largest if larger else headings[0]).text.split())


def _close(part: _Part, title: str, *, last: bool) -> Iterator[Section]:
    """The section of a part; a heading under which nothing stands is what is said there."""
    text = _text(part.blocks)
    if not text and last and part.path:
        text = part.path[-1][1]
    if text:
        path = [heading for _, heading in part.path]
        if path and path[0] == title:
            del path[0]
        yield Section(_SEPARATOR.join(path), text, part.page)


def _text(blocks: Sequence[Block]) -> str:
    text = ""
    before = ""
    for block in blocks:
        part = _table(block.table) if block.table else block.text
        if part:
            together = before == block.kind == "item"
            text += ("\n" if together else "\n\n") + part if text else part
            before = block.kind
    return text


def _table(table: Table) -> str:
    captions, rows = split_caption(table.rows)
    if len(captions) > _MOST_CAPTIONS:
        captions, rows = [], table.rows
    header = table.header_rows if not captions else count_header_rows(rows)
    text = table_text(rows, header_rows=header)
    return "\n\n".join([*captions, text]) if text else ""


# Headings


def _levels(blocks: Sequence[Block]) -> dict[int, int]:
    """The blocks that are headings, by their number, and how deep they stand, from 1."""
    sizes: Counter[float] = Counter()
    bold = 0
    for block in blocks:
        sizes[_size(block)] += len(block.text)
        bold += len(block.text) * block.bold
    body = sizes.most_common(1)[0][0] if sizes else 0.0
    bold_tells = bold < _MOST_BOLD_SHARE * max(1, sizes.total())
    styles: dict[int, tuple[float, int, bool]] = {}
    for number, block in enumerate(blocks):
        if _may_be_heading(block) and _stands_out(block, body, bold_tells):
            styles[number] = (-max(_size(block), body), _numbering(block.text), not block.bold)
    ranks = {style: rank for rank, style in enumerate(sorted(set(styles.values())), start=1)}
    levels = {number: min(ranks[style], _MOST_LEVELS) for number, style in styles.items()}
    return {
        number: level
        for number, level in levels.items()
        # A name or a date under a title is large as well, and nothing stands under it.
        if levels.get(number + 1, level + 1) > level or _numbering(blocks[number].text) < _LAST
    }


def _size(block: Block) -> float:
    return round(block.size * 2) / 2


def _numbering(text: str) -> int:
    return next(
        (depth for depth, pattern in enumerate(_NUMBERINGS) if pattern.match(text)),
        len(_NUMBERINGS),
    )


def _may_be_heading(block: Block) -> bool:
    text = block.text.removeprefix("- ")
    if block.kind == "table" or text != block.text or block.lines > _MOST_HEADING_LINES:
        return False
    if not 1 < len(text) <= _LONGEST_HEADING or text.endswith(_ENDS_SENTENCE):
        return False
    letters = sum(character.isalpha() for character in text)
    return letters * 2 >= len(text.replace(" ", "")) and not CAPTION.match(text)


def _stands_out(block: Block, body: float, bold_tells: bool) -> bool:
    depth = _numbering(block.text)
    if _size(block) > body * _LARGER:
        return True
    if block.bold and bold_tells and _size(block) >= body * 0.95:
        return block.kind == "text" or depth < _LAST
    # "第三章 总则" needs no larger letters.
    return depth < _STRONG and len(block.text) < 40 and block.lines == 1


# Over the end of a page


def _join_over_pages(blocks: Sequence[Block]) -> list[Block]:
    """Sentences over the end of a page stay where they began; columns go on in the next one."""
    result: list[Block] = []
    for block in blocks:
        above = result[-1] if result else None
        if above is not None and _is_next_column(above, block) and _goes_on(above, block):
            above.text = join(above.text, block.text)
            above.lines += block.lines
            continue
        if above is not None and above.page < block.page and _goes_on(above, block):
            head, rest = _first_sentence(block.text)
            above.text = join(above.text, head)
            if not rest:
                continue
            block = replace(block, text=rest)
        result.append(block)
    return result


def _is_next_column(above: Block, block: Block) -> bool:
    same = above.page == block.page
    return same and block.box.left > above.box.right and block.box.top < above.box.top


def _goes_on(above: Block, block: Block) -> bool:
    if above.kind == "table" or block.kind != "text" or _SENTENCE_END.search(above.text):
        return False
    if abs(above.size - block.size) > 0.08 * above.size or above.bold != block.bold:
        return False
    # A heading, or a line of an address, ends without a mark as well.
    long = above.lines > 1 or len(above.text) > 40
    return long and not CAPTION.match(block.text) and _numbering(block.text) >= _LAST


def _first_sentence(text: str) -> tuple[str, str]:
    sentences = split_sentences(text)
    return sentences[0].rstrip(), "".join(sentences[1:]).lstrip()


def _join_tables(blocks: Sequence[Block]) -> None:
    """Give a table that goes on over the end of a page its header on each page."""
    for above, block in pairwise(blocks):
        if above.table is None or block.table is None or above.page == block.page:
            continue
        if not _is_same_table(above.table, block.table):
            continue
        header = above.table.rows[: above.table.header_rows]
        rows = block.table.rows
        if rows[: len(header)] == header:
            rows = rows[len(header) :]
        _go_on_below(above.table.rows[-1], rows)
        block.table.rows = [*header, *rows]
        block.table.header_rows = above.table.header_rows


def _go_on_below(last: list[str], rows: Sequence[list[str]]) -> None:
    """A merged first cell that goes over the end of the page stands in the rows there as well."""
    for row in rows:
        if row[0] or not all(row[1:]):
            return
        row[0] = last[0]


def _is_same_table(above: Table, below: Table) -> bool:
    if len(above.columns) != len(below.columns):
        return False
    header = above.rows[: above.header_rows]
    near = all(
        abs(one - other) < 12 for one, other in zip(above.columns, below.columns, strict=True)
    )
    again = below.rows[: len(header)] == header
    return near and (again or not _has_header(below) or not _has_header(above))


def _has_header(table: Table) -> bool:
    """Whether the first row names columns: it has no number, and later ones have."""
    head, *rows = table.rows
    values = any(is_value(cell) for row in rows for cell in row)
    return values and sum(map(bool, head)) > 1 and not any(is_value(cell) for cell in head)
