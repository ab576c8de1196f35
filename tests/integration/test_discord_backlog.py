"""What is written on Discord while kfbot is stopped, or has lost its session: answered once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.discord import DiscordAdapter, gateway, history
from adapters.discord.api import DiscordApi
from adapters.discord.reading import Reader, first_id
from adapters.discord.settings import DiscordSettings
from adapters.discord.tokens import InteractionTokens
from kfbot.messages import ConversationId, InboundEvent
from tests.integration.conftest import Served
from tests.integration.discord_shop import ANSWER, QUESTION, adapter, hello, section
from tests.platforms.discord import DiscordStandIn
from tests.platforms.discord_forms import ANN, CHANNEL, DIRECT, ME, THREAD, TOKEN, user

pytestmark = pytest.mark.asyncio
IN_DIRECT = ConversationId("discord", DIRECT)
IN_CHANNEL = ConversationId("discord", CHANNEL, member=ANN)
IN_THREAD = ConversationId("discord", CHANNEL, thread=THREAD)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(gateway, "_PAUSE_SECONDS", (0.0, 0.0))


async def caught_up(
    platform: DiscordStandIn, known: Sequence[ConversationId], count: int, **given: Any
) -> list[InboundEvent]:
    """The first events of a bot that begins a session and knows these conversations."""
    settings = DiscordSettings.model_validate(section(platform, **given))

    async def conversations() -> Sequence[ConversationId]:
        return known

    async def follow() -> None:
        async for _ in adapter.listen():
            pass

    async with DiscordAdapter("discord", settings) as adapter:
        listening = asyncio.create_task(follow())
        missed: list[InboundEvent] = []
        try:
            async with asyncio.timeout(60), aclosing(adapter.catch_up(conversations)) as events:  # type: ignore[type-var]
                while len(missed) < count:
                    missed.append(await anext(events))  # type: ignore[arg-type]
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        return missed


def texts(events: Sequence[InboundEvent]) -> list[str]:
    return [getattr(one, "text", "") for one in events]


async def test_what_was_written_while_the_bot_was_stopped_is_answered_once(
    served: Served,
) -> None:
    async with DiscordStandIn() as platform:
        for _ in range(2):
            async with served(sections={"discord": section(platform)}) as bot:
                await platform.until(platform.logins, 1)
                await platform.say("运费是多少")
                await platform.say(f"<@{ME}> 运费是多少", channel=CHANNEL)
                await platform.until(platform.sent, 2)
                await bot.quiet()
            platform.sent.clear()
            await platform.say(QUESTION)
            await platform.say("nice weather", channel=CHANNEL)
            asked = await platform.say(f"<@{ME}> 怎么开发票", channel=CHANNEL)
            async with served(sections={"discord": section(platform)}) as bot:
                sent = {
                    channel: body for _, channel, body in await platform.until(platform.sent, 2)
                }
                assert sent[DIRECT]["content"].startswith(ANSWER)
                assert sent[CHANNEL]["content"].startswith("在订单页")
                assert sent[CHANNEL]["message_reference"]["message_id"] == asked["id"]
                await bot.quiet()
                assert len(platform.sent) == 2
            platform.sent.clear()
            platform.logins.clear()


async def test_what_was_written_while_a_session_was_lost_is_answered(
    served: Served,
) -> None:
    async with (
        DiscordStandIn(forgetful=True) as platform,
        served(sections={"discord": section(platform)}),
    ):
        await platform.until(platform.logins, 1)
        await platform.say("运费是多少")
        await platform.until(platform.sent, 1)
        await platform.hang_up()
        # The session is gone, and with it what would have been told.
        await platform.say(QUESTION)
        sent = await platform.until(platform.sent, 2)
        assert sent[1][2]["content"].startswith(ANSWER)
        assert [operation for operation, _ in platform.logins] == [2, 6, 2]


async def test_what_is_missed_means_the_same_event_as_what_is_told() -> None:
    async with DiscordStandIn() as platform:
        said = [
            await platform.say("hi"),
            await platform.say(f"<@{ME}> hi", channel=CHANNEL),
            await platform.say("in the thread", channel=THREAD),
        ]
        events = await caught_up(platform, [IN_DIRECT, IN_CHANNEL, IN_THREAD], 3)
        assert [one.event_id for one in events] == [one["id"] for one in said]
        assert [one.conversation for one in events] == [IN_DIRECT, IN_CHANNEL, IN_THREAD]
        assert texts(events) == ["hi", "hi", "in the thread"]
        addressed = [(one.addressed_to_bot, one.in_group) for one in events]  # type: ignore[union-attr]
        assert addressed == [(True, False), (True, True), (False, True)]


async def test_other_peoples_talk_and_other_bots_are_left_out() -> None:
    async with DiscordStandIn() as platform:
        bob = {"author": user("12", "bob")}
        await platform.say("talk of somebody whom we do not know", channel=CHANNEL, **bob)
        await platform.say(f"<@{ME}> a first question", channel=CHANNEL, **bob)
        await platform.say("a bot's", author=user("13", "other", bot=True))
        await platform.say("ours", author=user(ME, "kfbot", bot=True))
        await platform.say("talk of somebody whom we know", channel=CHANNEL)
        events = await caught_up(platform, [IN_DIRECT, IN_CHANNEL], 2)
        assert texts(events) == ["a first question", "talk of somebody whom we know"]


async def test_only_the_last_hours_are_caught_up_with() -> None:
    async with DiscordStandIn() as platform:
        for minutes in (1500, 59, 61):
            then = datetime.now(UTC) - timedelta(minutes=minutes)
            await platform.say(f"{minutes} minutes ago", id=str(first_id(then)))
        assert texts(await caught_up(platform, [IN_DIRECT], 1, catch_up_minutes=60)) == [
            "59 minutes ago"
        ]
        assert texts(await caught_up(platform, [IN_DIRECT], 2)) == [
            "61 minutes ago",
            "59 minutes ago",
        ]


async def test_catching_up_can_be_switched_off() -> None:
    async with DiscordStandIn() as platform:
        await platform.say("hi")
        with pytest.raises(StopAsyncIteration):
            await caught_up(platform, [IN_DIRECT], 1, catch_up_minutes=0)
        assert platform.called == []


async def test_many_messages_come_in_pages_and_in_their_order(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(history, "MOST_MESSAGES", 200)
    async with DiscordStandIn() as platform:
        for number in range(230):
            await platform.say(f"line {number}")
        other = ConversationId("discord", "701")
        await platform.say("from another", channel="701", guild_id=None)
        events = await caught_up(platform, [IN_DIRECT, other], 201)
        assert texts(events) == [*(f"line {number}" for number in range(200)), "from another"]
        assert "the rest is left out" in caplog.text
        assert [path.split("?")[0] for path, _ in platform.called] == [
            *(f"/channels/{DIRECT}/messages",) * 2,
            "/channels/701/messages",
        ]


async def test_only_so_many_places_are_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_PLACES", 1)
    async with DiscordStandIn() as platform:
        for place in (DIRECT, "701"):
            await platform.say(f"in {place}", channel=place, guild_id=None)
        settings = DiscordSettings.model_validate(section(platform))
        known = [ConversationId("discord", name) for name in ("no id", DIRECT, "701")]
        reader = Reader("discord", InteractionTokens(TOKEN))
        api = DiscordApi("discord", settings)
        await api.open()
        try:
            since = datetime.now(UTC) - timedelta(hours=1)
            events = [one async for one in history.missed(api, reader, known, since)]
        finally:
            await api.close()
        assert texts(events) == [f"in {DIRECT}"]


@pytest.mark.parametrize(
    ("refusals", "heard"),
    [
        ([(429, {"message": "wait", "retry_after": 0.0})], ["hi", "from another"]),
        ([(500, {})] * 2, ["hi", "from another"]),
        ([(500, {})] * 3, ["from another", "hi"]),
        ([(500, {})] * 13, ["hi", "from another"]),
        ([(403, {"message": "Missing Access", "code": 50001})], ["from another"]),
        ([(404, {"message": "Unknown Channel", "code": 10003})], ["from another"]),
    ],
)
async def test_a_place_that_cannot_be_read_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch, refusals: list[Any], heard: list[str]
) -> None:
    monkeypatch.setattr(history, "_LONGEST_WAIT_SECONDS", 0.0)
    async with DiscordStandIn(refusals=refusals) as platform:
        await platform.say("hi")
        await platform.say("from another", channel="701", guild_id=None)
        other = ConversationId("discord", "701")
        assert texts(await caught_up(platform, [IN_DIRECT, other], len(heard))) == heard


async def test_a_new_session_ends_the_wait_for_a_place_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "_LONGEST_WAIT_SECONDS", 0.0)
    async with DiscordStandIn(refusals=[(500, {})] * 30) as platform, adapter(platform) as one:
        turns = iter([True, True, False])
        since = datetime.now(UTC) - timedelta(hours=1)
        events = history.missed(one._api, one._reader, [IN_DIRECT], since, lambda: next(turns))
        assert [event async for event in events] == []
        assert len(platform.refusals) == 30 - 2 * 3


async def test_a_break_in_the_middle_of_catching_up_begins_it_again() -> None:
    async with DiscordStandIn() as platform:
        await platform.say("one")
        await platform.say("two")
        settings = DiscordSettings.model_validate(section(platform))

        async def conversations() -> Sequence[ConversationId]:
            return [IN_DIRECT]

        async with asyncio.timeout(60), DiscordAdapter("discord", settings) as adapter:
            listening = asyncio.create_task(anext(adapter.listen()))  # type: ignore[arg-type]
            for _ in range(2):
                async with aclosing(adapter.catch_up(conversations)) as events:  # type: ignore[type-var]
                    event = await anext(events)  # type: ignore[arg-type]
                    assert event.text == "one"  # type: ignore[union-attr]
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def test_what_the_bot_replied_to_is_not_heard_again_even_if_it_was_erased() -> None:
    async with DiscordStandIn() as platform:
        erased = await platform.say(f"<@{ME}> erased meanwhile", channel=CHANNEL)
        async with adapter(platform) as one:
            await one.send(hello(CHANNEL, in_reply_to=erased["id"]))
        await platform.say(f"<@{ME}> another", channel=CHANNEL)
        events = await caught_up(platform, [IN_CHANNEL], 1)
        assert texts(events) == ["another"]
