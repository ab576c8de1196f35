"""A Qdrant server: real HTTP on loopback in a thread of its own, over the client's local mode.

Bodies are read and written with the client's own models, so what kfbot sends is what the API
describes. Searching is exact, and slow from some thousand points on; there are no shards.
"""

from __future__ import annotations

import asyncio
import threading
import warnings
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError
from qdrant_client import AsyncQdrantClient, models

VERSION = "1.19.0"
Body = TypeVar("Body", bound=BaseModel)


class QdrantServer:
    """Use as a context manager; `url` is set inside."""

    def __init__(self, *, api_key: str = "") -> None:
        self.url = ""
        self.version = VERSION
        #: Status that every request is answered with; 0: as it should be. -1: the connection is
        #: cut, -2: never answered.
        self.fault = 0
        #: So many requests meet the fault; None: all.
        self.faults: int | None = None
        #: Only requests whose path ends so meet the fault.
        self.faulty = ""
        self._api_key = api_key
        #: "METHOD path" of each request.
        self.requests: list[str] = []
        #: Payload indexes, which local mode does not have: (collection, field, schema).
        self.indexed: list[tuple[str, str, Any]] = []
        #: What each collection was created with.
        self.created: dict[str, models.CreateCollection] = {}
        self._local: AsyncQdrantClient
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._started: Future[str] = Future()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self.url = self._started.result(10)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def forget(self) -> None:
        """Lose everything, as a server whose disk was replaced."""

        async def afresh() -> None:
            self._local = AsyncQdrantClient(":memory:")

        asyncio.run_coroutine_threadsafe(afresh(), self._loop).result(10)

    def aliases(self) -> dict[str, str]:
        """Which collection each alias means."""
        found = asyncio.run_coroutine_threadsafe(self._local.get_aliases(), self._loop).result(10)
        return {one.alias_name: one.collection_name for one in found.aliases}

    def partitions(self, collection: str) -> dict[str, int]:
        """How many points there are of each generation."""
        found = asyncio.run_coroutine_threadsafe(
            self._local.facet(collection, "generation", limit=100), self._loop
        ).result(10)
        return {str(hit.value): hit.count for hit in found.hits}

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._local = AsyncQdrantClient(":memory:")
        app = web.Application(client_max_size=64 * 1024 * 1024, middlewares=[self._guard])
        at = "/collections/{name}"
        app.add_routes(
            [
                web.get("/", self._version),
                web.get("/collections", self._collections),
                web.post("/collections/aliases", self._change_aliases),
                web.get("/aliases", self._aliases),
                web.get(at, self._collection),
                web.get(f"{at}/exists", self._exists),
                web.put(at, self._create),
                web.put(f"{at}/index", self._index),
                web.put(f"{at}/points", self._upsert),
                web.post(f"{at}/points", self._retrieve),
                web.post(f"{at}/points/count", self._count),
                web.post(f"{at}/points/delete", self._delete),
                web.post(f"{at}/points/query/batch", self._query),
                web.post(f"{at}/facet", self._facet),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        self._started.set_result(f"http://{host}:{port}")
        await self._stop.wait()
        await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        if self.fault and request.path.endswith(self.faulty) and self.faults != 0:
            self.faults = None if self.faults is None else self.faults - 1
            return await self._fail(request)
        if self._api_key and request.headers.get("api-key") != self._api_key:
            return _error(401, "Must provide an API key or an Authorization bearer token")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                answer: web.StreamResponse = await handler(request)
                return answer
        except ValidationError as error:
            return _error(400, str(error))
        except ValueError as error:
            missing = "not found" in str(error)
            return _error(404 if missing else 409, f"Not found: {error}" if missing else str(error))

    async def _fail(self, request: web.Request) -> web.StreamResponse:
        if self.fault > 0:
            return _error(self.fault, "out of order")
        if self.fault == -2:
            await self._stop.wait()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"title": "qdrant - vector search", "version": self.version})

    async def _collections(self, request: web.Request) -> web.Response:
        return _result(await self._local.get_collections())

    async def _aliases(self, request: web.Request) -> web.Response:
        return _result(await self._local.get_aliases())

    async def _change_aliases(self, request: web.Request) -> web.Response:
        body = await _read(request, models.ChangeAliasesOperation)
        return _result(await self._local.update_collection_aliases(body.actions))

    async def _collection(self, request: web.Request) -> web.Response:
        return _result(await self._local.get_collection(request.match_info["name"]))

    async def _exists(self, request: web.Request) -> web.Response:
        return _result({"exists": await self._local.collection_exists(request.match_info["name"])})

    async def _create(self, request: web.Request) -> web.Response:
        name, body = request.match_info["name"], await _read(request, models.CreateCollection)
        made = await self._local.create_collection(
            name, vectors_config=body.vectors, sparse_vectors_config=body.sparse_vectors
        )
        self.created[name] = body
        return _result(made)

    async def _index(self, request: web.Request) -> web.Response:
        body = await _read(request, models.CreateFieldIndex)
        self.indexed.append((request.match_info["name"], body.field_name, body.field_schema))
        return _result({"operation_id": 1, "status": "completed"})

    async def _upsert(self, request: web.Request) -> web.Response:
        body = await _read(request, models.PointsList)
        assert request.query["wait"] == "true"
        return _result(await self._local.upsert(request.match_info["name"], body.points))

    async def _retrieve(self, request: web.Request) -> web.Response:
        body = await _read(request, models.PointRequest)
        found = await self._local.retrieve(
            request.match_info["name"], body.ids, with_payload=body.with_payload or False
        )
        return _result(found)

    async def _count(self, request: web.Request) -> web.Response:
        body = await _read(request, models.CountRequest)
        return _result(await self._local.count(request.match_info["name"], body.filter))

    async def _delete(self, request: web.Request) -> web.Response:
        body = await _read(request, models.FilterSelector)
        return _result(await self._local.delete(request.match_info["name"], body.filter))

    async def _query(self, request: web.Request) -> web.Response:
        body = await _read(request, models.QueryRequestBatch)
        return _result(
            await self._local.query_batch_points(request.match_info["name"], body.searches)
        )

    async def _facet(self, request: web.Request) -> web.Response:
        body = await _read(request, models.FacetRequest)
        found = await self._local.facet(
            request.match_info["name"], body.key, body.filter, limit=body.limit or 10
        )
        return _result(found)


async def _read(request: web.Request, model: type[Body]) -> Body:
    return model.model_validate_json(await request.read())


def _result(value: Any) -> web.Response:
    return web.json_response({"result": _plain(value), "status": "ok", "time": 0.001})


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _error(status: int, said: str) -> web.Response:
    return web.json_response({"status": {"error": said}, "time": 0.001}, status=status)
