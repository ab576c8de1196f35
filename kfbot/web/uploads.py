"""`POST /api/v1/doc/upload`: a document is stored for good and answered from; OpenKF's form."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http import HttpProcessingError

from kfbot.jobs import Jobs
from kfbot.store.jobs import Job
from kfbot.uploads import UPLOADED, uploads_folder
from kfbot.web.access import UPLOAD
from kfbot.web.api import BadRequest, NotFound, failure, success

#: Largest document.
DOCUMENT_BYTES = 20 * 1024 * 1024
#: A document that takes longer to read is answered with the job that goes on.
PATIENCE_SECONDS = 20.0
#: Longest file name, in bytes of UTF-8: file systems take 255, and a temporary one is longer.
_NAME_BYTES = 200


class UploadApi:
    """The handler."""

    def __init__(
        self,
        data_dir: Path,
        names: Sequence[str],
        jobs: Jobs,
        endings: Callable[[], Awaitable[frozenset[str]]],
    ) -> None:
        """`names`: the configured knowledge bases; `endings`: of the files that can be read."""
        self._data_dir = data_dir
        self._names = names
        self._jobs = jobs
        self._endings = endings

    def routes(self) -> list[web.RouteDef]:
        """The one route."""
        return [web.post(UPLOAD, self.upload)]

    async def upload(self, request: web.Request) -> web.Response:
        """Take the part `file` of a form, in place of a document of the same name; load it."""
        name = self._knowledge_base(request.query.get("kb"))
        form, part = await _file_part(request)
        file = await self._file_name(part.filename or "")
        folder = uploads_folder(self._data_dir, name) / UPLOADED
        size = await _store(form, part, folder, file)
        ended = asyncio.Event()
        job_id = await self._jobs.start([name], on_end=ended.set)
        try:
            await asyncio.wait_for(ended.wait(), PATIENCE_SECONDS)
        except TimeoutError:
            job = None
        else:
            job = await self._jobs.find(job_id)
        data = {"knowledge_base": name, "id": f"{UPLOADED}/{file}", "bytes": size, "job": job_id}
        if job is None:
            return success(data, status=202, message=f"{file} Upload accepted")
        if job.state == "failed":
            return failure(503, f"{file} is kept, and could not be loaded: {job.error}")
        if fault := _unreadable(job, f"{UPLOADED}/{file}"):
            return failure(422, f"{file} cannot be read: {fault}")
        return success(data, message=f"{file} Upload success")

    def _knowledge_base(self, named: str | None) -> str:
        if named is not None:
            if named not in self._names:
                only = ", ".join(self._names)
                raise NotFound(f"there is no knowledge base {named[:40]!r}, only {only}")
            return named
        for usual in ("uploads", "default"):
            if usual in self._names:
                return usual
        if len(self._names) == 1:
            return self._names[0]
        raise BadRequest(f"kb: say which knowledge base, as in ?kb={self._names[0]}")

    async def _file_name(self, given: str) -> str:
        file = safe_name(given)
        ending = Path(file).suffix.lower()
        known = await self._endings()
        if ending not in known:
            raise BadRequest(f"file: {file[:80]!r} ends in none of {', '.join(sorted(known))}")
        return file


def safe_name(given: str) -> str:
    """A file name that lies where it is put: no path, not hidden, nothing that cannot be seen.

    Raises:
        BadRequest: Nothing is left of it.
    """
    # RFC 7578 lets clients write what is not ASCII as %E9.
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", unquote(given)))[-1]
    kept = "".join(one for one in last if one.isprintable() and one not in '<>:"|?*')
    stem, dot, ending = kept.strip(" .").rpartition(".")
    room = _NAME_BYTES - len(f"{dot}{ending}".encode())
    stem = stem.encode()[: max(room, 0)].decode(errors="ignore").strip(" .")
    if not stem or room < 1:
        raise BadRequest("file: it needs a name and an ending, as in returns.pdf")
    return f"{stem}{dot}{ending}"


async def _file_part(request: web.Request) -> tuple[MultipartReader, BodyPartReader]:
    try:
        form = await request.multipart()
        while (part := await form.next()) is not None:
            if isinstance(part, BodyPartReader) and part.name == "file":
                return form, part
    except (ValueError, AssertionError, RuntimeError, HttpProcessingError) as error:
        raise BadRequest("body: is no multipart form") from error
    raise BadRequest("file: the part with the document is missing")


async def _store(form: MultipartReader, part: BodyPartReader, folder: Path, file: str) -> int:
    """Write a part under its name, in one step and for good; returns its size.

    Raises:
        BadRequest: It is empty, or breaks off.
        HTTPRequestEntityTooLarge: It is over DOCUMENT_BYTES.
    """
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    # A hidden file is none for a load.
    temporary = folder / f".{secrets.token_hex(8)}"
    try:
        size = await _write(form, part, temporary)
        await asyncio.to_thread(temporary.replace, folder / file)
        await asyncio.to_thread(_settle, folder)
    finally:
        temporary.unlink(missing_ok=True)
    return size


async def _write(form: MultipartReader, part: BodyPartReader, path: Path) -> int:
    size = 0
    with await asyncio.to_thread(path.open, "xb") as written:
        try:
            while piece := await part.read_chunk(256 * 1024):
                size += len(piece)
                if size > DOCUMENT_BYTES:
                    raise web.HTTPRequestEntityTooLarge(DOCUMENT_BYTES, size)
                await asyncio.to_thread(written.write, piece)
            # A part without the line that ends it is half of one.
            await form.next()
        except (ValueError, AssertionError, RuntimeError, HttpProcessingError) as error:
            raise BadRequest("body: breaks off") from error
        if not size:
            raise BadRequest("file: is empty")
        await asyncio.to_thread(_flush, written.fileno(), written.flush)
    return size


def _flush(descriptor: int, flush: Callable[[], Any]) -> None:
    flush()
    os.fsync(descriptor)


def _settle(folder: Path) -> None:
    """The new name, too, is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unreadable(job: Job, name: str) -> str:
    """Why a file is not answered from; "" if it is."""
    lines = [line for report in job.reports for line in report.get("unreadable", ())]
    prefix = f"{name}: "
    return next((line.removeprefix(prefix) for line in lines if line.startswith(prefix)), "")
