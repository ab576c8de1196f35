"""The web chat as a page sees it: messages go in by POST, the transcript comes by push."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa

from kfbot.errors import StoreUnavailable
from kfbot.store import tables
from kfbot.store.notices import conversation_notice
from kfbot.web import chat
from tests.integration.conftest import DOUBTFUL, ENTRIES, Served, ServedBot

pytestmark = pytest.mark.asyncio

COOKIE = "kfbot_visitor"
QUESTION = "When will my refund arrive?"
REFUND = ENTRIES[QUESTION]
HEARTBEAT = "heartbeat"


@dataclass(frozen=True)
class Pushed:
    """One event of a stream; `heartbeat` for a sign of life."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    id: str | None = None


class Stream:
    """The events that one open page gets."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content

    async def next(self) -> Pushed | None:
        """The next event; None once the server has ended the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(60):
            while line := (await self._content.readline()).decode():
                name, _, value = line.rstrip("\n").partition(": ")
                if line == "\n" and fields:
                    return _pushed(fields)
                if line != "\n":
                    fields[name] = value
        return None

    async def until(self, name: str) -> list[Pushed]:
        """All events up to the first of a name."""
        found: list[Pushed] = []
        while not found or found[-1].name != name:
            event = await self.next()
            assert event is not None, f"the stream ended before {name}"
            found.append(event)
        return found

    async def messages(self, count: int) -> list[dict[str, Any]]:
        """The next messages."""
        return [(await self.until("message"))[-1].data for _ in range(count)]

    async def state(self) -> dict[str, Any]:
        """The next state."""
        return (await self.until("state"))[-1].data

    async def said_until_quiet(self) -> list[str]:
        """Texts of what comes before a sign of life says that there is nothing more."""
        events = await self.until(HEARTBEAT)
        return [event.data["text"] for event in events if event.name == "message"]

    async def rest(self) -> list[Pushed]:
        """Everything until the server ends the stream."""
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found


def _pushed(fields: dict[str, str]) -> Pushed:
    if "event" not in fields:
        return Pushed(HEARTBEAT)
    return Pushed(fields["event"], json.loads(fields["data"]), fields.get("id"))


@dataclass
class Visitor:
    """A browser that has opened the chat page."""

    bot: ServedBot
    cookie: str
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def name(self) -> str:
        """The visitor's id."""
        return self.cookie.partition(".")[0]

    async def post(self, body: dict[str, Any], **headers: str) -> int:
        """The status of a post."""
        path = f"{self.bot.url}/chat/messages"
        async with self.bot.http.post(path, json=body, headers=self.headers(**headers)) as response:
            return response.status

    async def says(self, text: str, message_id: str | None = None) -> None:
        message_id = message_id or f"m-{next(self.numbers)}"
        assert await self.post({"message_id": message_id, "text": text}) == 202

    async def presses(self, token: str) -> None:
        assert await self.post({"message_id": f"p-{next(self.numbers)}", "press": token}) == 202

    @asynccontextmanager
    async def page(self, *, query: str = "", **headers: str) -> AsyncIterator[Stream]:
        """An open page."""
        path = f"{self.bot.url}/chat/events{query}"
        async with self.bot.http.get(path, headers=self.headers(**headers)) as response:
            assert response.status == 200
            assert response.content_type == "text/event-stream"
            yield Stream(response.content)

    def headers(self, **headers: str) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return {"Cookie": f"{COOKIE}={self.cookie}"} | named

    async def id(self) -> int:
        return await self.bot.id_of(self.name, "web")


async def visit(bot: ServedBot) -> Visitor:
    """Open the page for the first time."""
    async with bot.http.get(f"{bot.url}/chat") as response:
        return Visitor(bot, response.cookies[COOKIE].value)


@pytest.fixture
def quick_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign of life comes soon: what was not pushed before it will not come."""
    monkeypatch.setattr(chat, "HEARTBEAT_SECONDS", 0.3)


# --- what is said is pushed ----------------------------------------------------------------------


async def test_a_new_page_is_ready_without_a_word(bot: ServedBot) -> None:
    visitor = await visit(bot)
    async with visitor.page() as page:
        assert await page.next() == Pushed("ready")


async def test_a_question_and_its_answer_are_pushed(bot: ServedBot) -> None:
    visitor = await visit(bot)
    async with visitor.page() as page:
        await page.until("ready")
        await visitor.says(QUESTION, "m-1")
        asked, answer = await page.messages(2)
    assert (asked["role"], asked["text"], asked["client_id"]) == ("customer", QUESTION, "m-1")
    assert (answer["role"], answer["kind"], answer["text"]) == ("bot", "message", REFUND)
    assert (answer["client_id"], answer["choices"]) == (None, [])
    assert [one["id"] for one in answer["citations"]] == ["entry-2"]
    actions = [one["action"] for one in answer["feedback"]]
    assert actions == ["helpful", "not_helpful", "person"]


async def test_the_page_learns_that_an_answer_is_being_written(bot: ServedBot) -> None:
    visitor = await visit(bot)
    async with visitor.page() as page:
        await visitor.says("and then")  # Unfinished: the bot waits for more.
        assert [event.name for event in await page.until("typing")][-2:] == ["state", "typing"]


async def test_a_page_that_comes_back_gets_only_what_is_new(
    bot: ServedBot, quick_heartbeat: None
) -> None:
    visitor = await visit(bot)
    async with visitor.page() as page:
        await visitor.says(QUESTION)
        seen = [event for event in await page.until(HEARTBEAT) if event.name == "message"]
    last = seen[-1].id
    await visitor.says("运费是多少")
    await bot.quiet()
    new = ["运费是多少", ENTRIES["运费是多少"]]
    for options in ({"Last_Event_ID": last}, {"query": f"?after={last}"}):
        async with visitor.page(**options) as page:
            assert await page.said_until_quiet() == new
    # The browser repeats the address; what it has seen since then counts.
    async with visitor.page(query="?after=0", Last_Event_ID=last) as page:
        assert await page.said_until_quiet() == new
    async with visitor.page() as page:
        assert await page.said_until_quiet() == [QUESTION, REFUND, *new]


async def test_a_page_that_was_away_during_an_erasure_forgets_and_misses_nothing(
    bot: ServedBot, quick_heartbeat: None
) -> None:
    visitor = await visit(bot)
    async with visitor.page() as page:
        await visitor.says(QUESTION)
        await visitor.says("运费是多少")
        seen = [event for event in await page.until(HEARTBEAT) if event.name == "message"]
    await bot.application.privacy.erase("web", visitor.name, actor="command")
    async with visitor.page(Last_Event_ID=seen[-1].id or "") as page:
        assert await page.next() == Pushed("erased")
    await visitor.says(QUESTION)
    await bot.quiet()
    async with visitor.page(Last_Event_ID=seen[-1].id or "") as page:
        assert await page.next() == Pushed("erased")
        again = [event for event in await page.until(HEARTBEAT) if event.name == "message"]
    assert [event.data["text"] for event in again] == [QUESTION, REFUND]
    # SQLite gives their numbers anew: without the conversation's they would look as if seen.
    assert again[-1].data["id"] <= seen[-1].data["id"]


@pytest.mark.parametrize(
    "after", ["x", "-1", "1-", "-", "1-x", "2", "٣", "9" * 400, "9" * 5000, "1.5", ""]
)
async def test_a_page_that_names_no_message_gets_the_whole_history(
    bot: ServedBot, quick_heartbeat: None, after: str
) -> None:
    visitor = await visit(bot)
    await visitor.says(QUESTION)
    await bot.quiet()
    async with visitor.page(query=f"?after={after}") as page:
        assert await page.said_until_quiet() == [QUESTION, REFUND]


async def test_all_pages_of_a_visitor_see_everything(bot: ServedBot, quick_heartbeat: None) -> None:
    visitor = await visit(bot)
    async with visitor.page() as one, visitor.page() as other:
        await asyncio.gather(one.until("ready"), other.until("ready"))
        await visitor.says(QUESTION)
        both = await asyncio.gather(one.said_until_quiet(), other.said_until_quiet())
    assert both == [[QUESTION, REFUND]] * 2


async def test_a_visitor_sees_nothing_of_another(bot: ServedBot, quick_heartbeat: None) -> None:
    visitor, other = await visit(bot), await visit(bot)
    assert visitor.name != other.name
    async with other.page() as page:
        await page.until("ready")
        await visitor.says(QUESTION)
        await bot.quiet()
        assert await page.said_until_quiet() == []


async def test_a_message_sent_twice_is_answered_once(bot: ServedBot, quick_heartbeat: None) -> None:
    visitor = await visit(bot)
    async with visitor.page() as page:
        await asyncio.gather(*(visitor.says(QUESTION, "m-1") for _ in range(5)))
        await bot.quiet()
        await visitor.says(QUESTION, "m-1")
        await bot.quiet()
        # Signs of life may have come in between.
        assert [one["text"] for one in await page.messages(2)] == [QUESTION, REFUND]
        assert await page.said_until_quiet() == []
    assert await bot.count(tables.inbox) == 1


async def test_a_silent_stream_shows_signs_of_life(bot: ServedBot, quick_heartbeat: None) -> None:
    visitor = await visit(bot)
    async with visitor.page() as page:
        events = [await page.next() for _ in range(3)]
    assert [event and event.name for event in events] == ["ready", HEARTBEAT, HEARTBEAT]


async def test_a_server_that_stops_ends_its_streams_and_keeps_the_history(served: Served) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as browser:
        async with asyncio.timeout(60), served() as bot:
            visitor = await visit(bot)
            address = f"{bot.url}/chat/events"
            page = Stream((await browser.get(address, headers=visitor.headers())).content)
            await visitor.says(QUESTION)
            assert [message["text"] for message in await page.messages(2)] == [QUESTION, REFUND]
        assert "message" not in [event.name for event in await page.rest()]
    async with served() as bot, Visitor(bot, visitor.cookie).page() as page:
        assert [message["text"] for message in await page.messages(2)] == [QUESTION, REFUND]


async def test_a_database_that_fails_ends_the_stream_and_the_next_one_goes_on(
    bot: ServedBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = await visit(bot)
    await visitor.says(QUESTION)
    await bot.quiet()
    async with visitor.page() as page:
        await page.until("ready")
        # A real failure would stop the bot as well; this one stops the push alone.
        with monkeypatch.context() as failing:
            failing.setattr(type(bot.application.transcripts), "transcript", _unavailable)
            bot.application.changes.announce(conversation_notice(await visitor.id()))
            assert [event.name for event in await page.rest()] == []
    async with visitor.page() as page:
        assert len(await page.messages(2)) == 2


async def _unavailable(*_: Any, **__: Any) -> None:
    raise StoreUnavailable("the disk is gone")


# --- agents --------------------------------------------------------------------------------------


async def test_an_agents_words_and_the_owner_are_pushed_but_notes_are_not(
    bot: ServedBot, quick_heartbeat: None
) -> None:
    visitor = await visit(bot)
    handoff = bot.application.handoff
    async with visitor.page() as page:
        await visitor.says("转人工")
        assert [message["kind"] for message in await page.messages(2)] == ["message", "handoff"]
        assert await page.state() == {"state": "waiting", "agent": None}
        number = await visitor.id()
        await handoff.claim(number, "Ann")
        assert await page.state() == {"state": "agent", "agent": "Ann"}
        await handoff.reply(number, "Ann", "difficult one", internal=True)
        await handoff.reply(number, "Ann", "您好，我是安。")
        [words] = await page.messages(1)
        assert (words["role"], words["name"], words["text"]) == ("agent", "Ann", "您好，我是安。")
        await handoff.hand_back(number, "Ann")
        [notice] = await page.messages(1)
        assert notice["kind"] == "handback"
        assert await page.state() == {"state": "bot", "agent": None}
        await handoff.resolve(number, "Ann")
        assert [message["kind"] for message in await page.messages(1)] == ["resolved"]
        assert await page.state() == {"state": "closed", "agent": None}


async def test_nothing_for_a_page_is_left_in_the_outbox(bot: ServedBot) -> None:
    visitor = await visit(bot)
    await visitor.says("转人工")
    await bot.quiet()
    await bot.application.handoff.reply(await visitor.id(), "Ann", "hello")
    await bot.quiet()
    assert await bot.count(tables.outbox) == 0


# --- buttons -------------------------------------------------------------------------------------


async def test_a_choice_that_is_pressed_is_what_the_customer_says(bot: ServedBot) -> None:
    visitor = await visit(bot)
    async with visitor.page() as page:
        await visitor.says(DOUBTFUL)
        _, offer = await page.messages(2)
        assert offer["feedback"] == []
        assert offer["choices"][-1]["action"] == "person"
        choice = offer["choices"][0]
        await visitor.presses(choice["id"])
        said, answer = await page.messages(2)
    assert (said["role"], said["text"], said["client_id"]) == ("customer", choice["label"], "p-2")
    assert answer["text"] == ENTRIES[choice["label"]]


async def test_feedback_is_thanked_for_and_is_no_message_of_the_customers(
    bot: ServedBot,
) -> None:
    visitor = await visit(bot)
    async with visitor.page() as page:
        await visitor.says(QUESTION)
        _, answer = await page.messages(2)
        await visitor.presses(answer["feedback"][0]["id"])
        [thanks] = await page.messages(1)
    assert (thanks["role"], thanks["text"]) == ("bot", "Thank you for telling me!")


async def test_a_press_that_is_repeated_counts_once(bot: ServedBot, quick_heartbeat: None) -> None:
    visitor = await visit(bot)
    async with visitor.page() as page:
        await visitor.says(DOUBTFUL)
        _, offer = await page.messages(2)
        press = {"message_id": "p-1", "press": offer["choices"][0]["id"]}
        assert [await visitor.post(press) for _ in range(2)] == [202, 202]
        label = offer["choices"][0]["label"]
        await bot.quiet()
        assert await page.said_until_quiet() == [label, ENTRIES[label]]


async def test_buttons_of_another_visitor_do_nothing(bot: ServedBot, quick_heartbeat: None) -> None:
    visitor, other = await visit(bot), await visit(bot)
    async with visitor.page() as page:
        await visitor.says(DOUBTFUL)
        _, offer = await page.messages(2)
        for button in offer["choices"]:
            await other.presses(button["id"])
        await bot.quiet()
        assert await page.said_until_quiet() == []
    assert (await bot.application.conversations.get(await visitor.id())).state == "bot"
    assert (await bot.application.conversations.get(await other.id())).state == "bot"
    pressed = sa.select(sa.func.count()).where(tables.button.c.pressed_at.is_not(None))
    assert await bot.database.read(lambda c: c.execute(pressed).scalar_one()) == 0
    async with other.page() as page:
        offered = {one["label"] for one in offer["choices"]}
        assert not offered & set(await page.said_until_quiet())


# --- who may -------------------------------------------------------------------------------------


async def test_only_visitors_that_we_know_get_in(bot: ServedBot) -> None:
    visitor = await visit(bot)
    name, signature = visitor.cookie.split(".")
    forged = ["", "x", name, f"{name}.", f"{name}.{signature[::-1]}", f"other.{signature}"]
    for cookie in [*forged, f"{name}.ü", f"ü.{signature}", f".{signature}"]:
        stranger = Visitor(bot, cookie)
        assert await stranger.post({"message_id": "m-1", "text": QUESTION}) == 401
        events = f"{bot.url}/chat/events"
        async with bot.http.get(events, headers=stranger.headers()) as response:
            assert response.status == 401
            assert (await response.json())["data"] is None
    assert set((await bot.stored()).values()) == {0}


async def test_a_post_from_another_origin_or_of_another_type_is_refused(bot: ServedBot) -> None:
    visitor = await visit(bot)
    body = {"message_id": "m-1", "text": QUESTION}
    for origin in ("https://shop.example", "null", "http://127.0.0.1", "http://["):
        assert await visitor.post(body, Origin=origin) == 403
    assert await visitor.post(body, Content_Type="text/plain") == 415
    assert set((await bot.stored()).values()) == {0}
    assert await visitor.post(body, Origin=bot.url) == 202


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"message_id": "m-1"}, 400),
        ({"message_id": "m-1", "text": " \n"}, 400),
        ({"message_id": "m-1", "text": "a" * 20_001}, 413),
        ({"message_id": "m-1", "text": "a", "press": "b"}, 400),
        ({"message_id": "m-1", "text": 7}, 400),
        ({"message_id": "m 1", "text": "a"}, 400),
        ({"message_id": "m" * 65, "text": "a"}, 400),
        ({"message_id": "m-1", "press": "ü"}, 400),
        ({"message_id": "m-1", "text": "a", "conversation": "another"}, 400),
    ],
)
async def test_a_post_of_the_wrong_form_is_refused_and_not_stored(
    bot: ServedBot, body: dict[str, Any], status: int
) -> None:
    visitor = await visit(bot)
    assert await visitor.post(body) == status
    assert set((await bot.stored()).values()) == {0}


async def test_the_channels_of_the_server_itself_have_no_webhook(bot: ServedBot) -> None:
    for channel in ("web", "api", "nothing"):
        status, body = await bot.post(f"/webhooks/{channel}", {"message_id": "m-1", "text": "a"})
        assert (status, body["data"]) == (404, None)


async def test_a_visitor_is_known_again_and_gets_no_second_id(bot: ServedBot) -> None:
    visitor = await visit(bot)
    async with bot.http.get(f"{bot.url}/chat", headers=visitor.headers()) as response:
        assert COOKIE not in response.cookies


@pytest.mark.parametrize(("scheme", "same_site"), [("http", "Lax"), ("https", "None")])
async def test_the_visitors_cookie_is_out_of_reach_of_scripts(
    bot: ServedBot, scheme: str, same_site: str
) -> None:
    headers = {"X-Forwarded-Proto": scheme}
    async with bot.http.get(f"{bot.url}/chat", headers=headers) as response:
        cookie = response.headers["Set-Cookie"]
    flags = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", f"samesite={same_site.lower()}", "path=/chat"} <= flags
    assert ({"secure", "partitioned"} <= flags) == (scheme == "https")


async def test_the_page_loads_scripts_of_its_own_only(bot: ServedBot) -> None:
    async with bot.http.get(f"{bot.url}/chat") as response:
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", ["openapi.json", "chat.html", "..%2faccess.py", "nothing.js", "."])
async def test_only_files_of_the_page_are_handed_out(bot: ServedBot, name: str) -> None:
    assert (await bot.get(f"/chat/static/{name}"))[0] == 404


@pytest.mark.parametrize(
    ("asked", "title", "example"),
    [
        ("zh-CN", "在线客服", "运费是多少"),
        ("en", "Customer service", QUESTION),
        ("", "Customer service", QUESTION),
    ],
)
async def test_the_page_greets_in_the_readers_language(
    bot: ServedBot, asked: str, title: str, example: str
) -> None:
    status, config = await bot.get("/chat/config", params={"lang": asked})
    assert status == 200
    assert config["title"] == title
    assert example in config["examples"]
    assert config["greeting"]
