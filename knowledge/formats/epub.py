"""EPUB books: the chapters in the order of the spine.

Format: EPUB 3.3 (W3C); EbookLib is AGPL.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from knowledge.cleaning import clean
from knowledge.documents import SourceFile
from knowledge.formats.contract import FileFault, Found, whole_file
from knowledge.formats.html import read_chapter
from knowledge.formats.office import attribute, child, elements, load, local
from knowledge.formats.packages import damaged, open_package
from knowledge.front_matter import FACTS, name_facts
from knowledge.markup import Entry, sections_of

_CHAPTER_TYPES = ("application/xhtml+xml", "text/html")
# Fonts are often garbled in books that anybody may read.
_FONT = re.compile(r"\.(?:otf|ttf|woff2?)$", re.IGNORECASE)


def read_epub(file: SourceFile) -> Iterator[Found]:
    """See `Reader`. Navigation, and what the spine marks as no part of the text, is left out."""
    counts: Counter[str] = Counter()
    entries: list[Entry] = []
    with open_package(file.path) as package:
        _refuse_encrypted(package)
        folder, book = _open_book(package)
        for member in _spine(folder, book):
            entries.extend(_chapter(package, member, counts))
    facts = _facts(book)
    title = facts.pop("title", "")
    yield from whole_file(
        file, sections_of(entries, title), title=title, metadata=facts, counts=counts
    )


def _refuse_encrypted(package: zipfile.ZipFile) -> None:
    listing = load(package, "META-INF/encryption.xml")
    if listing is None:
        return
    for element in listing.iter():
        if local(element) == "CipherReference" and not _FONT.search(attribute(element, "URI")):
            raise FileFault("protected by its shop (DRM): ask for a copy without")


def _open_book(package: zipfile.ZipFile) -> tuple[str, Any]:
    """The folder of the book in its package, and the description of the book."""
    container = load(package, "META-INF/container.xml")
    path = attribute(child(container, "rootfiles", "rootfile"), "full-path")
    book = load(package, path)
    if book is None:
        raise damaged(path or "META-INF/container.xml")
    return posixpath.dirname(path), book


def _spine(folder: str, book: Any) -> Iterator[str]:
    items = {attribute(item, "id"): item for item in elements(child(book, "manifest"))}
    seen: set[str] = set()
    for reference in elements(child(book, "spine")):
        item_id = attribute(reference, "idref")
        item = items.get(item_id)
        is_read = item_id in seen or attribute(reference, "linear") == "no"
        if item is None or is_read or "nav" in attribute(item, "properties").split():
            continue
        seen.add(item_id)
        if attribute(item, "media-type") in _CHAPTER_TYPES:
            path = posixpath.join(folder, unquote(attribute(item, "href")))
            yield posixpath.normpath(path)


def _chapter(package: zipfile.ZipFile, member: str, counts: Counter[str]) -> list[Entry]:
    try:
        entries = read_chapter(clean(package.read(member).decode("utf-8-sig")))
    except (KeyError, UnicodeDecodeError, FileFault):
        counts["chapters that cannot be read"] += 1
        return []
    counts["chapters"] += bool(entries)
    return entries


def _facts(book: Any) -> dict[str, str]:
    values: dict[str, object] = {}
    for element in elements(child(book, "metadata")):
        name = attribute(element, "property") or local(element)
        values.setdefault(name.rpartition(":")[2], "".join(element.itertext()))
    return {name: fact for name, fact in name_facts(values).items() if name in FACTS}
