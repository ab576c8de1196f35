"""Discord's slash command: how it is registered, and where its answer goes."""

from __future__ import annotations

from typing import Any

import pytest

from kfbot.errors import ChannelUnauthorized, ChannelUnavailable, MessageRejected, SettingsError
from kfbot.messages import DeliveryReceipt, Sender
from tests.integration.conftest import Served
from tests.integration.discord_shop import (
    BY_HTTP,
    QUESTION,
    adapter,
    answer_to_command,
    discord_py,
    section,
)
from tests.platforms.discord import DiscordStandIn
from tests.platforms.discord_forms import ANN, CHANNEL, DIRECT

pytestmark = pytest.mark.asyncio
ADDRESS = "https://shop.example/webhooks/discord"


# Settings, and what `kfbot check` says


async def test_without_the_gateway_the_public_key_is_needed(served: Served) -> None:
    async with DiscordStandIn() as platform:
        for given in ({"public_key": ""}, {"public_key": "ab"}, {"public_key": "g" * 64}):
            with pytest.raises(SettingsError, match="public_key"):
                async with served(sections={"discord": section(platform, **BY_HTTP | given)}):
                    pass


async def test_the_command_is_registered_once_and_again_where_it_was_changed() -> None:
    async with DiscordStandIn(interactions_endpoint_url=ADDRESS) as platform:
        others = {"name": "other", "description": "of another program", "type": 1}
        platform.interactions.commands = [others]
        async with adapter(platform, **BY_HTTP) as one:
            assert [event async for event in one.listen()] == []
        assert [one["name"] for one in platform.interactions.commands] == ["other", "ask"]
        registered = platform.interactions.commands[1]
        async with adapter(platform, **BY_HTTP) as one:
            assert [event async for event in one.listen()] == []
        assert platform.interactions.commands[1] is registered
        platform.interactions.commands[1]["options"][0]["max_length"] = 10
        async with adapter(platform, **BY_HTTP) as one:
            assert (await one.check()).endswith("/ask is not registered: kfbot serve does it")
            assert [event async for event in one.listen()] == []
            assert (await one.check()).endswith("/ask is registered")
        assert platform.interactions.commands[1]["options"][0]["max_length"] == 1500


@pytest.mark.parametrize("status", [403, 500])
async def test_messages_are_heard_where_the_command_cannot_be_registered(
    served: Served, status: int
) -> None:
    async with DiscordStandIn() as platform:
        platform.interactions.refusal = status
        async with served(sections={"discord": section(platform)}):
            await platform.until(platform.logins, 1)
            await platform.say(QUESTION)
            await platform.until(platform.sent, 1)
        assert platform.interactions.commands == []


async def test_without_the_gateway_the_command_is_tried_again() -> None:
    async with DiscordStandIn() as platform, adapter(platform, **BY_HTTP) as one:
        platform.interactions.refusal = 500
        with pytest.raises(ChannelUnavailable):
            await anext(one.listen())  # type: ignore[arg-type]
        platform.interactions.refusal = 0
        assert [event async for event in one.listen()] == []
        assert [command["name"] for command in platform.interactions.commands] == ["ask"]


async def test_a_command_that_is_not_wanted_is_left_alone() -> None:
    async with (
        DiscordStandIn(interactions_endpoint_url=ADDRESS) as platform,
        adapter(platform, **BY_HTTP, register_command=False) as one,
    ):
        assert [event async for event in one.listen()] == []
        assert platform.interactions.commands == []
        assert (await one.check()).endswith("by interactions alone, /ask is not registered")


@pytest.mark.parametrize(
    ("posts_to", "given", "fault"),
    [
        (
            None,
            {},
            "set Interactions Endpoint URL in the developer portal: https://…/webhooks/discord",
        ),
        ("https://shop.example/x", {}, "has to end with /webhooks/discord"),
        (ADDRESS, {"public_key": "ab" * 32}, "not the app's"),
        ("https://shop.example/x", {"mode": "gateway", "public_key": ""}, "clear Interactions"),
    ],
)
async def test_check_names_where_interactions_go_wrong(
    posts_to: str | None, given: dict[str, Any], fault: str
) -> None:
    async with DiscordStandIn(interactions_endpoint_url=posts_to) as platform:
        async with adapter(platform, **BY_HTTP | given) as one:
            with pytest.raises(ChannelUnauthorized, match=fault):
                await one.check()
        platform.interactions_endpoint_url = ADDRESS
        async with adapter(platform, **BY_HTTP) as one:
            assert (await one.check()).startswith("kfbot, by interactions alone")


# Where an answer goes


async def test_a_command_that_discord_does_not_show_yet_is_answered_later() -> None:
    async with DiscordStandIn() as platform, adapter(platform, **BY_HTTP) as one:
        answer = answer_to_command(platform)
        with pytest.raises(ChannelUnavailable) as raised:
            await one.send(answer)
        assert raised.value.retry_after_seconds == 1.0
        platform.interactions.shown({"data": {"content": "> hi"}})
        assert (await one.send(answer)).platform_ids


async def test_the_answer_to_a_command_of_long_ago_names_who_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with DiscordStandIn() as platform, adapter(platform, **BY_HTTP) as one:
        answer = answer_to_command(platform)
        monkeypatch.setattr("adapters.discord.tokens._GOOD_SECONDS", -1)
        await one.send(answer)
        [(_, channel, body)] = platform.sent
        assert (channel, body["content"]) == (CHANNEL, f"<@{ANN}> hello")
        assert body["allowed_mentions"]["users"] == [ANN]


@pytest.mark.parametrize("is_agent", [True, False])
async def test_where_nothing_can_be_written_any_more_it_goes_to_the_writer_alone(
    is_agent: bool,
) -> None:
    async with DiscordStandIn(closed={CHANNEL}) as platform, adapter(platform, **BY_HTTP) as one:
        platform.interactions.is_over = True
        agent = {"sender": Sender("7", "agent", "Lee"), "in_reply_to": None}
        await one.send(answer_to_command(platform, **(agent if is_agent else {})))
        [(_, channel, body)] = platform.sent
        assert (channel, "message_reference" in body) == (DIRECT, False)


async def test_who_mentions_a_bot_that_was_silenced_there_gets_no_direct_message() -> None:
    async with DiscordStandIn(closed={CHANNEL}) as platform, adapter(platform, **BY_HTTP) as one:
        with pytest.raises(MessageRejected, match="Missing Access"):
            await one.send(answer_to_command(platform, in_reply_to="5"))
        assert platform.sent == []


async def test_what_was_said_by_token_is_edited_by_token() -> None:
    async with DiscordStandIn(closed={CHANNEL}) as platform, adapter(platform, **BY_HTTP) as one:
        platform.interactions.shown({"data": {"content": "> hi"}})
        answer = answer_to_command(platform)
        receipt = await one.send(answer)
        await one.edit(receipt, answer)
        [(_, made, _), (method, changed, _)] = platform.interactions.followups
        assert (method, changed) == ("PATCH", made)
        with pytest.raises(MessageRejected, match="Missing Access"):
            await one.edit(DeliveryReceipt(("1",)), answer_to_command(platform, in_reply_to="5"))


_THEIR_BOT = """
import discord, yarl
discord.http.Route.BASE = "{api}"
discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL("{gateway}")
class Bot(discord.Client):
    async def setup_hook(self):
        tree = discord.app_commands.CommandTree(self)
        @tree.command(name="ask", description="Ask")
        async def ask(interaction, question: str):
            where = type(interaction.channel).__name__
            await interaction.response.send_message("> " + question)
            shown = await interaction.original_response()
            said = await interaction.followup.send("by token", wait=True)
            await said.edit(content="better")
            print(where, question, shown.content, flush=True)
        await tree.sync()
        known = await tree.fetch_commands()
        print(known[0].name, known[0].options[0].name, flush=True)
Bot(intents=discord.Intents(guilds=True)).run("{token}", log_handler=None)
"""


async def test_discord_py_registers_and_answers_a_command_on_our_stand_in() -> None:
    async with DiscordStandIn() as platform, discord_py(_THEIR_BOT, platform) as heard:
        assert await heard() == "ask question"
        await platform.until(platform.logins, 1)
        for place, kind in ((CHANNEL, "TextChannel"), (DIRECT, "DMChannel")):
            await platform.tell(
                "INTERACTION_CREATE", platform.interactions.ask("运费是多少", channel=place)
            )
            assert await heard() == f"{kind} 运费是多少 > 运费是多少"
        kinds = [method for method, _, _ in platform.interactions.followups]
        assert kinds == ["POST", "PATCH", "POST", "PATCH"]
