"""Settings → the models that the knowledge base works with, opened or tried."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kfbot.model_settings import RerankerSettings
from kfbot.settings import Settings

if TYPE_CHECKING:
    from knowledge.embedding import Embedder
    from knowledge.reranking import Reranking


async def open_embedding(
    settings: Settings, report: Callable[[str], None], models: Path | None = None
) -> Embedder:
    """The embedding model of the settings.

    Args:
        models: The model cache, instead of the one in the data folder.

    Raises:
        KnowledgeBaseUnavailable: It is missing or does not answer.
    """
    from knowledge.embedding import open_embedder

    return await asyncio.to_thread(
        open_embedder,
        settings.embedding.model,
        models or settings.data_dir / "models",
        api_key=settings.embedding.api_key.get_secret_value(),
        report=report,
    )


@asynccontextmanager
async def open_reranking(
    section: RerankerSettings, report: Callable[[str], None]
) -> AsyncIterator[Reranking | None]:
    """The reranker of the settings; None: there is none.

    Raises:
        KnowledgeBaseUnavailable: Its model is missing, or no reranker. An endpoint is not asked.
    """
    if not section.model:
        yield None
        return
    from knowledge.reranking import Reranking, open_reranker

    key = section.api_key.get_secret_value()
    reranker = await asyncio.to_thread(open_reranker, section.model, api_key=key, report=report)
    try:
        yield Reranking(
            reranker, candidates=section.candidates, timeout_seconds=section.timeout_seconds
        )
    finally:
        await reranker.aclose()


def mask_texts(texts: Sequence[str]) -> tuple[str, ...]:
    """The texts with private data of every kind masked, for what leaves the house."""
    from knowledge.cleaning.masking import mask_texts as mask

    return mask(texts)


async def known_endings() -> frozenset[str]:
    """Of the names of files that can be read, in lower case, as ".pdf"."""

    def find() -> frozenset[str]:
        from knowledge.formats import READERS

        return frozenset(READERS)

    return await asyncio.to_thread(find)


def export_bundled(folder: Path) -> None:
    """Write the bundled embedding model as a folder that transformers reads.

    Raises:
        KnowledgeBaseUnavailable: Its weights are missing or damaged.
    """
    from knowledge.e5.export import export

    export(folder)


async def check_embedding(settings: Settings, report: Callable[[str], None]) -> tuple[str, int]:
    """Open the embedding model, try it, and return its key and the length of its vectors.

    Raises:
        KnowledgeBaseUnavailable: It is missing or does not answer.
    """
    from knowledge.vectors import key_of

    embedder = await open_embedding(settings, report)
    await asyncio.to_thread(embedder.embed_queries, ["?"])
    return key_of(embedder), embedder.dimensions


async def check_reranker(section: RerankerSettings, report: Callable[[str], None]) -> str:
    """Open the reranker, try it, and return its key; "" without one.

    Raises:
        KnowledgeBaseUnavailable: It is missing, is none, or does not answer in time.
    """
    async with open_reranking(section, report) as reranking:
        if reranking is None:
            return ""
        await reranking.try_out()
        return reranking.key
