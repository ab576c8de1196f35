"""Uploaded documents: kept in the database, and laid out as files for a load to read."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.knowledge_settings import KnowledgeSettings
from kfbot.store.uploads import Upload, UploadStore

logger = logging.getLogger(__name__)

#: Begins the ids of uploaded documents, so that they clash with those of no other source.
UPLOADED = "uploads"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def uploads_folder(data_dir: Path, knowledge_base: str) -> Path:
    """The source folder of a knowledge base; copies of its documents lie in UPLOADED below it."""
    return data_dir / "uploaded" / _folder_name(knowledge_base)


def _folder_name(knowledge_base: str) -> str:
    # A knowledge base may be called "..".
    return quote(knowledge_base, safe="").replace(".", "%2E")


def with_uploads(
    sections: Mapping[str, KnowledgeSettings], data_dir: Path
) -> dict[str, KnowledgeSettings]:
    """The knowledge bases with their uploads as one more source; makes the folders."""
    found = {}
    for name, section in sections.items():
        folder = uploads_folder(data_dir, name)
        folder.mkdir(parents=True, exist_ok=True)
        found[name] = section.model_copy(update={"sources": (*section.sources, str(folder))})
    return found


async def lay_out(store: UploadStore, data_dir: Path, knowledge_base: str) -> None:
    """Make the copies of a knowledge base what the database has.

    Raises:
        KnowledgeBaseUnavailable: A copy cannot be written.
        StoreUnavailable: The database cannot be read.
    """
    folder = uploads_folder(data_dir, knowledge_base) / UPLOADED
    uploads = {one.name: one for one in await store.list(knowledge_base)}
    try:
        for name in await asyncio.to_thread(_outdated, folder, uploads):
            content = await store.content(knowledge_base, name)
            # Removed since, it is copied no more; the load that the removal begins comes next.
            if content is not None:
                await asyncio.to_thread(_copy, folder, uploads[name], content)
    except OSError as error:
        raise KnowledgeBaseUnavailable(
            f"uploads of {knowledge_base} cannot be copied to {folder}: {error.strerror}"
        ) from error


def _outdated(folder: Path, uploads: Mapping[str, Upload]) -> list[str]:
    """Which documents have no copy, or an old one; copies of none are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in uploads:
            # On PostgreSQL several processes may share the folder.
            path.unlink(missing_ok=True)
    return [name for name, one in uploads.items() if _state(folder / name) != _copied(one)]


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def _copied(upload: Upload) -> tuple[int, int]:
    """The size of a whole copy, and the time that it bears in nanoseconds."""
    return upload.size, (upload.uploaded_at - _EPOCH) // timedelta(microseconds=1) * 1000


def _copy(folder: Path, upload: Upload, content: bytes) -> None:
    path = folder / upload.name
    path.write_bytes(content)
    modified = _copied(upload)[1]
    # Last: a copy that was broken off bears another time.
    os.utime(path, ns=(modified, modified))


async def take_in(store: UploadStore, data_dir: Path, names: Iterable[str]) -> None:
    """Put documents into the database that an earlier version kept as files.

    Raises:
        OSError: One cannot be read.
        StoreUnavailable: Some are not in the database yet; none is lost.
    """
    for name in names:
        folder = data_dir / "uploads" / _folder_name(name)
        for path in await asyncio.to_thread(_files, folder / UPLOADED):
            # Of several that share the folder another one may be as far.
            with suppress(FileNotFoundError):
                await store.put(name, path.name, await asyncio.to_thread(path.read_bytes))
                # A copy from now on: whoever goes back to that version finds it there.
                await asyncio.to_thread(_move, path, uploads_folder(data_dir, name) / UPLOADED)
                event = {"event": "upload_taken_in"}
                logger.info("upload of %s: now in the database", name, extra=event)
        await asyncio.to_thread(_clear, folder)


def _move(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.move(path, folder / path.name)


def _clear(folder: Path) -> None:
    """Remove uploads that broke off, and the folders; what somebody else put there stays."""
    for path in (folder / UPLOADED).glob(".*"):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        (folder / UPLOADED).rmdir()
        folder.rmdir()


def _files(folder: Path) -> list[Path]:
    """What was uploaded; hidden files are uploads that broke off."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.is_file() and path.name[0] != "."]
