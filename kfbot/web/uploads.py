"""`POST /api/v1/doc/upload`, OpenKF's form: a document is kept for good and answered from."""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import unquote

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http import HttpProcessingError

from kfbot.jobs import Jobs
from kfbot.store.jobs import Job
from kfbot.store.uploads import UploadStore
from kfbot.uploads import UPLOADED
from kfbot.web.access import UPLOAD
from kfbot.web.api import BadRequest, NotFound, failure, success

#: Largest document.
DOCUMENT_BYTES = 20 * 1024 * 1024
#: A document that takes longer to read is answered with the job that goes on.
PATIENCE_SECONDS = 20.0
#: Longest file name, in bytes of UTF-8: file systems take 255, and a temporary one is longer.
_NAME_BYTES = 200


class UploadApi:
    """The handlers."""

    def __init__(
        self,
        uploads: UploadStore,
        names: Sequence[str],
        jobs: Jobs,
        endings: Callable[[], Awaitable[frozenset[str]]],
    ) -> None:
        """`names`: the configured knowledge bases; `endings`: of the files that can be read."""
        self._uploads = uploads
        self._names = names
        self._jobs = jobs
        self._endings = endings

    def routes(self) -> list[web.RouteDef]:
        """What is uploaded, what there is, and what goes again."""
        return [
            web.post(UPLOAD, self.upload),
            web.get("/api/v1/knowledge/{kb}/uploads", self.kept),
            web.delete("/api/v1/knowledge/{kb}/uploads/{name}", self.remove),
        ]

    async def upload(self, request: web.Request) -> web.Response:
        """Take the part `file` of a form, in place of a document of the same name; load it."""
        name = self._knowledge_base(request.query.get("kb"))
        form, part = await _file_part(request)
        file = await self._file_name(part.filename or "")
        content = await _content(form, part)
        await self._uploads.put(name, file, content)
        data = {"knowledge_base": name, "id": f"{UPLOADED}/{file}", "bytes": len(content)}
        ended = asyncio.Event()
        job_id = await self._jobs.start([name], on_end=ended.set)
        try:
            await asyncio.wait_for(ended.wait(), PATIENCE_SECONDS)
        except TimeoutError:
            job = None
        else:
            job = await self._jobs.find(job_id)
        if job is None:
            return success({**data, "job": job_id}, status=202, message=f"{file} Upload accepted")
        if job.state == "failed":
            return failure(503, f"{file} is kept, and could not be loaded: {job.error}")
        if fault := _unreadable(job, f"{UPLOADED}/{file}"):
            return failure(422, f"{file} cannot be read: {fault}")
        return success({**data, "job": job_id}, message=f"{file} Upload success")

    async def kept(self, request: web.Request) -> web.Response:
        """The uploads of a knowledge base, by name."""
        name = self._knowledge_base(request.match_info["kb"])
        return success(
            [
                {
                    "name": one.name,
                    "id": f"{UPLOADED}/{one.name}",
                    "bytes": one.size,
                    "uploaded_at": one.uploaded_at.isoformat(),
                }
                for one in await self._uploads.list(name)
            ]
        )

    async def remove(self, request: web.Request) -> web.Response:
        """Keep an upload no longer, and answer from it no more once the load is done."""
        name = self._knowledge_base(request.match_info["kb"])
        if not await self._uploads.remove(name, request.match_info["name"]):
            raise NotFound("there is no such upload")
        job_id = await self._jobs.start([name])
        return success({"job": job_id}, status=202, message="accepted")

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


async def _content(form: MultipartReader, part: BodyPartReader) -> bytes:
    """All of a part.

    Raises:
        BadRequest: It is empty, or breaks off.
        HTTPRequestEntityTooLarge: It is over DOCUMENT_BYTES.
    """
    content = bytearray()
    try:
        while piece := await part.read_chunk(256 * 1024):
            content += piece
            if len(content) > DOCUMENT_BYTES:
                raise web.HTTPRequestEntityTooLarge(DOCUMENT_BYTES, len(content))
        # A part without the line that ends it is half of one.
        await form.next()
    except (ValueError, AssertionError, RuntimeError, HttpProcessingError) as error:
        raise BadRequest("body: breaks off") from error
    if not content:
        raise BadRequest("file: is empty")
    return bytes(content)


def _unreadable(job: Job, name: str) -> str:
    """Why a file is not answered from; "" if it is."""
    lines = [line for report in job.reports for line in report.get("unreadable", ())]
    prefix = f"{name}: "
    return next((line.removeprefix(prefix) for line in lines if line.startswith(prefix)), "")
