"""What the reader of a format makes of a file, for its tests."""

from __future__ import annotations

import zipfile
from pathlib import Path

from knowledge.documents import Document, SourceFile
from knowledge.formats import read_file
from knowledge.formats.contract import Found


def read_all(path: Path) -> tuple[list[Found], list[str]]:
    """The documents in a file, and its faults."""
    found, faults = [], []
    for one in read_file(SourceFile(path, path.name)):
        if isinstance(one, Found):
            found.append(one)
        else:
            faults.append(str(one))
    return found, faults


def read_one(path: Path) -> Found:
    """The only document in a file without fault."""
    found, faults = read_all(path)
    assert (len(found), faults) == (1, [])
    return found[0]


def text_of(document: Document) -> str:
    """All that a document says."""
    return "\n\n".join(section.text for section in document.sections)


def fault_of(path: Path) -> str:
    """The one line that a file without any document gives."""
    found, faults = read_all(path)
    assert found == []
    assert len(faults) == 1
    assert "\n" not in faults[0]
    return faults[0]


def change_member(path: Path, member: str, old: str, new: str) -> None:
    """Replace a text in a member of a zip package."""
    with zipfile.ZipFile(path) as package:
        members = {info.filename: package.read(info) for info in package.infolist()}
    content = members[member].decode()
    assert old in content
    members[member] = content.replace(old, new, 1).encode()
    write_zip(path, members)


def write_zip(path: Path, members: dict[str, bytes | str]) -> None:
    """Write a zip package."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in members.items():
            package.writestr(name, content)
