"""Reads a PDF page after page: text layers, OCR where they fail, limits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knowledge.formats.contract import FileFault
from knowledge.formats.pdf import scans
from knowledge.formats.pdf.characters import (
    MOST_CHARS,
    Placing,
    join_vertical,
    place_words,
    read_characters,
)
from knowledge.formats.pdf.content import Content
from knowledge.formats.pdf.drawing import (
    MOST_OBJECTS,
    count_objects,
    read_drawing,
    read_fields,
    read_links,
)
from knowledge.formats.pdf.grids import Grid, find_grids
from knowledge.formats.pdf.health import is_broken
from knowledge.formats.pdf.layout import Block, read_layout
from knowledge.formats.pdf.lines import find_rows, hyphenated_words, line_text
from knowledge.formats.pdf.repeats import drop_repeated
from knowledge.formats.pdf.scans import Readings

#: The pages after these are left out.
MOST_PAGES = 2000

# So many pages are held at a time; what repeats is found among them.
_PAGES_TOGETHER = 120
_MOST_SHOWN = 8
# With fewer characters and an image over half of the page it is a scan.
_FEW_CHARS = 40
# A page without characters that draws as much may have its text as outlines.
_MANY_OBJECTS = 50
_LONGEST_FIELD_NAME = 80


@dataclass(slots=True)
class Extract:
    """What a file says, and what went wrong."""

    blocks: list[Block] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    #: One line each.
    faults: list[str] = field(default_factory=list)
    #: As the file names itself.
    title: str = ""
    #: Mean over the characters, 0 to 1; None when nothing was read by OCR.
    ocr_confidence: float | None = None


@dataclass(slots=True)
class _Progress:
    """What is told about pages once all are read."""

    readings: Readings = field(default_factory=Readings)
    damaged: list[int] = field(default_factory=list)
    crowded: list[int] = field(default_factory=list)
    unread: list[int] = field(default_factory=list)
    slanted: int = 0


def read_document(path: Path) -> Extract:
    """Read a file.

    Raises:
        FileFault: It needs a password, or is no PDF that can be opened.
    """
    document = _open(path)
    try:
        if document.get_formtype():
            document.init_forms()
        extract = Extract(title=str(document.get_metadata_value("Title")))
        total = len(document)
        if total > MOST_PAGES:
            extract.faults.append(f"has {total:,} pages, only the first {MOST_PAGES:,} are read")
        progress = _Progress()
        for pages in _windows(min(total, MOST_PAGES)):
            _read_pages(document, pages, extract, progress)
        _report(progress, extract)
        _name_attachments(document, extract)
        return extract
    finally:
        document.close()


def _open(path: Path) -> Any:
    import pypdfium2

    try:
        return pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise FileFault("needs a password: save a copy without one") from None
        if "security" in str(error).lower():
            raise FileFault("encrypted in a way that cannot be read") from None
        raise FileFault("damaged, or no PDF: open it and save it anew") from None


def _windows(total: int) -> Iterator[range]:
    """The page numbers, from 0, in stretches of nearly the same length."""
    count = -(-total // _PAGES_TOGETHER)
    for number in range(count):
        yield range(number * total // count, (number + 1) * total // count)


def _read_pages(document: Any, pages: range, extract: Extract, progress: _Progress) -> None:
    contents = [_read_page(document, index, progress) for index in pages]
    found = [content for content in contents if content is not None]
    _read_images(document, found, progress)
    grids = [find_grids(content.rulings) for content in found]
    kept = [[grid.box for grid in some if _is_large(grid)] for some in grids]
    dropped = drop_repeated(found, kept)
    extract.counts["repeated headers, footers and watermarks dropped"] += dropped
    known = hyphenated_words(
        line_text(segment.words)
        for content in found
        for row in find_rows(content.words)
        for segment in row
    )
    for content, of_page in zip(found, grids, strict=True):
        extract.blocks.extend(read_layout(content, of_page, known))


def _is_large(grid: Grid) -> bool:
    return len(grid.tops) > 2 and len(grid.lefts) > 1


def _read_page(document: Any, index: int, progress: _Progress) -> Content | None:
    import pypdfium2

    try:
        page = document[index]
    except pypdfium2.PdfiumError:
        progress.damaged.append(index + 1)
        return None
    try:
        if count_objects(page) > MOST_OBJECTS:
            progress.crowded.append(index + 1)
            return None
        content = _text_layer(document, page, index, progress)
        return content and _checked(page, content, progress)
    except pypdfium2.PdfiumError:
        progress.damaged.append(index + 1)
        return None
    finally:
        page.close()


def _text_layer(document: Any, page: Any, index: int, progress: _Progress) -> Content | None:
    text_page = page.get_textpage()
    try:
        characters = read_characters(text_page)
    finally:
        text_page.close()
    if characters.too_many:
        progress.crowded.append(index + 1)
        return None
    left, bottom, right, top = page.get_cropbox()
    turn = characters.turn(page.get_rotation())
    placing = Placing(left, top, right - left, top - bottom, turn)
    links = list(read_links(document, page, placing))
    words = list(place_words(characters, placing, links))
    progress.slanted += sum(word is None for word in words)
    rulings, images = read_drawing(page, placing)
    content = Content(
        index + 1,
        *placing.size,
        words=join_vertical([word for word in words if word is not None]),
        rulings=rulings,
        images=images,
        turn=turn,
        unmapped=characters.unmapped,
    )
    content.words.extend(read_fields(document.formenv, page, placing))
    return content


def _checked(page: Any, content: Content, progress: _Progress) -> Content:
    """The page, read by OCR if its text layer is missing or broken."""
    characters = sum(len(word.text) for word in content.words)
    scanned = characters < _FEW_CHARS and any(
        box.width * box.height > 0.5 * content.width * content.height for box in content.images
    )
    outlined = not characters and count_objects(page) >= _MANY_OBJECTS
    broken = is_broken(content.words, content.unmapped)
    if not (scanned or outlined or broken):
        return content
    read = scans.read_page(page, content, progress.readings)
    if read is not None:
        return read
    if broken:
        progress.unread.append(content.number)
        content.words = []
    return content


def _read_images(document: Any, contents: list[Content], progress: _Progress) -> None:
    skipped = scans.repeated_images(contents)
    for content in contents:
        if content.images and not content.recognised and content.words:
            page = document[content.number - 1]
            scans.read_images(page, content, progress.readings, skipped)
            page.close()


def _report(progress: _Progress, extract: Extract) -> None:
    readings = progress.readings
    extract.counts["pages read by OCR"] = readings.pages
    extract.counts["images read by OCR"] = readings.images
    extract.counts["slanted characters dropped"] = progress.slanted
    if readings.characters:
        extract.ocr_confidence = readings.confidence / readings.characters
    if progress.damaged:
        extract.faults.append(f"{_pages(progress.damaged)} cannot be read: damaged")
    if progress.crowded:
        limit = f"more than {MOST_OBJECTS:,} objects or {MOST_CHARS:,} characters"
        extract.faults.append(f"{_pages(progress.crowded)} left out: {limit}")
    if progress.unread:
        pages = _pages(progress.unread)
        extract.faults.append(f"{pages} left out: the text layer is broken and OCR read nothing")
    if readings.dropped:
        what = f"{readings.dropped} pages or images"
        extract.faults.append(f"{what} left out: OCR recognised them with hardly any confidence")
    if readings.refused:
        what = f"{readings.refused} pages or images left out"
        extract.faults.append(f"{what}: OCR reads {scans.MOST_READINGS} of a file, split it")


def _pages(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:_MOST_SHOWN])
    more = f" and {len(numbers) - _MOST_SHOWN} more" if len(numbers) > _MOST_SHOWN else ""
    return f"page{'s' if len(numbers) > 1 else ''} {shown}{more}"


def _name_attachments(document: Any, extract: Extract) -> None:
    names = [
        re.sub(r"[\x00-\x1f]", "?", document.get_attachment(index).get_name())[:_LONGEST_FIELD_NAME]
        for index in range(min(document.count_attachments(), _MOST_SHOWN))
    ]
    if names:
        extra = document.count_attachments() - len(names)
        more = f" and {extra} more" if extra else ""
        listed = ", ".join(names) + more
        extract.faults.append(f"attached files are not read, save them beside it: {listed}")
