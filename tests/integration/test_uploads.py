"""`POST /api/v1/doc/upload`: what may be sent, where it lies, and what it is answered with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.knowledge_base import LoadReport
from kfbot.testing import FakeKnowledgeBase
from kfbot.uploads import uploads_folder
from kfbot.web import uploads
from tests.integration.conftest import ENTRIES, Served, ServedBot

pytestmark = pytest.mark.asyncio

URL = "/api/v1/doc/upload"
PAGE = b"# Returns\n\nYou have 15 days.\n"


class Loading(FakeKnowledgeBase):
    """Loads as a test says, and notes what."""

    def __init__(self) -> None:
        super().__init__(ENTRIES)
        self.loaded: list[Any] = []
        self.unreadable: tuple[str, ...] = ()
        self.fault = ""
        self.going = asyncio.Event()
        self.going.set()

    async def load(self, names: Any = None, *, progress: Any = None) -> tuple[LoadReport, ...]:
        self.loaded.append(names)
        await self.going.wait()
        if self.fault:
            raise KnowledgeBaseUnavailable(self.fault)
        return (LoadReport(knowledge_base="fake", unreadable=self.unreadable),)


@pytest.fixture
def base() -> Loading:
    return Loading()


@pytest_asyncio.fixture
async def bot(served: Served, base: Loading) -> AsyncIterator[ServedBot]:
    async with served(base=base) as opened:
        yield opened


def form(data: bytes = PAGE, filename: str = "returns.md", part: str = "file") -> aiohttp.FormData:
    fields = aiohttp.FormData()
    fields.add_field("note", "a field that means nothing here")
    fields.add_field(part, data, filename=filename, content_type="application/octet-stream")
    return fields


async def upload(bot: ServedBot, query: str = "", **fields: Any) -> tuple[int, dict[str, Any]]:
    return await bot.post(URL + query, data=form(**fields))


def kept(bot: ServedBot, name: str = "fake") -> dict[str, bytes]:
    folder = uploads_folder(bot.data_dir, name)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


async def test_a_document_is_kept_loaded_and_answered_in_openkfs_form(
    bot: ServedBot, base: Loading
) -> None:
    status, body = await upload(bot)
    assert (status, body["code"], body["msg"]) == (200, 200, "returns.md Upload success")
    assert body["data"]["id"] == "uploads/returns.md"
    assert (body["data"]["knowledge_base"], body["data"]["bytes"]) == ("fake", len(PAGE))
    assert kept(bot) == {"uploads/returns.md": PAGE}
    assert base.loaded == [["fake"]]


async def test_a_document_of_the_same_name_takes_the_place_of_the_other(bot: ServedBot) -> None:
    await upload(bot)
    await upload(bot, data=b"# Returns\n\nYou have 30 days.\n")
    assert kept(bot) == {"uploads/returns.md": b"# Returns\n\nYou have 30 days.\n"}


@pytest.mark.parametrize(
    ("filename", "name"), [("退货 政策.md", "退货 政策.md"), ("../../up.md", "up.md")]
)
async def test_a_name_comes_through_as_it_is_and_leads_nowhere_else(
    bot: ServedBot, filename: str, name: str
) -> None:
    _, body = await upload(bot, filename=filename)
    assert body["data"]["id"] == f"uploads/{name}"
    assert kept(bot) == {f"uploads/{name}": PAGE}


@pytest.mark.parametrize("filename", ["virus.exe", "archive.zip", "page.md.sh"])
async def test_a_kind_that_cannot_be_read_is_refused_and_not_kept(
    bot: ServedBot, base: Loading, filename: str
) -> None:
    status, body = await upload(bot, filename=filename)
    assert (status, base.loaded, kept(bot)) == (400, [], {})
    assert ".pdf" in body["msg"]


async def test_nothing_is_kept_of_a_document_that_is_too_large(
    bot: ServedBot, base: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "DOCUMENT_BYTES", 700_000)
    assert (await upload(bot, data=b"x" * 700_000))[0] == 200
    status, body = await upload(bot, data=b"x" * 700_001)
    assert (status, body["code"]) == (413, 413)
    assert [len(data) for data in kept(bot).values()] == [700_000]
    assert len(base.loaded) == 1


async def test_an_empty_document_is_refused(bot: ServedBot) -> None:
    status, body = await upload(bot, data=b"")
    assert (status, body["msg"], kept(bot)) == (400, "file: is empty", {})


async def test_a_form_without_a_file_is_refused(bot: ServedBot) -> None:
    status, body = await upload(bot, part="document")
    assert (status, body["msg"]) == (400, "file: the part with the document is missing")


@pytest.mark.parametrize("body", [b"", b"no form", b"--x\r\n", b"--x\r\n\r\n", b"\xff" * 100])
@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x"])
async def test_what_is_no_form_is_refused(bot: ServedBot, body: bytes, kind: str) -> None:
    status, answer = await bot.post(URL, data=body, headers={"Content-Type": kind})
    assert (status, answer["code"], kept(bot)) == (400, 400, {})


@pytest.mark.parametrize("headers", [b"a: b\r\n" * 1000, b"a" * 20_000, b"no header\r\n"])
@pytest.mark.parametrize("is_behind", [False, True])
async def test_a_part_with_headers_that_are_none_is_refused(
    bot: ServedBot, headers: bytes, is_behind: bool
) -> None:
    whole = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.md"\r\n\r\nA\r\n'
    body = (whole if is_behind else b"") + b"--x\r\n" + headers + b"\r\n\r\n--x--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    status, _ = await bot.post(URL, data=body, headers=kind)
    assert (status, kept(bot)) == (400, {})


async def test_a_form_that_breaks_off_leaves_nothing(bot: ServedBot) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.md"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    status, _ = await bot.post(URL, data=head + b"half of it", headers=headers)
    assert (status, kept(bot)) == (400, {})


async def test_a_document_that_cannot_be_read_is_said_so(bot: ServedBot, base: Loading) -> None:
    base.unreadable = ("other.pdf: damaged", "uploads/returns.md: empty")
    status, body = await upload(bot)
    assert (status, body["msg"]) == (422, "returns.md cannot be read: empty")


async def test_a_load_that_fails_is_said_so_and_the_document_kept(
    bot: ServedBot, base: Loading
) -> None:
    base.fault = "the disk is full"
    status, body = await upload(bot)
    assert (status, kept(bot)) == (503, {"uploads/returns.md": PAGE})
    assert "the disk is full" in body["msg"]


async def test_a_load_that_takes_long_is_answered_with_its_job(
    bot: ServedBot, base: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PATIENCE_SECONDS", 0.0)
    base.going.clear()
    status, body = await upload(bot)
    assert (status, body["code"], body["msg"]) == (202, 202, "returns.md Upload accepted")
    _, job = await bot.get(f"/api/v1/jobs/{body['data']['job']}")
    assert job["data"]["state"] == "running"
    base.going.set()


async def test_the_knowledge_base_can_be_named(served: Served, base: Loading) -> None:
    sections = {"faq": {"sources": ["."]}, "manuals": {"sources": ["."]}}
    async with served(base=base, knowledge=sections) as bot:
        status, body = await upload(bot)
        assert (status, body["msg"]) == (400, "kb: say which knowledge base, as in ?kb=faq")
        assert (await upload(bot, "?kb=manuals"))[1]["data"]["knowledge_base"] == "manuals"
        assert (await upload(bot, "?kb=nothing"))[0] == 404
        assert kept(bot, "manuals") == {"uploads/returns.md": PAGE}
        assert base.loaded == [["manuals"]]


@pytest.mark.parametrize("usual", ["default", "uploads"])
async def test_a_usual_name_needs_no_naming(served: Served, base: Loading, usual: str) -> None:
    async with served(base=base, knowledge={usual: {"sources": ["."]}}) as bot:
        assert (await upload(bot))[1]["data"]["knowledge_base"] == usual


async def test_a_knowledge_base_named_like_a_parent_folder_lies_where_the_others_do(
    tmp_path: Path,
) -> None:
    assert uploads_folder(tmp_path, "..").resolve().parent == (tmp_path / "uploads").resolve()
    assert uploads_folder(tmp_path, "..") != uploads_folder(tmp_path, "%2E%2E")


async def test_a_page_of_another_site_cannot_upload(bot: ServedBot, base: Loading) -> None:
    headers = {"Origin": "https://evil.example"}
    status, _ = await bot.post(URL, data=form(), headers=headers)
    assert (status, base.loaded, kept(bot)) == (403, [], {})


async def test_with_tokens_only_who_has_one_may_upload(served: Served, base: Loading) -> None:
    token = "a-long-token-of-the-operator"
    async with served(base=base, web={"tokens": [token]}) as bot:
        assert (await upload(bot))[0] == 401
        headers = {"Authorization": "Bearer wrong"}
        assert (await bot.post(URL, data=form(), headers=headers))[0] == 401
        assert (base.loaded, kept(bot)) == ([], {})
        headers = {"Authorization": f"Bearer {token}"}
        assert (await bot.post(URL, data=form(), headers=headers))[0] == 200


@pytest.mark.parametrize(("path", "as_form"), [(URL, False), ("/api/v1/ask", True)])
async def test_only_this_address_takes_forms_and_it_takes_nothing_else(
    bot: ServedBot, path: str, as_form: bool
) -> None:
    status, _ = await (bot.post(path, data=form()) if as_form else bot.post(path, {}))
    assert status == 415


async def test_the_answer_has_the_described_form(bot: ServedBot) -> None:
    _, description = await bot.get("/api/v1/openapi.json")
    _, body = await upload(bot)
    assert set(description["components"]["schemas"]["Uploaded"]["properties"]) == set(body["data"])
    described = {int(status) for status in description["paths"][URL]["post"]["responses"]}
    assert described == {200, 202, 400, 401, 403, 404, 413, 415, 422, 503}
