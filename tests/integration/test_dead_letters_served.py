"""Dead letters from outside: over HTTP, by `kfbot replay`, and what customers get in the end."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kfbot.cli import checking, run
from kfbot.errors import MessageRejected, StoreUnavailable
from kfbot.messages import ConversationId, InboundEvent, MessageReceived, Sender
from kfbot.settings import load_settings
from kfbot.store import work
from kfbot.store.dead_letters import DeadLetterStore
from kfbot.testing import FakeAdapter
from tests.conftest import Clock
from tests.integration.conftest import ENTRIES, Served, ServedBot
from tests.platforms.webhook_receiver import Answer, WebhookReceiver

pytestmark = pytest.mark.asyncio

LIST = "/api/v1/dead-letters"
SECRET = "whsec_" + base64.b64encode(b"a secret of the shop's own system").decode()
RETURN, REFUND = "How do I return an item?", "When will my refund arrive?"


@dataclass
class Shop:
    """A channel whose platform refuses what it is told to."""

    bot: ServedBot
    channel: FakeAdapter
    clock: Clock
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def says(self, text: str, chat: str = "chat-1") -> None:
        """Let a customer write; waits for what comes of it."""
        number = next(self.numbers)
        event = MessageReceived(
            event_id=f"event-{number}", conversation=ConversationId("shop", chat),
            message_id=f"message-{number}", sender=Sender("customer-1"), sent_at=self.clock(),
            text=text,
        )  # fmt: skip
        await self.bot.application.inbox.accept(event)
        await self.bot.quiet()

    async def refused(self, text: str, chat: str = "chat-1") -> dict[str, Any]:
        """Let a customer write whose answer the platform refuses: the dead letter."""
        self.channel.failures.append(MessageRejected("shop", "blocked by\nthe customer"))
        await self.says(text, chat)
        letter: dict[str, Any] = (await self.letters())[0]
        return letter

    async def letters(self, **query: Any) -> list[dict[str, Any]]:
        status, body = await self.bot.get(LIST, params=query)
        assert status == 200, body
        found: list[dict[str, Any]] = body["data"]["letters"]
        return found

    async def change(self, letter: str, change: str) -> tuple[int, str]:
        """Status and message of a replay or a discard, and what comes of it is done."""
        status, body = await self.bot.post(f"{LIST}/{letter}/{change}")
        assert body["code"] == status
        await self.bot.quiet()
        return status, body["msg"]

    async def later(self) -> None:
        """Let time pass, and what is due then be done."""
        self.clock.advance(minutes=11)
        await self.bot.quiet()

    def got(self, since: int = 0) -> list[str]:
        return [message.text for message in self.channel.sent[since:]]


@asynccontextmanager
async def opened(served: Served, clock: Clock) -> AsyncIterator[Shop]:
    channel = FakeAdapter("shop")
    async with served(channels={"shop": channel}, clock=clock) as bot:
        yield Shop(bot, channel, clock)


@pytest_asyncio.fixture
async def shop(served: Served, clock: Clock) -> AsyncIterator[Shop]:
    async with opened(served, clock) as opened_shop:
        yield opened_shop


class Unreadable:
    """Events that this version cannot read, as long as the fault lasts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.words: set[str] = set()
        self._decode = work.decode_event
        # A newer version wrote them; there is none to be run.
        monkeypatch.setattr(work, "decode_event", self._decoded)

    def _decoded(self, payload: dict[str, Any]) -> InboundEvent:
        if payload["text"] in self.words:
            raise KeyError("a field of a newer version")
        return self._decode(payload)


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Unreadable:
    return Unreadable(monkeypatch)


# Messages


async def test_a_message_that_was_refused_arrives_once_after_its_replay(
    served: Served, clock: Clock
) -> None:
    async with WebhookReceiver(SECRET) as receiver:
        section = {"platform": "webhook", "secret": SECRET, "callback_url": receiver.url}
        receiver.answers = [Answer(400)]
        async with served(clock=clock, sections={"hook": section}) as bot:
            event = MessageReceived(
                event_id="event-1", conversation=ConversationId("hook", "chat-1"),
                message_id="message-1", sender=Sender("customer-1"), sent_at=clock(), text=REFUND,
            )  # fmt: skip
            await bot.application.inbox.accept(event)
            await bot.quiet()
            [letter] = (await bot.get(LIST))[1]["data"]["letters"]
            assert (letter["channel"], letter["text"]) == ("hook", ENTRIES[REFUND])
            assert receiver.kept == {}
            for status in (200, 409):
                assert (await bot.post(f"{LIST}/{letter['id']}/replay"))[0] == status
                await bot.quiet()
            assert (await bot.get(LIST))[1]["data"] == {"letters": [], "next": None}
        first, second = receiver.webhook_ids
        assert first == second
        assert [message["text"] for message in receiver.kept.values()] == [ENTRIES[REFUND]]


async def test_a_dead_message_is_listed_and_shown(shop: Shop) -> None:
    letter = await shop.refused(REFUND)
    assert {name: letter[name] for name in ("kind", "type", "channel", "attempts")} == {
        "kind": "out", "type": "message", "channel": "shop", "attempts": 1,
    }  # fmt: skip
    assert letter["error"] == "channel shop: blocked by the customer"
    assert letter["text"] == ENTRIES[REFUND]
    assert letter["conversation"] == await shop.bot.id_of("chat-1", "shop")
    status, body = await shop.bot.get(f"{LIST}/{letter['id']}")
    assert status == 200
    whole = {"error": "channel shop: blocked by\nthe customer", "payload": body["data"]["payload"]}
    assert body["data"] == letter | whole
    assert body["data"]["payload"]["text"] == ENTRIES[REFUND]


async def test_a_long_text_is_cut_in_the_list_and_whole_alone(served: Served, clock: Clock) -> None:
    channel, text = FakeAdapter("shop"), "Within a\nfew days. " * 50
    async with served(channels={"shop": channel}, clock=clock, entries={REFUND: text}) as bot:
        letter = await Shop(bot, channel, clock).refused(REFUND)
        assert text.replace("\n", " ").startswith(letter["text"][:-1])
        assert (len(letter["text"]), letter["text"][-1]) == (160, "…")
        _, body = await bot.get(f"{LIST}/{letter['id']}")
        assert body["data"]["text"] == text


async def test_later_answers_are_not_held_up_and_the_replayed_one_comes_behind_them(
    shop: Shop,
) -> None:
    letter = await shop.refused(REFUND)
    await shop.says(RETURN)
    assert await shop.change(letter["id"], "replay") == (200, "success")
    assert shop.got() == [ENTRIES[RETURN], ENTRIES[REFUND]]


async def test_what_is_refused_again_is_a_dead_letter_again(shop: Shop) -> None:
    letter = await shop.refused(REFUND)
    shop.channel.failures.append(MessageRejected("shop", "still blocked"))
    await shop.change(letter["id"], "replay")
    [again] = await shop.letters()
    assert (again["id"], again["attempts"]) == (letter["id"], 1)
    assert again["error"] == "channel shop: still blocked"


async def test_two_operators_who_replay_the_same_letter_send_it_once(shop: Shop) -> None:
    letter = await shop.refused(REFUND)
    answers = await asyncio.gather(*(shop.change(letter["id"], "replay") for _ in range(2)))
    assert sorted(answers) == [
        (200, "success"), (409, f"{letter['id']} is not a dead letter (any more)"),
    ]  # fmt: skip
    assert shop.got() == [ENTRIES[REFUND]]


async def test_while_an_agent_has_the_conversation_only_agents_words_are_replayed(
    shop: Shop,
) -> None:
    bots = await shop.refused(REFUND)
    one = f"/api/v1/conversations/{bots['conversation']}"
    await shop.bot.post(f"{one}/claim", {"agent": "ann"})
    shop.channel.failures.append(MessageRejected("shop", "blocked"))
    await shop.bot.post(f"{one}/reply", {"agent": "ann", "text": "Ann here."})
    await shop.bot.quiet()
    anns, listed = await shop.letters()
    assert (anns["changed_hands"], listed["changed_hands"]) == (False, True)
    status, message = await shop.change(bots["id"], "replay")
    refusal = f"{bots['id']}: the conversation has changed hands since: discard it"
    assert (status, message) == (409, refusal)
    assert (await shop.change(anns["id"], "replay"))[0] == 200
    assert shop.got() == ["Ann here."]
    assert (await shop.change(bots["id"], "discard"))[0] == 200
    assert await shop.letters() == []


async def test_what_was_discarded_is_never_sent(shop: Shop) -> None:
    letter = await shop.refused(REFUND)
    assert await shop.change(letter["id"], "discard") == (200, "success")
    assert await shop.letters() == []
    for change in ("replay", "discard"):
        assert (await shop.change(letter["id"], change))[0] == 409
    assert (await shop.bot.get(f"{LIST}/{letter['id']}"))[0] == 404
    for _ in range(3):
        await shop.later()
    assert shop.got() == []


# Events


async def test_poison_events_are_answered_in_order_once_the_fault_is_gone(
    shop: Shop, unreadable: Unreadable
) -> None:
    unreadable.words = {REFUND, RETURN}
    for text in (REFUND, RETURN, "运费是多少"):
        await shop.says(text)
    for _ in range(2 * 8):
        await shop.later()
    assert shop.got() == [ENTRIES["运费是多少"]]
    second, first = await shop.letters(kind="in")
    assert (first["type"], first["text"], first["attempts"]) == ("MessageReceived", REFUND, 8)
    assert "cannot be read" in first["error"]
    unreadable.words.clear()
    for letter in (first, second):
        assert (await shop.change(letter["id"], "replay"))[0] == 200
    assert shop.got(1) == [ENTRIES[REFUND], ENTRIES[RETURN]]
    assert await shop.letters() == []


async def test_a_replayed_event_is_not_answered_while_an_agent_has_the_conversation(
    shop: Shop, unreadable: Unreadable
) -> None:
    unreadable.words = {REFUND}
    await shop.says(REFUND)
    for _ in range(8):
        await shop.later()
    [letter] = await shop.letters()
    await shop.bot.post(f"/api/v1/conversations/{letter['conversation']}/claim", {"agent": "ann"})
    unreadable.words.clear()
    assert (await shop.change(letter["id"], "replay"))[0] == 200
    assert (shop.got(), await shop.letters()) == ([], [])


# Wrong requests, access, readiness, logs


@pytest.mark.parametrize(
    "letter", ["12", "in", "in-x", "up-1", "in-" + "9" * 19, "in-1%2C2", "..%2Fask", "in-1%00"]
)
async def test_what_is_no_id_is_not_found(shop: Shop, letter: str) -> None:
    path = f"{shop.bot.url}{LIST}/{letter}"
    for method, end in (("GET", ""), ("POST", "/replay"), ("POST", "/discard")):
        async with shop.bot.http.request(method, path + end, json={}) as response:
            assert response.status == 404
            assert (await response.json())["data"] is None


async def test_an_id_that_nothing_has_is_not_found(shop: Shop) -> None:
    for letter in ("in-1", "out-" + "9" * 18):
        assert (await shop.bot.get(f"{LIST}/{letter}"))[0] == 404
        for change in ("replay", "discard"):
            status, message = await shop.change(letter, change)
            assert (status, message) == (404, f"there is no dead letter {letter}")


@pytest.mark.parametrize(
    "query",
    ["kind=both", "limit=0", "limit=101", "limit=x", "before=7", "before=", "before=in-1,in-2"],
)
async def test_a_wrong_query_is_refused_by_name(shop: Shop, query: str) -> None:
    status, body = await shop.bot.get(f"{LIST}?{query}")
    assert status == 400
    assert body["msg"].startswith(f"{query.partition('=')[0]}: ")


async def test_the_list_is_read_part_by_part(shop: Shop) -> None:
    made = [(await shop.refused(REFUND, f"chat-{number}"))["id"] for number in range(5)]
    seen, query = [], {"limit": "2"}
    while query.get("before") != "":
        _, body = await shop.bot.get(LIST, params=query)
        seen += [letter["id"] for letter in body["data"]["letters"]]
        query["before"] = body["data"]["next"] or ""
    assert seen == made[::-1]


async def test_dead_letters_want_a_token_like_everything_else(served: Served) -> None:
    async with served(web={"tokens": ["first-token"]}) as bot:
        for path in ("", "/in-1"):
            assert (await bot.get(LIST + path))[0] == 401
        for path in ("/in-1/replay", "/in-1/discard"):
            assert (await bot.post(LIST + path))[0] == 401
            answer = await bot.post(
                LIST + path, data=b"{}", headers={"Authorization": "Bearer first-token"}
            )
            assert answer[0] == 415


async def test_readiness_counts_dead_letters_and_stays_good(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.refused(REFUND)
    dead = {"inbox": 0, "outbox": 1}
    ready = {"status": "ok", "codes": [], "reasons": [], "dead_letters": dead}
    assert await shop.bot.get("/readyz") == (200, ready)

    async def gone(self: DeadLetterStore) -> None:
        raise StoreUnavailable("database: secret-host is gone")

    monkeypatch.setattr(DeadLetterStore, "count", gone)
    status, body = await shop.bot.get("/readyz")
    assert (status, body["reasons"]) == (503, ["the database does not answer"])


async def test_the_log_has_ids_and_no_words_of_customers(
    shop: Shop, unreadable: Unreadable, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    words = "My name is Kim and my card is 4711."
    unreadable.words = {words}
    await shop.says(words)
    for _ in range(8):
        await shop.later()
    event = (await shop.letters())[0]["id"]
    message = (await shop.refused(REFUND, "chat-2"))["id"]
    for letter in (event, message):
        await shop.bot.get(f"{LIST}/{letter}")
        await shop.change(letter, "replay")
        await shop.change(letter, "discard")
    told = [getattr(record, "event", "") for record in caplog.records]
    assert told.count("dead_letter_replayed") == 2
    assert f"{message} replayed" in caplog.text
    for private in ("Kim", "4711", ENTRIES[REFUND], REFUND):
        assert private not in caplog.text


# The description


async def test_letters_have_the_described_form(shop: Shop) -> None:
    _, description = await shop.bot.get("/api/v1/openapi.json")
    schemas = description["components"]["schemas"]
    letter = await shop.refused(REFUND)
    assert set(schemas["DeadLetter"]["properties"]) == set(letter)
    _, ready = await shop.bot.get("/readyz")
    assert set(schemas["Readiness"]["properties"]) == set(ready)
    _, body = await shop.bot.post(f"{LIST}/{letter['id']}/discard")
    assert set(schemas["DeadLetterChanged"]["properties"]) == set(body["data"])


# The command


@dataclass
class Shell:
    """Runs `kfbot replay` beside the server."""

    file: Path
    capsys: pytest.CaptureFixture[str]

    async def __call__(self, *arguments: str, status: int = 0) -> str:
        """What a command prints; its errors, if it is to fail."""
        self.capsys.readouterr()
        line = ["replay", *arguments, "--settings", str(self.file)]
        got = await asyncio.to_thread(run, line)
        output = self.capsys.readouterr()
        assert got == status, output
        return output.err if status else output.out


@pytest.fixture
def replay(
    shop: Shop,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Shell:
    # Wide enough for a table without folded cells.
    monkeypatch.setenv("COLUMNS", "200")
    file = tmp_path / "shell.toml"
    file.write_text('data_dir = "."\n[knowledge.fake]\nsources = ["."]\n')
    return Shell(file, capsys)


async def test_where_there_are_none_the_commands_say_so(replay: Shell) -> None:
    for command in (["list"], ["run", "--all"], ["discard", "--all", "--yes"]):
        assert await replay(*command) == "No dead letters.\n"
    assert json.loads(await replay("list", "--json")) == {"letters": [], "next": None}


async def test_letters_are_listed_shown_and_run_in_a_terminal(shop: Shop, replay: Shell) -> None:
    letter = (await shop.refused(REFUND))["id"]
    said = await replay("list")
    for part in (letter, "shop", "blocked by the customer", ENTRIES[REFUND]):
        assert part in said
    assert json.loads(await replay("list", "--json"))["letters"][0]["id"] == letter
    assert await replay("list", "--kind", "in") == "No dead letters.\n"
    assert (await replay("show", letter)).endswith(f"\n\n{ENTRIES[REFUND]}\n")
    assert json.loads(await replay("show", letter, "--json"))["payload"]["text"] == ENTRIES[REFUND]
    assert await replay("run", letter) == f"{letter}: queued again\n"
    await shop.bot.quiet()
    assert shop.got() == [ENTRIES[REFUND]]
    said = await replay("run", letter, status=1)
    assert said == f"kfbot: {letter} is not a dead letter (any more)\n"
    said = await replay("show", letter, status=1)
    assert said == f"kfbot: {letter} is not a dead letter (any more)\n"


async def test_all_letters_of_a_conversation_are_run_as_they_came(
    shop: Shop, replay: Shell
) -> None:
    for text in (REFUND, RETURN, "运费是多少"):
        await shop.refused(text)
    said = await replay("run", "--all", "--channel", "shop")
    assert said.count("queued again") == 3
    await shop.bot.quiet()
    assert shop.got() == [ENTRIES[text] for text in (REFUND, RETURN, "运费是多少")]


async def test_what_cannot_be_done_fails_alone(shop: Shop, replay: Shell) -> None:
    bots = await shop.refused(REFUND)
    other = (await shop.refused(RETURN, "chat-2"))["id"]
    await shop.bot.post(f"/api/v1/conversations/{bots['conversation']}/claim", {"agent": "ann"})
    said = await replay("run", "--all", status=1)
    assert said == f"kfbot: {bots['id']}: the conversation has changed hands since: discard it\n"
    await shop.bot.quiet()
    assert shop.got() == [ENTRIES[RETURN]]
    assert "can only be discarded" in await replay("show", bots["id"])
    assert await replay("discard", bots["id"]) == f"{bots['id']}: discarded\n"
    await replay("discard", bots["id"], other, status=1)


async def test_in_a_terminal_discarding_asks_first(
    shop: Shop, replay: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    letter = (await shop.refused(REFUND))["id"]
    asked: list[str] = []

    def answering(answer: bool) -> None:
        # There is no terminal in a test.
        monkeypatch.setattr("sys.stdin.isatty", lambda: True)
        monkeypatch.setattr("typer.confirm", lambda text: asked.append(text) or answer)

    answering(False)
    await replay("discard", "--all", "--channel", "shop", status=1)
    assert "all, shop" in asked.pop()
    assert len(await shop.letters()) == 1
    await replay("discard", letter, "--yes")
    assert (asked, await shop.letters()) == ([], [])
    letter = (await shop.refused(REFUND))["id"]
    answering(True)
    assert await replay("discard", letter) == f"{letter}: discarded\n"
    assert letter in asked.pop()


async def test_check_notes_that_there_are_dead_letters(shop: Shop, replay: Shell) -> None:
    settings = load_settings(replay.file)

    async def notes() -> list[str]:
        found = [finding async for finding in checking._look_at_database(settings)]
        assert not any(finding.state == "wrong" for finding in found)
        return [finding.text for finding in found if finding.state == "note"]

    assert await notes() == []
    await shop.refused(REFUND)
    assert await notes() == ["1 dead letter: kfbot replay list"]
    await shop.refused(REFUND)
    assert await notes() == ["2 dead letters: kfbot replay list"]
