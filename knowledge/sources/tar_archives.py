"""Tar files, plain or packed by gzip, bzip2 or xz; read as a stream, so that a limit ends it."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from knowledge.sources.entries import Entry, Unpackable, Unpacking, decode_names, is_hidden

_MOST_STREAM_BYTES = 4 * 1024**3
_MOST_HEADER_BYTES = 1024**2
_LONG_HEADERS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip


def unpack_tar(path: Path, unpacking: Unpacking) -> Iterator[Entry]:
    """Unpack a tar file; what is neither file nor folder is named.

    Raises:
        Unpackable: It breaks a limit.
        OSError: It cannot be read.
        tarfile.TarError, EOFError: It is damaged.
    """
    try:
        with _open(path) as packed:
            stream = cast(IO[bytes], _Bounded(packed))
            # "r|": nothing is sought, so nothing is read twice.
            with tarfile.open(
                fileobj=stream, mode="r|", bufsize=1 << 16, tarinfo=_Member
            ) as archive:
                for member in archive:
                    unpacking.count()
                    yield from _unpack(archive, member, unpacking)
    except lzma.LZMAError as error:
        raise EOFError(str(error)) from error


def _unpack(
    archive: tarfile.TarFile, member: tarfile.TarInfo, unpacking: Unpacking
) -> Iterator[Entry]:
    raw = member.name.encode("utf-8", "surrogateescape")
    name = decode_names([raw], "latin-1")[0]
    if member.isdir() or is_hidden(name):
        return
    source = archive.extractfile(member) if member.isreg() else None
    if source is None:
        yield Entry(name, fault="a link" if member.issym() or member.islnk() else "no file")
    else:
        yield unpacking.write(name, source)


def _open(path: Path) -> IO[bytes]:
    if path.name.lower().endswith((".gz", ".tgz")):
        return cast(IO[bytes], gzip.open(path))
    if path.name.lower().endswith(".bz2"):
        return cast(IO[bytes], bz2.open(path))
    if path.name.lower().endswith(".xz"):
        return cast(IO[bytes], lzma.open(path))
    return path.open("rb")


class _Member(tarfile.TarInfo):
    """tarfile reads a header of any length into memory."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _LONG_HEADERS and self.size > _MOST_HEADER_BYTES:
            raise Unpackable("has a header that is too long")
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return member


class _Bounded:
    """Counts what is read: tarfile skips what it does not give, and that costs as much."""

    def __init__(self, inner: IO[bytes]) -> None:
        self._inner = inner
        self._left = _MOST_STREAM_BYTES

    def read(self, size: int) -> bytes:
        block = self._inner.read(size)
        self._left -= len(block)
        if self._left < 0:
            raise Unpackable(f"unpacks to more than {_MOST_STREAM_BYTES // 1024**3} GB")
        return block
