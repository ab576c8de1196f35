"""Zip files (APPNOTE.TXT 6.3.10): entries as the archive's directory lists them."""

from __future__ import annotations

import binascii
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from knowledge.sources.entries import (
    MOST_ENTRIES,
    Entry,
    Unpackable,
    Unpacking,
    decode_names,
    is_hidden,
)

_UTF8_FLAG = 0x800
_ENCRYPTED_FLAG = 0x1
#: What the archiver of an entry runs on, by the upper byte of "version made by".
_MADE_ON_UNIX = 3
_UNICODE_PATH = 0x7075
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_LONGEST_COMMENT = 0xFFFF
#: An entry of the directory with a long name.
_MOST_DIRECTORY_BYTES = MOST_ENTRIES * 512


def unpack_zip(path: Path, unpacking: Unpacking) -> Iterator[Entry]:
    """Unpack a zip file; faults in single entries come in their places.

    Raises:
        Unpackable: It breaks a limit.
        OSError: It cannot be read.
        zipfile.BadZipFile: It is damaged as a whole.
    """
    # zipfile reads the whole directory into memory before it says how long it is.
    if _directory_bytes(path) > _MOST_DIRECTORY_BYTES:
        raise Unpackable(f"more than {MOST_ENTRIES} entries")
    encrypted = []
    with zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        unpacking.count(len(infos))
        for info, name in zip(infos, _names(infos), strict=True):
            if is_hidden(name):
                continue
            if info.flag_bits & _ENCRYPTED_FLAG:
                encrypted.append(name)
            else:
                yield _unpack(archive, info, name, unpacking)
    if encrypted:
        reason = f"{len(encrypted)} of its files need a password, first {encrypted[0]}"
        yield Entry("", fault=reason)


def _unpack(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, unpacking: Unpacking
) -> Entry:
    if _is_link(info):
        return Entry(name, fault="a link")
    try:
        with archive.open(info) as source:
            return unpacking.write(name, source)
    except (zipfile.BadZipFile, zlib.error, EOFError):
        return Entry(name, fault="damaged in its archive")
    except (NotImplementedError, RuntimeError):
        return Entry(name, fault="packed by a method that is not known here")


def _is_link(info: zipfile.ZipInfo) -> bool:
    return info.create_system == _MADE_ON_UNIX and stat.S_ISLNK(info.external_attr >> 16)


def _names(infos: list[zipfile.ZipInfo]) -> list[str]:
    """The entries' names as they were written."""
    unsaid = [info for info in infos if not info.flag_bits & _UTF8_FLAG]
    # zipfile takes them for code page 437, which keeps every byte.
    raw = [info.orig_filename.encode("cp437") for info in unsaid]
    decoded = iter(decode_names(raw, "cp437"))
    names = []
    for info in infos:
        name = info.orig_filename if info.flag_bits & _UTF8_FLAG else next(decoded)
        names.append((_unicode_path(info) or name).replace("\0", ""))
    return names


def _unicode_path(info: zipfile.ZipInfo) -> str:
    """The name in Info-ZIP's extra field for it; "" when there is none that fits."""
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and size > 5 and not info.flag_bits & _UTF8_FLAG:
            checked = struct.unpack_from("<L", field, 1)[0]
            if checked == binascii.crc32(info.orig_filename.encode("cp437")):
                return field[5:].decode("utf-8", "replace")
    return ""


def _directory_bytes(path: Path) -> int:
    """How long the archive's directory is, by its end record; 0 when there is none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        begin = max(0, size - _END.size - _LONGEST_COMMENT)
        file.seek(begin)
        tail = file.read()
        at = tail.rfind(b"PK\5\6")
        if at < 0 or at + _END.size > len(tail):
            return 0
        length: int = _END.unpack_from(tail, at)[5]
        if length != 0xFFFFFFFF or begin + at < _LOCATOR_64.size:
            return length
        file.seek(begin + at - _LOCATOR_64.size)
        file.seek(min(_LOCATOR_64.unpack(file.read(_LOCATOR_64.size))[2], size))
        record = file.read(_END_64.size)
        return int(_END_64.unpack(record)[8]) if len(record) == _END_64.size else 0
