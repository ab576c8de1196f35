"""Discord's gateway with the whole bot behind it, and discord.py on our stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from adapters.discord import gateway
from adapters.discord.gateway import Dispatch
from adapters.discord.reading import INTERACTION
from kfbot.errors import ChannelError, ChannelUnauthorized, ChannelUnavailable, MessageRejected
from kfbot.messages import (
    Attachment,
    Button,
    ConversationId,
    DeliveryReceipt,
    Sender,
)
from tests.integration.conftest import Served
from tests.integration.discord_shop import ANSWER, QUESTION, adapter, discord_py, hello, section
from tests.platforms.discord import DiscordStandIn
from tests.platforms.discord_forms import ANN, CHANNEL, DIRECT, ME, THREAD

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def shop(served: Served, **given: Any) -> AsyncIterator[DiscordStandIn]:
    async with (
        DiscordStandIn(**given) as platform,
        served(sections={"discord": section(platform)}),
    ):
        await platform.until(platform.logins, 1)
        yield platform


async def test_a_direct_question_is_answered(served: Served) -> None:
    async with shop(served) as platform:
        await platform.say(QUESTION)
        [(_, channel, body)] = await platform.until(platform.sent, 1)
        assert channel == DIRECT
        assert body["content"].startswith(ANSWER)
        assert body["allowed_mentions"] == {"parse": [], "users": [], "replied_user": False}
        assert (f"/channels/{DIRECT}/typing", {}) in platform.called


async def test_in_a_channel_a_mention_in_chinese_is_answered_and_talk_is_not(
    served: Served,
) -> None:
    async with shop(served) as platform:
        await platform.say("nice weather", channel=CHANNEL)
        asked = await platform.say(f"<@{ME}> 运费是多少", channel=CHANNEL)
        [(_, channel, body)] = await platform.until(platform.sent, 1)
        assert channel == CHANNEL
        assert body["message_reference"]["message_id"] == asked["id"]


@pytest.mark.parametrize("thread", [THREAD, "801"])
async def test_a_thread_is_answered_in_the_thread_also_one_that_was_not_told_of(
    served: Served, thread: str
) -> None:
    async with shop(served) as platform:
        await platform.say(f"<@{ME}> {QUESTION}", channel=thread)
        [(_, channel, _)] = await platform.until(platform.sent, 1)
        assert channel == thread
        looked_up = ("/api/v10/channels/801", {}) in platform.called
        assert looked_up == (thread == "801")


async def test_what_came_in_a_break_is_told_again_and_answered_once(served: Served) -> None:
    async with shop(served) as platform:
        await platform.say(QUESTION)
        await platform.until(platform.sent, 1)
        await platform.hang_up()
        await platform.say("How do I return an item?")
        sent = await platform.until(platform.sent, 2)
        assert "Open" in sent[1][2]["content"]
        operation, data = platform.logins[1]
        assert (operation, data["session_id"], data["seq"]) == (6, "session-1", 3)
        assert [one[0] for one in platform.logins] == [2, 6]


async def test_a_session_that_is_lost_is_begun_anew(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "_PAUSE_SECONDS", (0.0, 0.0))
    async with shop(served, forgetful=True) as platform:
        await platform.hang_up()
        await platform.until(platform.logins, 3)
        assert [one[0] for one in platform.logins] == [2, 6, 2]
        await platform.say(QUESTION)
        await platform.until(platform.sent, 1)


async def test_a_bot_that_starts_again_answers(served: Served) -> None:
    async with DiscordStandIn() as platform:
        for number in (1, 2):
            async with served(sections={"discord": section(platform)}):
                await platform.until(platform.logins, number)
                await platform.say(QUESTION)
                await platform.until(platform.sent, number)


async def test_a_dispatch_counts_as_seen_once_it_is_stored_and_not_sooner() -> None:
    async with DiscordStandIn() as platform, adapter(platform) as one:
        async with asyncio.timeout(60), aclosing(one.listen()) as heard:  # type: ignore[type-var]
            listening = asyncio.create_task(anext(heard))  # type: ignore[arg-type]
            await platform.until(platform.logins, 1)
            first = await platform.say("one")
            assert (await listening).event_id == first["id"]
        # It was never stored: whoever got it did not come back for the next one.
        async with asyncio.timeout(60), aclosing(one.listen()) as heard:  # type: ignore[type-var]
            assert (await anext(heard)).event_id == first["id"]
        assert platform.logins[1][1]["seq"] == 2


async def test_a_message_whose_place_cannot_be_learned_now_comes_again() -> None:
    async with DiscordStandIn(refusals=[(500, {})]) as platform, adapter(platform) as one:
        async with asyncio.timeout(60), aclosing(one.listen()) as heard:  # type: ignore[type-var]
            listening = asyncio.create_task(anext(heard))  # type: ignore[arg-type]
            await platform.until(platform.logins, 1)
            said = await platform.say("hi", channel="801")
            with pytest.raises(ChannelUnavailable):
                await listening
        async with asyncio.timeout(60), aclosing(one.listen()) as heard:  # type: ignore[type-var]
            event = await anext(heard)
            assert event.event_id == said["id"]
            assert event.conversation == ConversationId("discord", CHANNEL, thread="801")


async def test_heartbeats_name_what_is_stored_and_a_silent_gateway_is_left() -> None:
    async with DiscordStandIn(heartbeat_ms=20) as platform, adapter(platform) as one:
        listening = asyncio.create_task(anext(one.listen()))  # type: ignore[arg-type]
        try:
            assert set(await platform.until(platform.heartbeats, 5)) <= {None, 1, 2}
            platform.silent = True
            with pytest.raises(ChannelUnavailable, match="silent"):
                await asyncio.wait_for(listening, 60)
        finally:
            listening.cancel()


@pytest.mark.parametrize("frame", [{"op": 7, "d": None}, {"op": 9, "d": True}])
async def test_a_connection_that_discord_wants_anew_goes_on_with_the_session(
    monkeypatch: pytest.MonkeyPatch, frame: dict[str, Any]
) -> None:
    monkeypatch.setattr(gateway, "_PAUSE_SECONDS", (0.0, 0.0))
    monkeypatch.setattr("adapters.discord.adapter._SHORT_SECONDS", 0.0)
    async with DiscordStandIn() as platform, adapter(platform) as one:
        async with asyncio.timeout(60), aclosing(one.listen()) as heard:  # type: ignore[type-var]
            listening = asyncio.create_task(anext(heard))  # type: ignore[arg-type]
            await platform.until(platform.logins, 1)
            await platform.push({"op": 1, "d": None})
            await platform.until(platform.heartbeats, 1)
            await platform.push(frame)
            await platform.until(platform.logins, 2)
            await platform.say("hi")
            assert (await listening).text == "hi"
        assert [operation for operation, _ in platform.logins] == [2, 6]


async def test_a_press_is_confirmed_and_belongs_to_whom_it_was_shown() -> None:
    async with DiscordStandIn() as platform, adapter(platform) as one:
        place = ConversationId("discord", CHANNEL, member=ANN)
        receipt = await one.send(hello(place=place, buttons=(Button("tok", "退款"),)))
        shown = platform.shown[receipt.platform_ids[0]]
        custom_id = shown["components"][0]["components"][0]["custom_id"]
        async with asyncio.timeout(60), aclosing(one.listen()) as heard:  # type: ignore[type-var]
            listening = asyncio.create_task(anext(heard))  # type: ignore[arg-type]
            await platform.until(platform.logins, 1)
            pressed = platform.press(custom_id, shown, presser="12")
            await platform.tell("INTERACTION_CREATE", pressed)
            event = await listening
            assert (event.token, event.conversation, event.sender.id) == ("tok", place, "12")
            following = asyncio.create_task(anext(heard))  # type: ignore[arg-type]
            [answered] = await platform.until(platform.interactions.answers, 1)
            path = f"/interactions/{pressed['id']}/interaction%2Ftoken/callback"
            assert answered == (path, {"type": 6})
            await platform.say("hi")
            await following


async def test_a_press_is_confirmed_though_the_bot_stops_at_once() -> None:
    async with DiscordStandIn() as platform:
        async with adapter(platform) as one:
            shown = platform.shown[(await one.send(hello())).platform_ids[0]]
            pressed = Dispatch(INTERACTION, platform.press("tok", shown))
            one._confirm(pressed, is_heard=True)
        assert [answer for _, answer in platform.interactions.answers] == [{"type": 6}]


async def test_sending_again_shows_nothing_twice_and_edits_replace() -> None:
    async with DiscordStandIn() as platform, adapter(platform) as one:
        receipt = await one.send(hello())
        assert await one.send(hello()) == receipt
        assert await one.send(hello(id="msg_2")) != receipt
        await one.edit(receipt, hello(text="better"))
        assert platform.shown[receipt.platform_ids[0]]["content"] == "better"
        with pytest.raises(MessageRejected, match="Unknown Message"):
            await one.edit(DeliveryReceipt(("1",)), hello())


async def test_in_a_channel_an_agents_answer_to_no_message_names_whom_it_is_for() -> None:
    place, agent = ConversationId("discord", CHANNEL, member=ANN), Sender("7", "agent", "Lee")
    async with DiscordStandIn() as platform, adapter(platform) as one:
        await one.send(hello(place=place, text="<@12> @everyone come", sender=agent))
        await one.send(hello(place=place, id="msg_2", sender=agent, in_reply_to="5"))
        await one.send(hello(place=place, id="msg_3"))
    called, *others = [body for _, _, body in platform.sent]
    assert called["content"] == rf"<@{ANN}> \<@12\> @everyone come"
    assert called["allowed_mentions"] == {"parse": [], "users": [ANN], "replied_user": False}
    for body in others:
        assert (body["content"], body["allowed_mentions"]["users"]) == ("hello", [])


async def test_where_the_bot_may_not_reply_it_answers_all_the_same() -> None:
    no = {"message": "Cannot reply without permission to read message history", "code": 160002}
    async with DiscordStandIn(refusals=[(400, no)]) as platform, adapter(platform) as one:
        await one.send(hello(in_reply_to="5"))
        [(_, _, body)] = platform.sent
        assert "message_reference" not in body


@pytest.mark.parametrize(
    ("status", "answer", "kind", "wait"),
    [
        (429, {"message": "rate limited", "retry_after": 1.5}, ChannelUnavailable, 1.5),
        (403, {"message": "Missing Permissions", "code": 50013}, MessageRejected, None),
        (403, {"message": "Cannot send to this user", "code": 50007}, MessageRejected, None),
        (403, {}, ChannelUnavailable, None),
        (404, {"message": "Unknown Channel", "code": 10003}, MessageRejected, None),
        (500, {}, ChannelUnavailable, None),
    ],
)  # fmt: skip
async def test_what_discord_refuses_is_one_of_the_three_errors(
    status: int, answer: dict[str, Any], kind: type[ChannelError], wait: float | None
) -> None:
    async with DiscordStandIn(refusals=[(status, answer)]) as platform, adapter(platform) as one:
        with pytest.raises(kind) as raised:
            await one.send(hello())
        assert getattr(raised.value, "retry_after_seconds", None) == wait


async def test_a_refused_token_says_what_to_do_and_nothing_secret() -> None:
    async with DiscordStandIn() as platform, adapter(platform, token="another-one") as one:
        for asking in (one.check(), one.send(hello()), anext(one.listen())):  # type: ignore[arg-type]
            with pytest.raises(ChannelUnauthorized, match="reset and copy it") as raised:
                await asking
            assert "another-one" not in str(raised.value)


async def test_a_token_that_the_gateway_refuses_stops_the_channel() -> None:
    async with DiscordStandIn() as platform, adapter(platform) as one:
        one._gateway._token = "another-one"
        with pytest.raises(ChannelUnauthorized, match=r"reset and copy it.*4004"):
            await anext(one.listen())  # type: ignore[arg-type]


async def test_a_content_intent_that_is_off_is_named_and_can_be_done_without() -> None:
    async with DiscordStandIn(intents_allowed=1 << 0 | 1 << 9 | 1 << 12, flags=0) as platform:
        async with adapter(platform) as one:
            for asking in (one.check(), anext(one.listen())):  # type: ignore[arg-type]
                with pytest.raises(ChannelUnauthorized, match="Message Content Intent"):
                    await asking
        async with adapter(platform, message_content=False) as one:
            assert (await one.check()).startswith("kfbot, sees in servers mentions")


async def test_check_says_who_we_are_and_sees_buttons_that_go_elsewhere() -> None:
    async with DiscordStandIn() as platform, adapter(platform) as one:
        assert (await one.check()).startswith("kfbot, sees in servers everything, /ask is not")
        platform.interactions_endpoint_url = "https://shop.example/press"
        with pytest.raises(ChannelUnauthorized, match="Interactions Endpoint URL"):
            await one.check()


async def test_a_bot_out_of_sessions_waits_until_there_are_new_ones() -> None:
    async with DiscordStandIn(sessions_left=0) as platform, adapter(platform) as one:
        with pytest.raises(ChannelUnavailable) as raised:
            await anext(one.listen())  # type: ignore[arg-type]
        assert raised.value.retry_after_seconds == 5
        assert platform.logins == []


async def test_files_come_from_discord_alone_and_without_the_token() -> None:
    async with DiscordStandIn() as platform, adapter(platform) as one:
        assert await one.fetch(Attachment(f"{platform.url}/file")) == b"picture"
        for url in (
            "http://169.254.169.254/",
            "https://cdn.discordapp.com@evil.example/x",
            "https://cdn.discordapp.com.evil.example/x",
            "http://cdn.discordapp.com/x",
            "http://[",
        ):
            with pytest.raises(MessageRejected, match="no file of Discord's"):
                await one.fetch(Attachment(url))


_THEIR_BOT = """
import discord, yarl
discord.http.Route.BASE = "{api}"
discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL("{gateway}")
class Bot(discord.Client):
    async def on_message(self, message):
        if message.author.bot:
            return
        print(type(message.channel).__name__, message.content, flush=True)
        view = discord.ui.View(timeout=None)
        view.add_item(discord.ui.Button(label="yes", custom_id="tok"))
        await message.reply("heard", view=view)
    async def on_interaction(self, interaction):
        print(type(interaction.channel).__name__, interaction.data["custom_id"], flush=True)
        await interaction.response.defer()
intents = discord.Intents(guilds=True, guild_messages=True, dm_messages=True)
intents.message_content = True
Bot(intents=intents).run("{token}", log_handler=None)
"""


async def test_discord_py_takes_our_stand_in_for_discord() -> None:
    async with DiscordStandIn() as platform, discord_py(_THEIR_BOT, platform) as heard:
        await platform.until(platform.logins, 1)
        await platform.say("hi 你好")
        assert await heard() == "DMChannel hi 你好"
        await platform.say("hi", channel=CHANNEL)
        assert await heard() == "TextChannel hi"
        await platform.say("hi", channel=THREAD)
        assert await heard() == "Thread hi"
        await platform.until(platform.sent, 3)
        shown = list(platform.shown.values())[1]
        await platform.tell("INTERACTION_CREATE", platform.press("tok", shown))
        assert await heard() == "TextChannel tok"
        await platform.until(platform.interactions.answers, 1)
        assert platform.interactions.answers[0][1]["type"] == 6
        await platform.hang_up()
        await platform.say("after the break")
        assert await heard() == "DMChannel after the break"
        assert [operation for operation, _ in platform.logins] == [2, 6]
