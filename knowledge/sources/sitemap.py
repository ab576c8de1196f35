"""Sitemaps (https://www.sitemaps.org/protocol.html): lists of pages, and lists of such lists."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Literal
from xml.parsers import expat

from knowledge.sources.http import MOST_BYTES

_GZIP = b"\x1f\x8b"
_BEGIN_BYTES = 4096
_BLOCK_BYTES = 1 << 16

Kind = Literal["urlset", "sitemapindex"]
_KINDS: Mapping[str, Kind] = {"urlset": "urlset", "sitemapindex": "sitemapindex"}


def sitemap_kind(path: Path) -> Kind | None:
    """What kind of sitemap a file is, by its first element; None: it is something else.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        begin = file.read(_BEGIN_BYTES)
    if begin.startswith(_GZIP):
        with suppress(zlib.error):
            begin = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(begin, _BEGIN_BYTES)
    if not begin.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return None
    with suppress(SitemapDamaged):
        for name, _ in _elements(iter([begin])):
            return _KINDS.get(name.rpartition("}")[2])
    return None


def read_sitemap(path: Path) -> Iterator[str]:
    """The addresses of a sitemap, as written, in order; of a damaged one those before the damage.

    Raises:
        SitemapDamaged: After them.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        elements = _elements(_blocks(file))
        root, _ = next(elements, ("", ""))
        space, brace, _ = root.rpartition("}")
        for name, text in elements:
            # Pictures and videos have a loc too, in namespaces of their own.
            if name == f"/{space}{brace}loc" and text:
                yield text


class SitemapDamaged(ValueError):
    """A sitemap breaks off, or is none from some place on."""


def _elements(blocks: Iterator[bytes]) -> Iterator[tuple[str, str]]:
    """Names of elements as they begin, with "/" and their text as they end: "namespace}name".

    Raises:
        SitemapDamaged: From here on it is no XML, or it brings definitions of its own.
    """
    parser = expat.ParserCreate(namespace_separator="}")
    found: list[tuple[str, str]] = []
    text: list[str] = []

    def begin(name: str, _: object) -> None:
        text.clear()
        found.append((name, ""))

    def end(name: str) -> None:
        found.append(("/" + name, "".join(text).strip()))
        text.clear()

    def refuse(*_: object) -> None:
        # With entities a kilobyte becomes a gigabyte.
        raise SitemapDamaged("the sitemap has a DOCTYPE")

    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        for block in blocks:
            parser.Parse(block, False)
            yield from found
            found.clear()
        parser.Parse(b"", True)
    except (expat.ExpatError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield from found
        raise SitemapDamaged(f"the sitemap is damaged ({error})") from error


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    """The file, unpacked, no more of it than a page may have."""
    packed = file.read(len(_GZIP)) == _GZIP
    file.seek(0)
    stream = gzip.GzipFile(fileobj=file) if packed else file
    left = MOST_BYTES
    while block := stream.read(_BLOCK_BYTES):
        left -= len(block)
        if left < 0:
            raise EOFError(f"larger than {MOST_BYTES // 1024**2} MB")
        yield block
