"""`/api/v1/knowledge`: what is loaded and found; loads are started, watched and taken back."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from kfbot.calibration import Calibration
from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.jobs import Jobs
from kfbot.knowledge_base import KnowledgeBase, KnowledgeStatus, Passage
from kfbot.web.api import BadRequest, NotFound, success


class KnowledgeApi:
    """The handlers."""

    def __init__(self, knowledge: KnowledgeBase, names: tuple[str, ...], jobs: Jobs) -> None:
        """`names`: the configured knowledge bases."""
        self._knowledge = knowledge
        self._names = names
        self._jobs = jobs

    def routes(self) -> list[web.RouteDef]:
        """Everything under /api/v1/knowledge, and the jobs that loads are."""
        return [
            web.get("/api/v1/knowledge", self.status),
            web.get("/api/v1/knowledge/search", self.search),
            web.post("/api/v1/knowledge/reload", self.reload),
            web.post("/api/v1/knowledge/{kb}/reload", self.reload),
            web.post("/api/v1/knowledge/{kb}/rollback", self.roll_back),
            web.put("/api/v1/knowledge/{kb}/calibration", self.calibrate),
            web.delete("/api/v1/knowledge/{kb}/calibration", self.calibrate),
            web.get("/api/v1/jobs/{id}", self.job),
        ]

    async def status(self, request: web.Request) -> web.Response:
        """The state of every knowledge base."""
        return success([_status_data(one) for one in await self._knowledge.status()])

    async def search(self, request: web.Request) -> web.Response:
        """What is found for a question, with scores; nothing is decided."""
        query = request.query.get("q", "")
        if not query.strip():
            raise BadRequest("q: the question is missing")
        found = await self._knowledge.search(query)
        evidence = {
            kind: {name: round(value, 4) for name, value in signals.items()}
            for kind, signals in found.evidence.items()
        }
        passages = [_passage_data(passage) for passage in found.passages]
        return success({"passages": passages, "evidence": evidence})

    async def reload(self, request: web.Request) -> web.Response:
        """Load changed sources; the answer names the job to ask about."""
        name = self._named(request)
        job_id = await self._jobs.start(None if name is None else [name])
        return success({"job": job_id}, status=202, message="accepted")

    async def roll_back(self, request: web.Request) -> web.Response:
        """Put the generation before the last load in force again."""
        name = self._named(request)
        assert name is not None
        try:
            generation = await self._knowledge.roll_back(name)
        except KnowledgeBaseUnavailable as error:
            raise BadRequest(str(error)) from None
        return success({"generation": generation})

    async def calibrate(self, request: web.Request) -> web.Response:
        """Correct the estimates for a knowledge base as `kfbot calibrate` measured; or no more."""
        name = self._named(request)
        assert name is not None
        calibration = None
        try:
            if request.method == "PUT":
                calibration = Calibration.read(json.loads(await request.text()))
            await self._knowledge.calibrate(name, calibration)
        except (
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            ArithmeticError,
            RecursionError,
        ) as error:
            raise BadRequest(f"this is no calibration: {error}") from None
        except KnowledgeBaseUnavailable as error:
            raise BadRequest(str(error)) from None
        return success({"calibrated": calibration is not None})

    async def job(self, request: web.Request) -> web.Response:
        """How far a job is."""
        job = await self._jobs.find(request.match_info["id"])
        if job is None:
            raise NotFound("there is no such job")
        return success(
            {
                "state": job.state,
                "stage": job.stage,
                "done": job.done,
                "total": job.total,
                "error": job.error,
                "reports": list(job.reports),
            }
        )

    def _named(self, request: web.Request) -> str | None:
        name = request.match_info.get("kb")
        if name is not None and name not in self._names:
            raise NotFound(f"there is no knowledge base {name}, only {', '.join(self._names)}")
        return name


def _status_data(one: KnowledgeStatus) -> dict[str, Any]:
    return {
        "name": one.name,
        "documents": one.documents,
        "chunks": one.chunks,
        "questions": one.questions,
        "generation": one.generation,
        "loaded_at": one.loaded_at.isoformat() if one.loaded_at else None,
        "rolled_back": one.rolled_back,
        "fault": one.fault,
        "added": one.added,
        "overridden": list(one.overridden),
        "counts": dict(one.counts),
        "unreadable": list(one.unreadable),
        "calibration": _calibration_data(one),
    }


def _calibration_data(one: KnowledgeStatus) -> dict[str, Any] | None:
    found = one.calibration
    if found is None:
        return None
    return {
        "made_at": found.made_at.isoformat(),
        "questions": found.questions,
        "source": found.source,
        "generation": found.generation,
        "stale": one.calibration_is_stale,
    }


def _passage_data(passage: Passage) -> dict[str, Any]:
    return {
        "knowledge_base": passage.knowledge_base,
        "id": passage.document_id,
        "title": passage.title or passage.question,
        "heading": passage.heading,
        "page": passage.page or None,
        "text": passage.quote or passage.text,
        "score": round(passage.score, 4),
    }
