"""Zip packages of XML, as Office and EPUB write them: opened only when they are sane."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from knowledge.documents import SourceFile
from knowledge.formats.contract import FileFault, Found

if TYPE_CHECKING:
    from lxml.etree import _Element

_MOST_MEMBERS = 20_000
_MOST_BYTES = 1 << 30
_MOST_MEMBER_BYTES = 1 << 29
# The text of a spreadsheet that repeats itself is packed a hundredfold; deflate ends at 1032.
_MOST_RATIO = 200
_RATIO_COUNTS_FROM = 64 << 20
_BLOCK_BYTES = 1 << 20
_HEAD_BYTES = 1024

_DOCTYPE = re.compile(rb"<\x00?!\x00?(?:D\x00?O\x00?C\x00?T\x00?Y\x00?P\x00?E|E\x00?N\x00?T)")
#: The first bytes of what is often saved under another ending, and what it is.
_HEADS = (
    (b"\xd0\xcf\x11\xe0", "an old binary Office file: open it and save it as {ending}"),
    (b"{\\rtf", "rich text: open it and save it as {ending}"),
    (b"%PDF", "a PDF: rename it to .pdf"),
    (b"MIME-Version", "a web page archive: open it and save it as {ending}"),
    (b"<?mso", "old Office XML: open it and save it as {ending}"),
)
#: A member by which a package of each ending is known.
_MAIN_MEMBERS = {
    ".docx": "word/",
    ".pptx": "ppt/",
    ".xlsx": "xl/",
    ".epub": "META-INF/container.xml",
    ".odt": "mimetype",
}
#: What a file in an old or foreign format is to be saved as.
SAVED_AS = {
    **dict.fromkeys((".doc", ".dot", ".wps", ".rtf", ".odt", ".pages"), ".docx"),
    **dict.fromkeys((".ppt", ".pps", ".dps", ".odp"), ".pptx"),
    **dict.fromkeys((".xls", ".xlsb", ".et", ".ods", ".numbers"), ".xlsx"),
    ".msg": ".eml",
    ".mobi": ".epub",
}
_ALSO = {".docm": ".docx", ".pptm": ".pptx", ".ppsx": ".pptx", ".xlsm": ".xlsx"}


@contextmanager
def open_package(path: Path) -> Iterator[zipfile.ZipFile]:
    """A package of the kind that its ending names, checked to its last byte.

    Raises:
        FileFault: It is something else, damaged, protected, or made to fill the memory.
        OSError: It cannot be read.
    """
    suffix = path.suffix.lower()
    ending = _ALSO.get(suffix, suffix)
    try:
        package = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeError):
        raise FileFault(_what_it_is(path, ending)) from None
    with package:
        _check_kind(package, ending)
        _check_size(package, path.stat().st_size)
        for member in package.infolist():
            _check_member(package, member, allow_doctype=ending == ".epub")
        yield package


def parse_xml(content: bytes, name: str) -> _Element:
    """The XML of a package's member; entities are left alone, nothing else is loaded.

    Raises:
        FileFault: It is not well-formed, or nested deeper than any program writes.
    """
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        return etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise damaged(name) from None


def damaged(name: str) -> FileFault:
    """The fault of a package one of whose members cannot be read."""
    shown = re.sub(r"[^\w./ -]", "?", name)[:80]
    return FileFault(f"damaged ({shown}): open it in its program and save it again")


def read_foreign(file: SourceFile) -> Iterator[Found]:
    """See `Reader`. Formats that only their own program reads well: says what to save them as.

    Raises:
        FileFault: Always.
    """
    suffix = file.path.suffix.lower()
    raise FileFault(f"{suffix} cannot be read: open it and save it as {SAVED_AS[suffix]}")
    yield


def _what_it_is(path: Path, ending: str) -> str:
    """Why a file that is no zip package cannot be read."""
    content = path.read_bytes()
    head = content[:_HEAD_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n")
    if "EncryptedPackage".encode("utf-16-le") in content:
        return "protected by a password: save it without one"
    for start, kind in _HEADS:
        if head.startswith(start):
            return f"not {ending} but {kind.format(ending=ending)}"
    if re.match(rb"(?i)<(!doctype html|html|head|body|table|meta|div)", head):
        return f"not {ending} but a web page: rename it to .html"
    if head.startswith(b"PK"):
        return "damaged or cut short: copy it again"
    return f"not a {ending} file, whatever its name says"


def _check_kind(package: zipfile.ZipFile, ending: str) -> None:
    names = package.namelist()
    if any(name.startswith(_MAIN_MEMBERS[ending]) for name in names):
        return
    for other, start in _MAIN_MEMBERS.items():
        if any(name.startswith(start) for name in names):
            raise FileFault(f"not {ending} but {other}: rename it")
    raise FileFault(f"a zip archive, but not a {ending} file")


def _check_size(package: zipfile.ZipFile, packed: int) -> None:
    members = package.infolist()
    size = sum(member.file_size for member in members)
    largest = max((member.file_size for member in members), default=0)
    # Members that overlap in the file add up to more than the file.
    overlap = sum(member.compress_size for member in members) > packed
    inflated = size > _RATIO_COUNTS_FROM and size > packed * _MOST_RATIO
    if len(members) > _MOST_MEMBERS:
        raise FileFault(f"has {len(members)} parts, more than {_MOST_MEMBERS}")
    if overlap or inflated or size > _MOST_BYTES or largest > _MOST_MEMBER_BYTES:
        raise FileFault(f"unpacks to {max(size >> 20, 1)} MB, as a zip bomb does")


def _check_member(
    package: zipfile.ZipFile, member: zipfile.ZipInfo, *, allow_doctype: bool
) -> None:
    """Read a member once in blocks: a declared size may lie, and XML may define entities."""
    if member.flag_bits & 0x1:
        raise FileFault("protected by a password: save it without one")
    is_xml = member.filename.lower().endswith((".xml", ".rels", ".vml"))
    tail = b""
    try:
        with package.open(member) as stream:
            while block := stream.read(_BLOCK_BYTES):
                if is_xml and not allow_doctype and _DOCTYPE.search(tail + block):
                    raise FileFault("its XML defines entities, which no Office program writes")
                tail = block[-32:]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError):
        raise damaged(member.filename) from None
