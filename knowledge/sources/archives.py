"""Archives: zip and tar, unpacked once into the cache and given as the files in them.

Nothing of an archive is trusted: names cannot lead out of the cache, sizes are counted while
unpacking, links are not made.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from kfbot.errors import DocumentUnreadable
from knowledge.documents import SourceFile
from knowledge.sources.contract import SourceUnreachable
from knowledge.sources.entries import Budget, Entry, Unpackable, Unpacking
from knowledge.sources.folders import io_reason
from knowledge.sources.locks import writing
from knowledge.sources.tar_archives import unpack_tar
from knowledge.sources.zip_archives import unpack_zip

#: By the end of the name, in small letters.
_UNPACKERS: dict[str, Callable[[Path, Unpacking], Iterator[Entry]]] = {
    ".zip": unpack_zip,
    ".tar": unpack_tar,
    ".tar.gz": unpack_tar,
    ".tgz": unpack_tar,
    ".tar.bz2": unpack_tar,
    ".tar.xz": unpack_tar,
}
#: Raise it when the same archive unpacks to other files.
_VERSION = "1"
#: Lists what an archive was unpacked to; its time is when that was last used.
UNPACKED = "entries.json"
#: An archive in an archive is read, one in that is named.
_MOST_DEPTH = 2

#: What is raised by archives that are no such archives, or only half of one.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    UnicodeError,
    NotImplementedError,
)

Found = SourceFile | DocumentUnreadable


def is_archive(name: str) -> bool:
    """True for a file name that ends like an archive's."""
    return name.lower().endswith(tuple(_UNPACKERS))


def find_in_archive(
    archive: SourceFile, cache: Path, depth: int = 1, budget: Budget | None = None
) -> Iterator[Found]:
    """The files of an archive, each named "archive.zip/inner/name.md", in the archive's order.

    One that breaks a limit is named; one that cannot be read comes as a SourceUnreachable:
    perhaps it is being copied.

    Args:
        cache: Folder for unpacked archives; kept from one load to the next.
        depth: How many archives lead here, this one counted.
        budget: What is left for it of the archive that it lies in.
    """
    origin = archive.origin or str(archive.path)
    budget = budget or Budget()
    try:
        with writing(cache / _key(origin)):
            folder, entries = _unpacked(archive.path, cache / _key(origin), budget)
    except Unpackable as error:
        yield DocumentUnreadable(archive.name, str(error))
        return
    except OSError as error:
        yield SourceUnreachable(archive.name, io_reason(error), kept=[origin])
        return
    except _DAMAGE as error:
        yield SourceUnreachable(archive.name, f"damaged archive ({error})", kept=[origin])
        return
    for entry in entries:
        name = f"{archive.name}/{entry.name}" if entry.name else archive.name
        file = replace(
            archive, path=folder / entry.file, name=name, origin=f"{origin}/{entry.name}"
        )
        if entry.fault:
            yield DocumentUnreadable(name, entry.fault)
        elif not is_archive(entry.name):
            yield file
        elif depth < _MOST_DEPTH:
            yield from find_in_archive(file, cache, depth + 1, budget)
        else:
            yield DocumentUnreadable(name, "an archive in an archive in an archive is not read")


def _key(origin: str) -> str:
    return hashlib.sha256(origin.encode("utf-8", "replace")).hexdigest()[:32]


def _unpacked(archive: Path, folder: Path, budget: Budget) -> tuple[Path, list[Entry]]:
    """The folder of the archive's files, and what is in it; unpacked where it was not.

    Raises:
        Unpackable: It breaks a limit.
        OSError: It cannot be read, or the cache cannot be written.
        BadZipFile, …: It is damaged; see `_DAMAGE`.
    """
    with archive.open("rb") as file:
        mark = f"{_VERSION} {hashlib.file_digest(file, 'sha256').hexdigest()}"
    files = folder / "files"
    with suppress(OSError, ValueError, TypeError, KeyError):
        listed = json.loads((folder / UNPACKED).read_text(encoding="utf-8"))
        if listed["mark"] == mark:
            entries = [Entry(**entry) for entry in listed["entries"]]
            os.utime(folder / UNPACKED)
            budget.spend(listed["bytes"])
            return files, entries
    unpacking = _unpack(archive, folder, budget)
    entries = unpacking.entries
    listed = {
        "mark": mark,
        "bytes": unpacking.unpacked_bytes,
        "entries": [asdict(entry) for entry in entries],
    }
    (folder / UNPACKED).write_text(json.dumps(listed), encoding="utf-8")
    return files, entries


def _unpack(archive: Path, folder: Path, budget: Budget) -> Unpacking:
    files, partial = folder / "files", folder / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    unpack = next(one for end, one in _UNPACKERS.items() if archive.name.lower().endswith(end))
    unpacking = Unpacking(partial, archive.stat().st_size, budget)
    try:
        unpacking.entries.extend(unpack(archive, unpacking))
        # Without its list a folder that is half replaced is unpacked again.
        (folder / UNPACKED).unlink(missing_ok=True)
        shutil.rmtree(files, ignore_errors=True)
        partial.rename(files)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return unpacking
