"""Entries of archives: their names as people wrote them, and their bytes, within limits."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from knowledge.sources.folders import shown_name

MOST_ENTRIES = 20_000
_MOST_FILE_BYTES = 50 * 1024 * 1024
#: Of one archive with all archives in it.
_MOST_TOTAL_BYTES = 2 * 1024**3
#: Text packs to a twentieth, a table to a fiftieth; what was made to hurt to a thousandth.
_MOST_RATIO = 200
#: Below that nothing can hurt.
_HARMLESS_BYTES = 10 * 1024 * 1024
_MOST_NAME_BYTES = 150
_MOST_PATH_BYTES = 1000
_MOST_DEPTH = 40
_BLOCK_BYTES = 1 << 18


class Unpackable(ValueError):
    """An archive breaks a limit; its text says which."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an archive, or a fault in it."""

    #: Path in the archive; "": the fault is the whole archive's.
    name: str
    #: Path of the unpacked file in its folder.
    file: str = ""
    fault: str = ""


@dataclass(slots=True)
class Budget:
    """What an archive, with the archives in it, may still unpack to."""

    left_bytes: int = _MOST_TOTAL_BYTES

    def spend(self, size: int) -> None:
        """Take so much of it.

        Raises:
            Unpackable: There is not so much left.
        """
        self.left_bytes -= size
        if self.left_bytes < 0:
            raise Unpackable(f"unpacks to more than {_MOST_TOTAL_BYTES // 1024**3} GB")


@dataclass(slots=True)
class Unpacking:
    """One archive while it is unpacked into a folder."""

    folder: Path
    packed_bytes: int
    budget: Budget
    unpacked_bytes: int = 0
    #: What it holds, once it is done.
    entries: list[Entry] = field(default_factory=list)
    _count: int = 0
    _taken: set[str] = field(default_factory=set)

    def count(self, entries: int = 1) -> None:
        """Count entries.

        Raises:
            Unpackable: There are too many.
        """
        self._count += entries
        if self._count > MOST_ENTRIES:
            raise Unpackable(f"more than {MOST_ENTRIES} entries")

    def write(self, name: str, source: IO[bytes]) -> Entry:
        """Write an entry's bytes to where its name says, inside of the folder.

        Raises:
            Unpackable: The archive unpacks to too much.
        """
        place = _place(name)
        if place is None:
            return Entry(shown_name(name), fault="a name that leads out of the archive")
        shown = "/".join(place)
        file = _file_of(place)
        # Not all file systems tell Faq.md and faq.md apart.
        if file.casefold() in self._taken:
            return Entry(shown, fault="is in the archive twice")
        self._taken.add(file.casefold())
        try:
            fault = self._copy(source, self.folder / file)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            fault = "is a file and a folder in the archive"
        return Entry(shown, fault=fault) if fault else Entry(shown, file)

    def _copy(self, source: IO[bytes], path: Path) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        size = 0
        with path.open("xb") as target:
            while block := source.read(_BLOCK_BYTES):
                size += len(block)
                self._count_bytes(len(block))
                if size > _MOST_FILE_BYTES:
                    break
                target.write(block)
        if size > _MOST_FILE_BYTES:
            path.unlink()
            return f"larger than {_MOST_FILE_BYTES // 1024**2} MB"
        return ""

    def _count_bytes(self, size: int) -> None:
        self.budget.spend(size)
        self.unpacked_bytes += size
        most = max(self.packed_bytes * _MOST_RATIO, _HARMLESS_BYTES)
        if self.unpacked_bytes > most:
            raise Unpackable(f"unpacks to more than {_MOST_RATIO} times its size")


def is_hidden(name: str) -> bool:
    """True for what systems leave in archives, and what is hidden in a folder too."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return any(part == "__MACOSX" or (part[0] == "." and part.strip(".")) for part in parts)


def decode_names(raw: Sequence[bytes], otherwise: str) -> list[str]:
    """Names whose encoding nobody noted, all of one archive together.

    UTF-8, as macOS writes it; else GB 18030 as Chinese Windows does, or Big5, where that gives
    common characters; else `otherwise`.
    """
    together = b"\n".join(raw)
    for encoding, common in (("utf-8", ""), ("gb18030", "gb2312"), ("big5", "big5")):
        try:
            names = together.decode(encoding)
        except UnicodeDecodeError:
            continue
        if not common or _are_common(names, common):
            return [name.decode(encoding) for name in raw]
    return [name.decode(otherwise, "replace") for name in raw]


def _are_common(text: str, charset: str) -> bool:
    """Chinese as it is written, not two Latin letters that happen to make a rare character."""
    foreign = [character for character in text if not character.isascii()]
    if charset == "gb2312":
        common = [one for one in foreign if _is_first_level(one)]
        return len(common) * 10 >= len(foreign) * 7
    return all("\u3000" <= one <= "\u9fff" or "\uff00" <= one <= "\uffef" for one in foreign)


def _is_first_level(character: str) -> bool:
    encoded = character.encode("gb2312", "ignore")
    return bool(encoded) and (0xA1 <= encoded[0] <= 0xA3 or 0xB0 <= encoded[0] <= 0xD7)


def _place(name: str) -> tuple[str, ...] | None:
    """The parts of an entry's path; None when it leads elsewhere."""
    path = name.replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or re.match(r"[A-Za-z]:/", path) or ".." in parts:
        return None
    return tuple(shown_name(part) for part in parts) if 0 < len(parts) <= _MOST_DEPTH else None


def _file_of(place: Sequence[str]) -> str:
    """Where an entry is unpacked to, below its folder."""
    file = "/".join(_short(part) for part in place)
    if len(file.encode()) <= _MOST_PATH_BYTES:
        return file
    return f"{hashlib.sha256(file.encode()).hexdigest()[:32]}/{_short(place[-1])}"


def _short(part: str) -> str:
    """A name that a file system takes, with its ending."""
    safe = re.sub(r'[:*?"<>|]', "_", part)
    encoded = safe.encode()
    if len(encoded) <= _MOST_NAME_BYTES:
        return safe
    ending = os.path.splitext(safe)[1][:12]
    digest = hashlib.sha256(encoded).hexdigest()[:12]
    return f"{encoded[:_MOST_NAME_BYTES].decode('utf-8', 'ignore')}-{digest}{ending}"
