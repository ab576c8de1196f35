"""Sources: what the operator names is turned into files that lie on this machine."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kfbot.errors import DocumentUnreadable
from knowledge.documents import SourceFile
from knowledge.sources.archives import find_in_archive, is_archive
from knowledge.sources.contract import Fetching, is_address, is_repository
from knowledge.sources.folders import find_local
from knowledge.sources.repositories import find_in_repository

if TYPE_CHECKING:
    from knowledge.sources.fetching import Fetcher

#: Below the cache: a folder for each form of source, and in each entry the file whose time says
#: when it was last used.
_KEPT = {"web": "about.json", "archives": "entries.json", "git": "git/FETCH_HEAD"}
_UNUSED_SECONDS = 30 * 86_400

Found = SourceFile | DocumentUnreadable


def find_files(
    sources: Sequence[str | Path], cache: Path, fetching: Fetching | None = None
) -> Iterator[Found]:
    """The files of sources, in the given order, folders by name and all the way down.

    What cannot be read comes as a DocumentUnreadable in its place. It is a SourceUnreachable where
    a source, or a part of one, cannot be reached at the moment: what was loaded from there
    stays. A file reached twice is given once. It takes as long as hosts take; to end it early,
    close the iterator between two files.

    Args:
        sources: Files, folders, archives, and addresses: see docs/sources.md.
        cache: For what is fetched and unpacked; kept from one load to the next, used by one at a
            time. A file in it keeps its path, and is not written again while it stays the same.
        fetching: How addresses may be fetched; None: as carefully as can be.
    """
    seen: set[Path] = set()
    for found in _unpacked(_find_all(sources, cache, fetching or Fetching()), cache):
        if isinstance(found, DocumentUnreadable):
            yield found
        elif (real := found.path.resolve()) not in seen:
            seen.add(real)
            yield found
    _drop_unused(cache)


def _find_all(sources: Sequence[str | Path], cache: Path, fetching: Fetching) -> Iterator[Found]:
    with ExitStack() as stack:
        fetcher: Fetcher | None = None
        for source in map(str, sources):
            if not is_address(source):
                yield from find_local(source)
            elif is_repository(source):
                yield from find_in_repository(
                    source, cache / "git", allow_private=fetching.allow_private
                )
            else:
                # HTTP takes a while to import: only for those who name a page.
                from knowledge.sources.fetching import open_fetcher
                from knowledge.sources.web import find_web

                fetcher = fetcher or stack.enter_context(open_fetcher(cache / "web", fetching))
                yield from find_web(source, fetcher, fetching.max_pages)


def _unpacked(found: Iterable[Found], cache: Path) -> Iterator[Found]:
    """The files, with those in an archive in its place."""
    for one in found:
        if isinstance(one, SourceFile) and is_archive(one.path.name) and one.path.is_file():
            yield from find_in_archive(one, cache / "archives")
        else:
            yield one


def _drop_unused(cache: Path) -> None:
    oldest = time.time() - _UNUSED_SECONDS
    for kind, mark in _KEPT.items():
        with suppress(OSError):
            for entry in (cache / kind).iterdir():
                used = entry / mark
                if (used if used.exists() else entry).stat().st_mtime < oldest:
                    shutil.rmtree(entry, ignore_errors=True)
