"""Which files of the sources are as the last load found them, and need not be read again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from kfbot.errors import DocumentUnreadable
from kfbot.store.knowledge_rows import FileRow
from knowledge import reading, vectors
from knowledge.cleaning import CleaningPolicy
from knowledge.documents import SourceFile
from knowledge.sources.contract import SourceUnreachable, is_address
from knowledge.sources.folders import find_local

#: A file changed so shortly before it is looked at may change again within the clock's tick.
_RACY_NS = 2 * 10**9


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file, and what is stored of it once it is loaded."""

    file: SourceFile
    row: FileRow
    #: It is to the letter what the last load noted.
    is_known: bool = False
    #: It has to be read.
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class Seen:
    """What the sources hold."""

    files: Sequence[SeenFile]
    #: Lines "name: reason" on what is no file at all.
    unreadable: tuple[str, ...] = ()
    #: What lies below these places cannot be reached now, and stays as it is.
    unreached: tuple[str, ...] = ()


def look(
    found: Iterable[SourceFile | DocumentUnreadable],
    known: Mapping[str, FileRow],
    *,
    policy: CleaningPolicy,
) -> Seen:
    """Look at files, and into those whose size or times differ from what is known. Blocks.

    Args:
        known: The files of the last load, by path.
        policy: How documents are cleaned; under another one all are read again.
    """
    files: list[SeenFile] = []
    unreadable: list[str] = []
    unreached: list[str] = []
    for one in found:
        if isinstance(one, SourceFile):
            files.append(_look_at(one, known.get(one.place), policy))
            continue
        unreadable.append(str(one))
        if isinstance(one, SourceUnreachable):
            unreached.extend(one.kept)
    return Seen(files, tuple(unreadable), tuple(unreached))


def fingerprint(sources: Sequence[str]) -> str:
    """Differs once a file of the local sources does; files are not opened for it. Blocks."""
    digest = hashlib.blake2s()
    for source in sources:
        for one in () if is_address(source) else find_local(source):
            if isinstance(one, SourceFile):
                with suppress(OSError):
                    status = one.path.stat()
                    seen = (one.name, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                    digest.update(repr(seen).encode())
    return digest.hexdigest()


def _look_at(file: SourceFile, before: FileRow | None, policy: CleaningPolicy) -> SeenFile:
    row = FileRow(
        path=file.place,
        name=file.name,
        size=-1,
        modified_ns=0,
        sha256="",
        read_key=_read_key(file, policy),
    )
    try:
        status = file.path.stat()
        # The change of the inode too: nobody can set that back.
        modified_ns = max(status.st_mtime_ns, status.st_ctime_ns)
        row = replace(row, size=status.st_size, modified_ns=modified_ns)
        if before is not None and before.read_key == row.read_key and before.sha256:
            if (before.size, before.modified_ns) == (row.size, row.modified_ns):
                return SeenFile(file, before, is_known=True, is_new=False)
            if before.size == row.size and before.sha256 == _sha256(file):
                times = replace(before, modified_ns=_trusted(modified_ns))
                return SeenFile(file, times, is_new=False)
        row = replace(row, sha256=_sha256(file), modified_ns=_trusted(modified_ns))
    except OSError:
        # Whoever reads it will say why it cannot be.
        return SeenFile(file, row)
    return SeenFile(file, row)


def _trusted(modified_ns: int) -> int:
    """The time by which a file is known again; 0 while it may be changed without showing it."""
    return modified_ns if modified_ns < time.time_ns() - _RACY_NS else 0


def _sha256(file: SourceFile) -> str:
    if not file.path.is_file():
        return ""
    with file.path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_key(file: SourceFile, policy: CleaningPolicy) -> str:
    cleaned = {**asdict(policy), "mask": sorted(policy.mask)}
    parts = (reading.VERSION, vectors.VERSION, cleaned, file.name, file.url)
    metadata = sorted(file.metadata.items())
    return hashlib.blake2s(repr((parts, metadata)).encode(), digest_size=16).hexdigest()
