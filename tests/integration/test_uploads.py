"""Uploads over the API: what may be sent, what is kept, listed and removed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.knowledge_base import LoadReport
from kfbot.store.engine import Database
from kfbot.store.uploads import UploadStore
from kfbot.testing import FakeKnowledgeBase
from kfbot.uploads import lay_out, take_in, uploads_folder
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


async def kept(bot: ServedBot, name: str = "fake") -> dict[str, bytes | None]:
    store = bot.application.uploads
    return {one.name: await store.content(name, one.name) for one in await store.list(name)}


async def test_a_document_is_kept_loaded_and_answered_in_openkfs_form(
    bot: ServedBot, base: Loading
) -> None:
    status, body = await upload(bot)
    assert (status, body["code"], body["msg"]) == (200, 200, "returns.md Upload success")
    assert body["data"]["id"] == "uploads/returns.md"
    assert (body["data"]["knowledge_base"], body["data"]["bytes"]) == ("fake", len(PAGE))
    assert await kept(bot) == {"returns.md": PAGE}
    assert base.loaded == [["fake"]]


async def test_a_document_of_the_same_name_takes_the_place_of_the_other(bot: ServedBot) -> None:
    await upload(bot)
    await upload(bot, data=b"# Returns\n\nYou have 30 days.\n")
    assert await kept(bot) == {"returns.md": b"# Returns\n\nYou have 30 days.\n"}


@pytest.mark.parametrize(
    ("filename", "name"), [("退货 政策.md", "退货 政策.md"), ("../../up.md", "up.md")]
)
async def test_a_name_comes_through_as_it_is_and_leads_nowhere_else(
    bot: ServedBot, filename: str, name: str
) -> None:
    _, body = await upload(bot, filename=filename)
    assert body["data"]["id"] == f"uploads/{name}"
    assert await kept(bot) == {name: PAGE}


@pytest.mark.parametrize("filename", ["virus.exe", "archive.zip", "page.md.sh"])
async def test_a_kind_that_cannot_be_read_is_refused_and_not_kept(
    bot: ServedBot, base: Loading, filename: str
) -> None:
    status, body = await upload(bot, filename=filename)
    assert (status, base.loaded, await kept(bot)) == (400, [], {})
    assert ".pdf" in body["msg"]


async def test_nothing_is_kept_of_a_document_that_is_too_large(
    bot: ServedBot, base: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "DOCUMENT_BYTES", 700_000)
    assert (await upload(bot, data=b"x" * 700_000))[0] == 200
    status, body = await upload(bot, data=b"x" * 700_001)
    assert (status, body["code"]) == (413, 413)
    assert [len(data or b"") for data in (await kept(bot)).values()] == [700_000]
    assert len(base.loaded) == 1


async def test_an_empty_document_is_refused(bot: ServedBot) -> None:
    status, body = await upload(bot, data=b"")
    assert (status, body["msg"], await kept(bot)) == (400, "file: is empty", {})


async def test_a_form_without_a_file_is_refused(bot: ServedBot) -> None:
    status, body = await upload(bot, part="document")
    assert (status, body["msg"]) == (400, "file: the part with the document is missing")


@pytest.mark.parametrize("body", [b"", b"no form", b"--x\r\n", b"--x\r\n\r\n", b"\xff" * 100])
@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x"])
async def test_what_is_no_form_is_refused(bot: ServedBot, body: bytes, kind: str) -> None:
    status, answer = await bot.post(URL, data=body, headers={"Content-Type": kind})
    assert (status, answer["code"], await kept(bot)) == (400, 400, {})


@pytest.mark.parametrize("headers", [b"a: b\r\n" * 1000, b"a" * 20_000, b"no header\r\n"])
@pytest.mark.parametrize("is_behind", [False, True])
async def test_a_part_with_headers_that_are_none_is_refused(
    bot: ServedBot, headers: bytes, is_behind: bool
) -> None:
    whole = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.md"\r\n\r\nA\r\n'
    body = (whole if is_behind else b"") + b"--x\r\n" + headers + b"\r\n\r\n--x--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    status, _ = await bot.post(URL, data=body, headers=kind)
    assert (status, await kept(bot)) == (400, {})


async def test_a_form_that_breaks_off_leaves_nothing(bot: ServedBot) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.md"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    status, _ = await bot.post(URL, data=head + b"half of it", headers=headers)
    assert (status, await kept(bot)) == (400, {})


async def test_a_document_that_cannot_be_read_is_said_so(bot: ServedBot, base: Loading) -> None:
    base.unreadable = ("other.pdf: damaged", "uploads/returns.md: empty")
    status, body = await upload(bot)
    assert (status, body["msg"]) == (422, "returns.md cannot be read: empty")


async def test_a_load_that_fails_is_said_so_and_the_document_kept(
    bot: ServedBot, base: Loading
) -> None:
    base.fault = "the disk is full"
    status, body = await upload(bot)
    assert (status, await kept(bot)) == (503, {"returns.md": PAGE})
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
        assert await kept(bot, "manuals") == {"returns.md": PAGE}
        assert base.loaded == [["manuals"]]


@pytest.mark.parametrize("usual", ["default", "uploads"])
async def test_a_usual_name_needs_no_naming(served: Served, base: Loading, usual: str) -> None:
    async with served(base=base, knowledge={usual: {"sources": ["."]}}) as bot:
        assert (await upload(bot))[1]["data"]["knowledge_base"] == usual


async def test_a_knowledge_base_named_like_a_parent_folder_lies_where_the_others_do(
    tmp_path: Path,
) -> None:
    assert uploads_folder(tmp_path, "..").resolve().parent == (tmp_path / "uploaded").resolve()
    assert uploads_folder(tmp_path, "..") != uploads_folder(tmp_path, "%2E%2E")


async def test_a_page_of_another_site_cannot_upload(bot: ServedBot, base: Loading) -> None:
    headers = {"Origin": "https://evil.example"}
    status, _ = await bot.post(URL, data=form(), headers=headers)
    assert (status, base.loaded, await kept(bot)) == (403, [], {})


async def test_with_tokens_only_who_has_one_may_upload(served: Served, base: Loading) -> None:
    token = "a-long-token-of-the-operator"
    async with served(base=base, web={"tokens": [token]}) as bot:
        assert (await upload(bot))[0] == 401
        headers = {"Authorization": "Bearer wrong"}
        assert (await bot.post(URL, data=form(), headers=headers))[0] == 401
        assert (base.loaded, await kept(bot)) == ([], {})
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


async def test_uploads_are_listed_by_name(bot: ServedBot) -> None:
    await upload(bot, filename="zebra.md")
    await upload(bot, filename="退货 政策.md", data=b"# A")
    status, body = await bot.get("/api/v1/knowledge/fake/uploads")
    assert status == 200
    assert [(one["name"], one["bytes"]) for one in body["data"]] == [
        ("zebra.md", len(PAGE)),
        ("退货 政策.md", 3),
    ]
    assert (await bot.get("/api/v1/knowledge/other/uploads"))[0] == 404


async def test_an_upload_is_removed_and_its_knowledge_base_loaded(
    bot: ServedBot, base: Loading
) -> None:
    await upload(bot, filename="退货 政策.md")
    path = "/api/v1/knowledge/fake/uploads/退货 政策.md"
    async with bot.http.delete(bot.url + path) as response:
        assert (response.status, list((await response.json())["data"])) == (202, ["job"])
    assert (await kept(bot), base.loaded) == ({}, [["fake"], ["fake"]])
    async with bot.http.delete(bot.url + path) as response:
        assert response.status == 404


# The copies that a load reads


@pytest_asyncio.fixture
async def store(url: str) -> AsyncIterator[UploadStore]:
    began, ticks = datetime(2026, 1, 5, tzinfo=UTC), count()
    async with Database(url) as database:
        yield UploadStore(database, lambda: began + timedelta(microseconds=next(ticks)))


def laid_out(data_dir: Path) -> dict[str, bytes]:
    folder = uploads_folder(data_dir, "shop") / "uploads"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_the_copies_are_what_the_database_has(store: UploadStore, tmp_path: Path) -> None:
    await store.put("shop", "a.md", b"one")
    await store.put("shop", "b.md", b"one")
    await store.put("other", "c.md", b"one")
    await lay_out(store, tmp_path, "shop")
    assert laid_out(tmp_path) == {"a.md": b"one", "b.md": b"one"}
    await store.put("shop", "a.md", b"two")
    assert await store.remove("shop", "b.md")
    await lay_out(store, tmp_path, "shop")
    assert laid_out(tmp_path) == {"a.md": b"two"}


async def test_of_two_uploads_at_once_under_one_name_the_one_stays(store: UploadStore) -> None:
    await asyncio.gather(*(store.put("shop", "a.md", bytes([number])) for number in range(8)))
    assert len(await store.list("shop")) == 1
    assert len(await store.content("shop", "a.md") or b"") == 1


async def test_a_copy_that_was_broken_off_or_changed_is_made_again(
    store: UploadStore, tmp_path: Path
) -> None:
    await store.put("shop", "a.md", b"one")
    await lay_out(store, tmp_path, "shop")
    for half in (b"on", b"two"):
        (uploads_folder(tmp_path, "shop") / "uploads" / "a.md").write_bytes(half)
        await lay_out(store, tmp_path, "shop")
        assert laid_out(tmp_path) == {"a.md": b"one"}


async def test_a_copy_that_is_right_is_left_alone(store: UploadStore, tmp_path: Path) -> None:
    await store.put("shop", "a.md", b"one")
    await lay_out(store, tmp_path, "shop")
    path = uploads_folder(tmp_path, "shop") / "uploads" / "a.md"
    before = path.stat()
    await lay_out(store, tmp_path, "shop")
    assert path.stat().st_ctime_ns == before.st_ctime_ns


async def test_a_folder_that_cannot_be_written_is_named(store: UploadStore, tmp_path: Path) -> None:
    await store.put("shop", "a.md", b"one")
    (tmp_path / "uploaded").write_bytes(b"no folder")
    with pytest.raises(KnowledgeBaseUnavailable, match="uploads of shop cannot be copied to"):
        await lay_out(store, tmp_path, "shop")


async def test_files_of_an_earlier_version_are_taken_into_the_database_once(
    store: UploadStore, tmp_path: Path
) -> None:
    folder = tmp_path / "uploads" / "shop" / "uploads"
    folder.mkdir(parents=True)
    (folder / "returns.md").write_bytes(PAGE)
    (folder / ".0123456789abcdef").write_bytes(b"half of an upl")
    await take_in(store, tmp_path, ["shop", "other"])
    assert await store.content("shop", "returns.md") == PAGE
    assert len(await store.list("shop")) == 1
    assert not folder.exists()
    assert laid_out(tmp_path) == {"returns.md": PAGE}
    await store.remove("shop", "returns.md")
    await take_in(store, tmp_path, ["shop", "other"])
    assert await store.list("shop") == ()


async def test_what_somebody_put_beside_the_files_of_an_earlier_version_stays(
    store: UploadStore, tmp_path: Path
) -> None:
    folder = tmp_path / "uploads" / "shop" / "uploads"
    (folder / "more").mkdir(parents=True)
    own = (folder / "more" / "a.md", folder.parent / "b.md")
    for path in (*own, folder / "returns.md"):
        path.write_bytes(PAGE)
    await take_in(store, tmp_path, ["shop"])
    assert [one.name for one in await store.list("shop")] == ["returns.md"]
    assert [path.read_bytes() for path in own] == [PAGE, PAGE]
    assert not (folder / "returns.md").exists()


async def test_a_file_that_another_process_has_taken_in_meanwhile_is_passed_over(
    store: UploadStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "uploads" / "shop" / "uploads"
    folder.mkdir(parents=True)
    for name in ("a.md", "b.md"):
        (folder / name).write_bytes(PAGE)
    put = store.put

    async def put_while_another_takes_the_rest(base: str, name: str, content: bytes) -> None:
        await put(base, name, content)
        for path in folder.iterdir():
            path.unlink()

    monkeypatch.setattr(store, "put", put_while_another_takes_the_rest)
    await take_in(store, tmp_path, ["shop"])
    assert len(await store.list("shop")) == 1
    assert not folder.parent.exists()
