"""Files and folders of this machine; links that lead out of a folder are not followed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from kfbot.errors import DocumentUnreadable
from knowledge.documents import SourceFile


def find_local(source: str | Path) -> Iterator[SourceFile | DocumentUnreadable]:
    """A file, or the files of a folder by name and all the way down; hidden ones are left out."""
    path = Path(source)
    try:
        # Path("") is the working directory, which nobody meant.
        if not str(source) or not path.exists():
            yield DocumentUnreadable(shown_name(str(source)), "does not exist")
        elif path.is_dir():
            yield from _walk(path, path.resolve(), "")
        else:
            yield SourceFile(path, shown_name(path.name))
    except OSError as error:
        yield DocumentUnreadable(shown_name(str(source)), io_reason(error))


def shown_name(text: str) -> str:
    """A file name as text: names that are no UTF-8, or hold line breaks, too."""
    return re.sub(r"[\x00-\x1f]", "?", text.encode("utf-8", "replace").decode())


def io_reason(error: OSError) -> str:
    """Why a file cannot be read, without its path."""
    return f"cannot be read: {error.strerror or error}"


def _walk(folder: Path, root: Path, prefix: str) -> Iterator[SourceFile | DocumentUnreadable]:
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if not path.name.startswith("."):
            name = prefix + shown_name(path.name)
            try:
                yield from _look_at(path, root, name)
            except OSError as error:
                yield DocumentUnreadable(name, io_reason(error))


def _look_at(path: Path, root: Path, name: str) -> Iterator[SourceFile | DocumentUnreadable]:
    if path.is_symlink() and not _is_inside(path, root):
        yield DocumentUnreadable(name, "a link that leads out of the folder")
    elif not path.is_dir():
        yield SourceFile(path, name)
    elif not path.is_symlink():
        # A link to a folder in here would be a second way to the same files, or a circle.
        yield from _walk(path, root, name + "/")


def _is_inside(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        return False  # A link to itself: RuntimeError before Python 3.13.
