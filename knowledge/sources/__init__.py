"""Sources: what the operator names is turned into files that lie on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from kfbot.errors import DocumentUnreadable
from knowledge.documents import SourceFile
from knowledge.sources.folders import find_local


def find_files(sources: Sequence[str | Path]) -> Iterator[SourceFile | DocumentUnreadable]:
    """The files of sources, in the given order, folders by name and all the way down.

    What cannot be reached comes as a DocumentUnreadable in its place. A file reached twice is
    given once.
    """
    seen: set[Path] = set()
    for source in sources:
        for file in find_local(source):
            if isinstance(file, DocumentUnreadable):
                yield file
            elif (real := file.path.resolve()) not in seen:
                seen.add(real)
                yield file
