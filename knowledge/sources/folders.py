"""Files and folders of this machine; links that lead out of a folder are not followed."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from kfbot.errors import DocumentUnreadable
from knowledge.documents import SourceFile
from knowledge.sources.contract import SourceUnreachable
from knowledge.sources.git_command import GitFault, is_installed, run_git

logger = logging.getLogger(__name__)

#: A checkout of a hundred thousand files is listed in two.
_GIT_SECONDS = 60.0
#: What git tracks, or would track, of a checkout: files, links, repositories in it, and all
#: folders that lead to one of those.
_Tracked = frozenset[Path]


def find_local(source: str | Path) -> Iterator[SourceFile | DocumentUnreadable]:
    """A file, or the files of a folder by name and all the way down; hidden ones are left out.

    Of a folder that is a git checkout, only the files that git tracks or would track. What is not
    there at all, or is a folder that cannot be listed, comes as a SourceUnreachable.
    """
    path = Path(source)
    name = shown_name(str(source))
    try:
        # Path("") is the working directory, which nobody meant.
        if not str(source) or not path.exists():
            yield SourceUnreachable(name, "does not exist", kept=[str(source)] if name else [])
        elif path.is_dir():
            yield from _walk(path, path.resolve(), "", None)
        else:
            yield SourceFile(path, shown_name(path.name))
    except OSError as error:
        yield SourceUnreachable(name, io_reason(error), kept=[str(source)])


def shown_name(text: str) -> str:
    """A file name as text: names that are no UTF-8, or hold line breaks, too."""
    return re.sub(r"[\x00-\x1f]", "?", text.encode("utf-8", "replace").decode())


def io_reason(error: OSError) -> str:
    """Why a file cannot be read, without its path."""
    return f"cannot be read: {error.strerror or error}"


def _walk(
    folder: Path, root: Path, prefix: str, tracked: _Tracked | None
) -> Iterator[SourceFile | DocumentUnreadable]:
    """The files of a folder.

    Args:
        tracked: Of the checkout that it lies in; None: it lies in none.
    """
    if (folder / ".git").exists():
        try:
            tracked = _tracked(folder)
        except GitFault as fault:
            # Nothing is lost by it: more is read, not less.
            logger.warning(
                "%s: .gitignore is not obeyed, all files are read (%s)",
                prefix.rstrip("/") or shown_name(str(folder)),
                fault,
                extra={"event": "gitignore_not_obeyed"},
            )
            tracked = None
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith(".") or (tracked is not None and path not in tracked):
            continue
        name = prefix + shown_name(path.name)
        try:
            yield from _look_at(path, root, name, tracked)
        except OSError as error:
            yield SourceUnreachable(name, io_reason(error), kept=[str(path)])


def _look_at(
    path: Path, root: Path, name: str, tracked: _Tracked | None
) -> Iterator[SourceFile | DocumentUnreadable]:
    if path.is_symlink() and not _is_inside(path, root):
        yield DocumentUnreadable(name, "a link that leads out of the folder")
    elif not path.is_dir():
        yield SourceFile(path, name)
    elif not path.is_symlink():
        # A link to a folder in here would be a second way to the same files, or a circle.
        yield from _walk(path, root, name + "/", tracked)


def _tracked(checkout: Path) -> _Tracked | None:
    """None: nobody can say.

    Raises:
        GitFault: git is there and does not say.
    """
    if not is_installed():
        return None
    listing = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = run_git(listing, checkout, timeout_seconds=_GIT_SECONDS)
    paths: set[Path] = set()
    for raw in listed.split(b"\0"):
        path = checkout / os.fsdecode(raw)
        while raw and path not in paths and path != checkout:
            paths.add(path)
            path = path.parent
    return frozenset(paths)


def _is_inside(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        return False  # A link to itself: RuntimeError before Python 3.13.
