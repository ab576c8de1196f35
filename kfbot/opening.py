"""Settings → what is opened for them: database, knowledge base, chat model; sources, looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kfbot.adapter import ChannelAdapter
from kfbot.chat_model import ChatModel
from kfbot.grounding.questions import questions_for
from kfbot.grounding.writing import Writer
from kfbot.knowledge_base import KnowledgeBase, Progress
from kfbot.knowledge_models import open_embedding, open_reranking
from kfbot.settings import QdrantSettings, Settings
from kfbot.store.backup import back_up_before_upgrade
from kfbot.store.engine import Database
from kfbot.store.schema import find_schema
from kfbot.store.token_use import TokenUse


@asynccontextmanager
async def open_database(
    settings: Settings, report: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Database]:
    """The database of the settings, its schema up to date.

    Before SQLite is upgraded it is copied to backups/; `report` is told so.

    Raises:
        BackupFailed: It could not be copied, and was not upgraded.
        StoreUnavailable: It cannot be used, or a newer kfbot made it.
    """
    url = settings.database_url
    schema = await find_schema(url)
    copy = await asyncio.to_thread(back_up_before_upgrade, url, schema, datetime.now(UTC))
    if copy is not None:
        report(f"The schema is upgraded from {schema.current} to {schema.newest}; before: {copy}")
    async with Database(url) as database:
        await database.upgrade()
        yield database


@asynccontextmanager
async def open_knowledge(
    settings: Settings,
    database: Database,
    report: Callable[[str], None],
    *,
    models: Path | None = None,
    copies: Path | None = None,
    model: ChatModel | None = None,
    fetch: Callable[[str], Awaitable[None]] | None = None,
) -> AsyncIterator[KnowledgeBase]:
    """The knowledge base of the settings, ready to be asked and loaded.

    Args:
        models: The model cache, instead of the one in the data folder.
        copies: Where copies of remote sources lie, instead of the data folder.
        model: Writes questions that chunks answer, where the settings want them.
        fetch: Gets sources of a knowledge base ready, before each load of it.
    """
    # LlamaIndex takes seconds to import; commands that talk to a server do without it.
    from kfbot.store.chunks import KnowledgeStore
    from knowledge.intake import intake_of
    from knowledge.load import Knowledge
    from knowledge.qdrant_points import open_engine

    embedder = await open_embedding(settings, report, models)
    intakes = {name: intake_of(section) for name, section in settings.knowledge.items()}
    store = KnowledgeStore(database)
    cache = copies or settings.data_dir / "sources"
    async with (
        open_engine(settings.qdrant) as engine,
        open_reranking(settings.reranker, report) as reranking,
        Knowledge(
            intakes,
            store,
            embedder,
            settings.data_dir,
            cache=cache,
            engine=engine,
            reranking=reranking,
            ask=partial(questions_for, model) if model else None,
            fetch=fetch,
        ) as knowledge,
    ):
        yield knowledge


@asynccontextmanager
async def open_writer(
    settings: Settings,
    *,
    use: TokenUse | None = None,
    channels: Mapping[str, ChannelAdapter] | None = None,
) -> AsyncIterator[Writer | None]:
    """What writes answers with the chat model of the settings; None: there is no such model.

    Args:
        use: Where tokens are counted and budgets kept; None: nowhere.
        channels: Those that may have a budget of their own.

    Raises:
        SettingsError: The model cannot be used like this.
    """
    from kfbot.model.opening import open_chat_model

    limits = {name: one.settings.tokens_per_day for name, one in (channels or {}).items()}
    # What talks to a model takes seconds to import.
    model = await asyncio.to_thread(
        open_chat_model, settings.chat_model, use=use, by_channel=limits
    )
    if model is None:
        yield None
        return
    try:
        yield Writer(model, settings.chat_model, settings.answers)
    finally:
        await model.aclose()


async def check_qdrant(section: QdrantSettings) -> str:
    """The state of the Qdrant server of the settings, in one line.

    Raises:
        KnowledgeBaseUnavailable: It cannot be used.
        SettingsError: What talks to it is not installed.
    """
    from knowledge.qdrant_points import look_at

    return await look_at(section)


async def inspect_sources(sources: Sequence[str], progress: Progress) -> list[dict[str, Any]]:
    """What is read from sources, chunk by chunk; see `knowledge.inspection.inspect`.

    Raises:
        KnowledgeBaseError: They cannot be read at all.
    """
    from knowledge.inspection import inspect

    with TemporaryDirectory(prefix="kfbot-inspect-") as cache:
        return await inspect(list(sources), Path(cache), progress)
