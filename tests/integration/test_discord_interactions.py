"""Discord's interactions with the whole bot behind them: /ask and buttons, by HTTP and gateway."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest
from nacl.signing import SigningKey

from adapters.discord.tokens import InteractionTokens
from kfbot.errors import WebhookRejected
from kfbot.messages import InboundEvent
from tests.integration.conftest import DOUBTFUL, Served
from tests.integration.discord_shop import (
    ANSWER,
    BY_HTTP,
    QUESTION,
    adapter,
    post,
    request_of,
    section,
    shop_by_http,
)
from tests.platforms.discord import DiscordStandIn
from tests.platforms.discord_forms import ANN, CHANNEL, DIRECT, ME, THREAD, TOKEN
from tests.platforms.discord_interactions import INTERACTION_TOKEN, signed

pytestmark = pytest.mark.asyncio


async def test_a_question_is_repeated_at_once_and_answered_below(served: Served) -> None:
    async with shop_by_http(served) as (platform, bot):
        asked = platform.interactions.ask("运费是多少", channel=CHANNEL)
        status, body = await post(platform, bot, asked)
        assert (status, body["type"], body["data"]["content"]) == (200, 4, "> 运费是多少")
        assert body["data"]["allowed_mentions"] == {"parse": []}
        assert not body["data"]["flags"] & 64  # Others may read the question and its answer.
        [(_, channel, said)] = await platform.until(platform.sent, 1)
        assert (channel, said["content"].split("，")[0]) == (CHANNEL, "满 99 元包邮")
        shown = platform.interactions.originals[INTERACTION_TOKEN]["id"]
        assert said["message_reference"]["message_id"] == shown
        assert said["allowed_mentions"]["users"] == []
        assert platform.logins == []


async def test_in_a_direct_chat_the_answer_is_an_ordinary_message(served: Served) -> None:
    async with shop_by_http(served) as (platform, bot):
        await post(platform, bot, platform.interactions.ask(QUESTION))
        [(_, channel, said)] = await platform.until(platform.sent, 1)
        assert channel == DIRECT
        assert said["content"].startswith(ANSWER)
        assert "message_reference" not in said


async def test_a_repeated_request_is_answered_alike_and_stored_once(served: Served) -> None:
    async with shop_by_http(served) as (platform, bot):
        asked = platform.interactions.ask(QUESTION)
        assert await post(platform, bot, asked) == await post(platform, bot, asked)
        await bot.quiet()
        assert len(platform.sent) == 1


async def test_a_choice_is_pressed_and_answered(served: Served) -> None:
    async with shop_by_http(served) as (platform, bot):
        await post(platform, bot, platform.interactions.ask(DOUBTFUL, channel=CHANNEL))
        await platform.until(platform.sent, 1)
        [shown] = platform.shown.values()
        button = shown["components"][0]["components"][0]
        pressed = platform.press(button["custom_id"], shown)
        assert await post(platform, bot, pressed) == (200, {"type": 6})
        sent = await platform.until(platform.sent, 2)
        assert sent[1][2]["content"].startswith(("You have 15 days", "Open the order"))


async def test_where_the_bot_may_not_write_the_commands_token_does(served: Served) -> None:
    async with shop_by_http(served, closed=CHANNEL) as (platform, bot):
        await post(platform, bot, platform.interactions.ask(QUESTION, channel=CHANNEL))
        [(method, _, body)] = await platform.until(platform.interactions.followups, 1)
        assert (method, body["content"].startswith(ANSWER)) == ("POST", True)
        await bot.quiet()
        assert platform.sent == []


async def test_a_person_who_answers_late_is_heard_in_the_channel_by_name(served: Served) -> None:
    async with shop_by_http(served) as (platform, bot):
        await post(platform, bot, platform.interactions.ask("转人工", channel=CHANNEL))
        await platform.until(platform.sent, 1)
        platform.interactions.is_over = True
        [case] = (await bot.get("/api/v1/conversations"))[1]["data"]
        await bot.post(f"/api/v1/conversations/{case['id']}/claim", {"agent": "Lee"})
        reply = {"agent": "Lee", "text": "您好"}
        status, _ = await bot.post(f"/api/v1/conversations/{case['id']}/reply", reply)
        assert status == 200
        sent = await platform.until(platform.sent, 2)
        assert sent[-1][1:] == (CHANNEL, sent[-1][2])
        assert sent[-1][2]["content"] == f"<@{ANN}> 您好"


async def test_what_an_agent_is_asked_meanwhile_leaves_nothing_unanswered_behind(
    served: Served,
) -> None:
    async with shop_by_http(served) as (platform, bot):
        await post(platform, bot, platform.interactions.ask("转人工", channel=CHANNEL))
        await platform.until(platform.sent, 1)
        [case] = (await bot.get("/api/v1/conversations"))[1]["data"]
        await bot.post(f"/api/v1/conversations/{case['id']}/claim", {"agent": "Lee"})
        count = len(platform.sent)
        again = platform.interactions.ask("are you there?", channel=CHANNEL)
        assert (await post(platform, bot, again))[1]["type"] == 4
        await bot.quiet()
        assert len(platform.sent) == count


# Signatures


async def test_a_ping_is_answered(served: Served) -> None:
    async with shop_by_http(served) as (platform, bot):
        ping = {"id": "1", "application_id": ME, "type": 1, "token": "t", "version": 1}
        assert await post(platform, bot, ping) == (200, {"type": 1})


async def test_a_request_that_is_not_discords_of_now_is_a_401_and_nothing_is_stored(
    served: Served,
) -> None:
    async with shop_by_http(served) as (platform, bot):
        asked = platform.interactions.ask(QUESTION)
        body = json.dumps(asked).encode()
        good = signed(body)
        stamp, signature = good["x-signature-timestamp"], good["x-signature-ed25519"]
        wrong = [
            {},
            {"x-signature-timestamp": stamp},
            {"x-signature-ed25519": signature},
            good
            | {"x-signature-ed25519": signature[:-2] + ("00" if signature[-2:] != "00" else "01")},
            good | {"x-signature-ed25519": "no hex"},
            good | {"x-signature-ed25519": signature[:64]},
            good | {"x-signature-timestamp": str(int(stamp) + 1)},
            signed(body + b" "),
            signed(body, key=SigningKey(bytes(32))),
            signed(body, now=0),
            signed(body, now=int(stamp) - 400),
            signed(body, now=int(stamp) + 400),
        ]
        for headers in wrong:
            status, _ = await bot.post("/webhooks/discord", data=body, headers=headers)
            assert status == 401, headers
        assert (await bot.stored())["inbox"] == 0
        assert (await bot.post("/webhooks/discord", data=body, headers=good))[0] == 200


async def test_without_a_public_key_there_is_no_such_address() -> None:
    async with (
        DiscordStandIn() as platform,
        adapter(platform) as one,
    ):
        with pytest.raises(WebhookRejected) as raised:
            await one.receive_webhook(request_of(platform.interactions.ask(QUESTION)))
        assert raised.value.status == 404


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"type": 4}, 8),
        ({"type": 5}, 4),
        ({"data": {"type": 2, "name": "report"}}, 4),
        ({"data": {"type": 1, "name": "other"}}, 4),
        ({"data": {"type": 1, "options": [{"name": "question", "value": "  "}]}}, 4),
        ({"type": 3, "data": {"component_type": 3, "custom_id": "a"}}, 4),
        ({"context": 2}, 4),
        ({"user": {"id": "no id"}}, 4),
    ],
)
async def test_an_interaction_that_is_not_ours_is_told_so_and_is_no_event(
    given: dict[str, Any], kind: int
) -> None:
    async with DiscordStandIn() as platform, adapter(platform, **BY_HTTP) as one:
        data = platform.interactions.ask(QUESTION) | given
        reply = await one.receive_webhook(request_of(data))
        answered = json.loads(reply.body)
        assert (reply.events, reply.status, answered["type"]) == ((), 200, kind)
        if kind == 4:
            assert answered["data"]["flags"] == 64
            assert "/提问" in answered["data"]["content"]


# By the gateway


@pytest.mark.parametrize("place", [DIRECT, CHANNEL, THREAD, "801"])
async def test_gateway_and_address_tell_the_same_event(place: str) -> None:
    async with (
        DiscordStandIn() as platform,
        adapter(platform, public_key=BY_HTTP["public_key"]) as one,
    ):
        asked = platform.interactions.ask(QUESTION, channel=place)
        shown = platform.message("which?", channel=place) | {"channel_id": place}
        pressed = platform.press("tok", shown) | {"channel": asked["channel"]}
        async with asyncio.timeout(60), aclosing(one.listen()) as heard:  # type: ignore[type-var]
            listening = asyncio.create_task(anext(heard))  # type: ignore[arg-type]
            await platform.until(platform.logins, 1)
            for data in (asked, pressed):
                await platform.tell("INTERACTION_CREATE", data)
                told = await listening
                [posted_] = (await one.receive_webhook(request_of(data))).events
                assert _alike(told) == _alike(posted_)
                listening = asyncio.create_task(anext(heard))  # type: ignore[arg-type]
            [(path, body), (_, second)] = await platform.until(platform.interactions.answers, 2)
            assert path == f"/interactions/{asked['id']}/interaction%2Ftoken/callback"
            assert (body["type"], body["data"]["content"], second) == (
                4,
                f"> {QUESTION}",
                {"type": 6},
            )
            await platform.say("hi")
            await listening
        assert platform.called == []


def _alike(event: InboundEvent) -> dict[str, Any]:
    """An event without what is sealed anew each time."""
    fields = {name: getattr(event, name) for name in event.__slots__}
    named = str(fields.get("message_id")).partition(".")[0]
    return fields | {"message_id": named}


async def test_by_the_gateway_a_question_is_answered_in_its_thread(served: Served) -> None:
    async with (
        DiscordStandIn() as platform,
        served(sections={"discord": section(platform)}),
    ):
        await platform.until(platform.logins, 1)
        asked = platform.interactions.ask(QUESTION, channel=THREAD)
        await platform.tell("INTERACTION_CREATE", asked)
        [(_, channel, said)] = await platform.until(platform.sent, 1)
        assert channel == THREAD
        shown = platform.interactions.originals[INTERACTION_TOKEN]["id"]
        assert said["message_reference"]["message_id"] == shown


async def test_a_token_is_stored_sealed_and_opens_for_the_same_bot_alone(served: Served) -> None:
    async with shop_by_http(served) as (platform, bot):
        await post(platform, bot, platform.interactions.ask(QUESTION, channel=CHANNEL))
        await platform.until(platform.sent, 1)
        await bot.quiet()
        raw = b"".join(file.read_bytes() for file in bot.data_dir.glob("kfbot.sqlite3*"))
        assert QUESTION.encode() in raw
        assert INTERACTION_TOKEN.encode() not in raw
    sealed = InteractionTokens(TOKEN).message_id(
        {"id": "1", "application_id": ME, "token": INTERACTION_TOKEN}
    )
    assert InteractionTokens(TOKEN).find(sealed) is not None
    assert InteractionTokens("another").find(sealed) is None
