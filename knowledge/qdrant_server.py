"""How a Qdrant server is reached: its settings, its names, and what its faults mean."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from kfbot.errors import KnowledgeBaseUnavailable, SettingsError
from kfbot.extras import how_to_install
from knowledge.points import EngineAway

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, models

    from kfbot.settings import QdrantSettings
    from knowledge.index import Stamp

#: The engine in an index's stamp; raise the number when what is written of a point changes.
ENGINE = "qdrant-server 1"
#: Facets came last of what is asked of a server.
OLDEST = (1, 12)
#: The names that LlamaIndex's QdrantVectorStore uses.
DENSE, SPARSE = "text-dense", "text-sparse-new"
#: Payload fields: whose point it is, of which generation, and its number there.
TENANT, GENERATION, NUMBER, KIND = "knowledge_base", "generation", "point", "kind"

_NAMESPACE = UUID("6f1c5a52-6a0f-5c0e-9d0e-3d9b9a1f4c57")
_REFUSED = (401, 403)
#: The server's own trouble, which passes; 408: a request that came too slowly.
_PASSING = (408, 429, 500, 502, 503, 504)


class NotThere(KnowledgeBaseUnavailable):
    """The server has no such collection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A Qdrant server, and how it is used."""

    url: str
    api_key: str = field(default="", repr=False)
    #: For an answer to a question; writing may take a minute.
    timeout_seconds: float = 5.0
    #: The alias, and what the collections' names begin with.
    collection: str = "kfbot"
    #: None: the server's own default.
    shard_number: int | None = None
    replication_factor: int = 1
    write_consistency_factor: int = 1


def server_of(section: QdrantSettings) -> Server:
    """What the `[qdrant]` section says."""
    given = section.model_dump(exclude={"api_key"})
    return Server(**given, api_key=section.api_key.get_secret_value())


def collection_of(server: Server, stamp: Stamp) -> str:
    """The collection for points of a model and format, with these settings of the cluster."""
    made_for = (
        stamp.embedding_key, stamp.dimensions, stamp.format, stamp.engine, server.shard_number,
        server.replication_factor, server.write_consistency_factor,
    )  # fmt: skip
    digest = hashlib.blake2s(repr(made_for).encode(), digest_size=6)
    return f"{server.collection}-{digest.hexdigest()}"


def partition_of(stamp: Stamp) -> str:
    """What the points of one generation of a knowledge base bear, and no others."""
    digest = hashlib.blake2s(repr(sorted(asdict(stamp).items())).encode(), digest_size=8)
    return f"{stamp.generation}-{digest.hexdigest()}"


def point_id(stamp: Stamp, number: int) -> str:
    """The id of a point: writing it twice changes nothing."""
    return str(uuid5(_NAMESPACE, f"{stamp.knowledge_base}\n{partition_of(stamp)}\n{number}"))


def all_of(stamp: Stamp) -> models.Filter:
    """A filter for the points of one generation of a knowledge base."""
    from qdrant_client import models

    return models.Filter(
        must=[
            models.FieldCondition(key=key, match=models.MatchValue(value=value))
            for key, value in ((TENANT, stamp.knowledge_base), (GENERATION, partition_of(stamp)))
        ]
    )


def require_extra() -> None:
    """Import what talks to a server. Takes a second, and blocks.

    Raises:
        SettingsError: It is not installed.
    """
    try:
        importlib.import_module("qdrant_client")
        is_whole = importlib.util.find_spec("llama_index.vector_stores.qdrant") is not None
    except ModuleNotFoundError:
        is_whole = False
    if not is_whole:
        raise SettingsError(
            f"settings [qdrant]: a server's client is not installed: {how_to_install('qdrant')}"
        )


@asynccontextmanager
async def connected(server: Server, timeout_seconds: float) -> AsyncIterator[AsyncQdrantClient]:
    """A client whose requests take so long at most; nothing is asked yet."""
    from qdrant_client import AsyncQdrantClient

    client = AsyncQdrantClient(
        url=server.url,
        # As a header: the client warns of a key without TLS, which `kfbot check` does too.
        headers={"api-key": server.api_key} if server.api_key else None,
        timeout=max(1, round(timeout_seconds)),
        check_compatibility=False,
    )
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def asking(server: Server, timeout_seconds: float) -> AsyncIterator[None]:
    """Wait so long for the server, and turn its faults into ours, one line each.

    Raises:
        EngineAway: It does not answer, or is in trouble.
        NotThere: The collection does not exist.
        KnowledgeBaseUnavailable: It refuses; a person must look.
    """
    from qdrant_client.common.client_exceptions import QdrantException
    from qdrant_client.http.exceptions import ApiException

    try:
        async with asyncio.timeout(timeout_seconds):
            yield
    except TimeoutError:
        raise _late(server, timeout_seconds) from None
    except (ApiException, QdrantException) as error:
        raise _meaning(error, server, timeout_seconds) from error


def _late(server: Server, timeout_seconds: float) -> EngineAway:
    return EngineAway(
        f"Qdrant at {server.url} did not answer within {timeout_seconds:g} s:"
        " look whether it is overloaded, or raise [qdrant] timeout_seconds"
    )


def _meaning(error: Exception, server: Server, timeout_seconds: float) -> KnowledgeBaseUnavailable:
    import httpx
    from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    where = f"Qdrant at {server.url}"
    if isinstance(error, ResponseHandlingException):
        if isinstance(error.source, httpx.TimeoutException):
            return _late(server, timeout_seconds)
        if isinstance(error.source, httpx.HTTPError | OSError):
            reason = str(error.source) or type(error.source).__name__
            return EngineAway(
                f"{where} cannot be reached: {reason}: start it, or correct [qdrant] url"
            )
        return KnowledgeBaseUnavailable(
            f"{where} answers what its client does not understand: no Qdrant, or another version"
        )
    if isinstance(error, ResourceExhaustedResponse):
        return EngineAway(f"{where} takes no more requests now: {error}")
    if isinstance(error, UnexpectedResponse):
        return _refusal(where, error.status_code or 0, _said(error))
    return KnowledgeBaseUnavailable(f"{where}: {error}")


def _refusal(where: str, status: int, said: str) -> KnowledgeBaseUnavailable:
    if status in _REFUSED:
        return KnowledgeBaseUnavailable(
            f"{where} refuses the key ({status}): correct [qdrant] api_key (KFBOT_QDRANT__API_KEY)"
        )
    if status in _PASSING:
        return EngineAway(f"{where} is in trouble ({status}): {said}")
    if status == 404 and "collection" in said.lower():
        return NotThere(f"{where}: {said}")
    return KnowledgeBaseUnavailable(f"{where} refuses ({status}): {said}")


def _said(error: Any) -> str:
    """The server's own words, in one line of a bearable length."""
    try:
        said = str(error.structured()["status"]["error"])
    except (ValueError, KeyError, TypeError):
        said = str(error.reason_phrase) or "no reason given"
    return " ".join(said.split())[:200]


async def check_version(client: AsyncQdrantClient, server: Server) -> str:
    """The server's version.

    Raises:
        KnowledgeBaseUnavailable: It is too old, or does not answer.
    """
    async with asking(server, server.timeout_seconds):
        version: str = (await client.info()).version
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < OLDEST:
        oldest = ".".join(str(number) for number in OLDEST)
        raise KnowledgeBaseUnavailable(
            f"Qdrant at {server.url} is version {version}: kfbot needs {oldest} or newer"
        )
    return version
