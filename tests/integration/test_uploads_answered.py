"""An uploaded document, in a bot that is opened by its settings: answered from, also after a load
and a restart."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from kfbot.bootstrap import build
from kfbot.knowledge_base import KnowledgeBase
from kfbot.settings import Settings, load_settings
from kfbot.uploads import uploads_folder
from kfbot.web.server import serving
from tests.cache import MODEL_CACHE

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

OURS = "# Returns\n\nYou can return a kettle within 15 days.\n"
THEIRS = "# Zephyr insurance\n\nThe Zephyr drone insurance costs 49 euros a year.\n"
QUESTION = "How much does the Zephyr drone insurance cost a year?"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text(OURS)
    (tmp_path / "var").mkdir()
    MODEL_CACHE.mkdir(exist_ok=True)
    (tmp_path / "var" / "models").symlink_to(MODEL_CACHE.resolve())
    file = tmp_path / "kfbot.toml"
    file.write_text('[knowledge.shop]\nsources = ["docs"]\n[web]\nport = 0\n')
    return load_settings(file)


class Served:
    """The bot's API, and its knowledge base."""

    def __init__(self, url: str, http: aiohttp.ClientSession, knowledge: KnowledgeBase) -> None:
        self.url = url
        self.http = http
        self.knowledge = knowledge

    async def found(self, question: str) -> list[str]:
        """The ids of what is found, best first."""
        address = f"{self.url}/api/v1/knowledge/search"
        async with self.http.get(address, params={"q": question}) as response:
            return [one["id"] for one in (await response.json())["data"]["passages"]]


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[Served]:
    async with (
        build(settings) as application,
        serving(application) as url,
        aiohttp.ClientSession() as http,
    ):
        await application.knowledge.load()
        yield Served(url, http, application.knowledge)


async def removed(bot: Served, knowledge_base: str, name: str) -> None:
    address = f"{bot.url}/api/v1/knowledge/{knowledge_base}/uploads/{name}"
    async with bot.http.delete(address) as response:
        assert response.status == 202
    await bot.knowledge.load()


async def test_an_uploaded_document_is_found_beside_the_sources_until_it_is_removed(
    settings: Settings,
) -> None:
    async with served(settings) as bot:
        assert await bot.found(QUESTION) == ["page.md"]
        form = aiohttp.FormData()
        form.add_field("file", THEIRS.encode(), filename="page.md")
        async with bot.http.post(f"{bot.url}/api/v1/doc/upload", data=form) as response:
            assert response.status in (200, 202)
    # The copies are nothing that has to be kept.
    shutil.rmtree(uploads_folder(settings.data_dir, "shop"))
    async with served(settings) as bot:
        assert await bot.found(QUESTION) == ["uploads/page.md", "page.md"]
        await removed(bot, "shop", "page.md")
        assert await bot.found(QUESTION) == ["page.md"]
