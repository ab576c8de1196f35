"""The stand-in for Slack, vouched for by slack_bolt and slack_sdk: bots that are not ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from tests.platforms.slack import (
    ANN,
    APP_TOKEN,
    BOT,
    BOT_TOKEN,
    CHANNEL,
    DIRECT,
    SIGNING_SECRET,
    Failure,
    Slack,
)

pytestmark = pytest.mark.asyncio
YES = {"type": "button", "action_id": "yes", "value": "1"}
YES["text"] = {"type": "plain_text", "text": "Yes"}  # type: ignore[assignment]


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[Slack]:
    async with Slack() as stand_in:
        yield stand_in


@pytest.fixture
def client(slack: Slack) -> AsyncWebClient:
    return AsyncWebClient(token=BOT_TOKEN, base_url=slack.api_base)


@pytest.fixture
def app(client: AsyncWebClient) -> AsyncApp:
    """Answers every message in its thread, with a button."""
    app = AsyncApp(client=client, signing_secret=SIGNING_SECRET, process_before_response=True)

    @app.event("message")
    async def on_message(event: dict[str, Any], say: Any) -> None:
        blocks = [{"type": "actions", "elements": [YES]}]
        thread = event.get("thread_ts", event["ts"])
        await say(text=f"echo {event.get('text')}", blocks=blocks, thread_ts=thread)

    @app.event("app_mention")
    async def on_mention() -> None:
        return None

    @app.action("yes")
    async def on_yes(ack: Any, respond: Any) -> None:
        await ack()
        await respond(text="thanks", replace_original=False)

    @app.command("/kb")
    async def on_command(ack: Any, command: dict[str, Any], client: AsyncWebClient) -> None:
        await ack()
        await client.chat_postMessage(channel=command["channel_id"], text=command["text"])

    return app


@asynccontextmanager
async def called(slack: Slack, app: AsyncApp) -> AsyncIterator[Slack]:
    """The stand-in calls bolt's app."""

    async def receive(http: web.Request) -> web.Response:
        return await to_aiohttp_response(await app.async_dispatch(await to_bolt_request(http)))

    served = web.Application()
    served.router.add_post("/slack/events", receive)
    runner = web.AppRunner(served, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    slack.request_url = "http://{}:{}/slack/events".format(*runner.addresses[0][:2])
    yield slack
    await runner.cleanup()


@asynccontextmanager
async def connected(slack: Slack, app: AsyncApp) -> AsyncIterator[Slack]:
    """Bolt's app is connected to the stand-in."""
    handler = AsyncSocketModeHandler(app, APP_TOKEN)
    await handler.connect_async()
    yield slack
    await handler.close_async()


@pytest_asyncio.fixture(params=[called, connected])
async def running(
    request: pytest.FixtureRequest, slack: Slack, app: AsyncApp
) -> AsyncIterator[Slack]:
    """The stand-in, with bolt's app behind it in either mode."""
    async with request.param(slack, app):
        yield slack


async def test_bolt_takes_events_and_answers(running: Slack) -> None:
    event = running.says("hi", CHANNEL)
    assert await running.tell(event) == 1
    assert await running.tell(running.mention_of(event)) == 1
    [answer] = running.said(CHANNEL, event["ts"])
    assert answer["text"] == "echo hi"


async def test_bolt_takes_presses_and_responds(running: Slack) -> None:
    await running.tell(running.says("hi"))
    assert await running.press(running.said(DIRECT)[0], "Yes") == 1
    assert [response["text"] for response in running.responses] == ["thanks"]


async def test_bolt_takes_commands(running: Slack) -> None:
    assert await running.command("/kb", "reload") == 1
    assert [message["text"] for message in running.said(DIRECT)] == ["reload"]


async def test_bolt_does_not_answer_itself(running: Slack) -> None:
    await running.tell(running.says("me again", user=BOT))
    assert [message["text"] for message in running.said(DIRECT)] == ["me again"]


async def test_what_bolt_fails_to_take_is_told_again(running: Slack) -> None:
    running.ack_seconds = 0.3
    running.failures["chat.postMessage"] = [Failure("fatal_error")]
    assert await running.tell(running.says("hi")) == 2
    assert [message["text"] for message in running.said(DIRECT)] == ["echo hi"]


async def test_bolt_refuses_another_signature(slack: Slack, app: AsyncApp) -> None:
    async with called(slack, app):
        assert (await slack.post("{}", headers={"X-Slack-Signature": "v0=1"}))[0] == 401
        assert (await slack.post("{}", at=1))[0] == 401


async def test_bolt_verifies_the_address(slack: Slack, app: AsyncApp) -> None:
    async with called(slack, app):
        status, body = await slack.post('{"type": "url_verification", "challenge": "c"}')
        assert (status, body) == (200, '{"challenge": "c"}')


async def test_bolt_connects_again_after_a_disconnect(slack: Slack, app: AsyncApp) -> None:
    async with connected(slack, app):
        await slack.disconnect(close=False)
        async with asyncio.timeout(60):
            while slack.connected < 2:
                await app.client.auth_test()
        assert await slack.tell(slack.says("hi")) == 1


async def test_the_sdk_finds_every_method(slack: Slack, client: AsyncWebClient) -> None:
    assert (await client.auth_test())["user_id"] == BOT
    assert (await client.users_info(user=ANN))["user"]["id"] == ANN
    direct = (await client.conversations_open(users=ANN))["channel"]["id"]
    ts = (await client.chat_postMessage(channel=direct, text="one"))["ts"]
    await client.chat_postMessage(channel=direct, text="two", thread_ts=ts)
    replies = await client.conversations_replies(channel=direct, ts=ts)
    assert [one["text"] for one in replies["messages"]] == ["one", "two"]
    await client.chat_update(channel=direct, ts=ts, text="three")
    assert slack.messages[direct, ts]["text"] == "three"
    await client.chat_delete(channel=direct, ts=ts)
    assert (direct, ts) not in slack.messages


_LONG = {"type": "mrkdwn", "text": "x" * 3001}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"text": ""}, "no_text"),
        ({"text": "x" * 40_001}, "msg_too_long"),
        ({"text": "x", "blocks": [{"type": "section", "text": _LONG}]}, "invalid_blocks"),
        ({"text": "x", "blocks": [{"type": "actions", "elements": []}]}, "invalid_blocks"),
        ({"text": "x", "blocks": [{"type": "actions", "elements": [YES, YES]}]}, "invalid_blocks"),
        ({"text": "x", "blocks": [{"type": "header"}]}, "invalid_blocks"),
        ({"text": "x", "channel": "nowhere"}, "channel_not_found"),
    ],
)
@pytest.mark.filterwarnings("ignore:The top-level")
async def test_the_sdk_is_refused_what_slack_refuses(
    client: AsyncWebClient, given: dict[str, Any], code: str
) -> None:
    with pytest.raises(SlackApiError) as raised:
        await client.chat_postMessage(**({"channel": DIRECT} | given))
    assert raised.value.response["error"] == code


async def test_the_sdk_is_refused_with_another_token(slack: Slack) -> None:
    stranger = AsyncWebClient(token="xoxb-stranger", base_url=slack.api_base)
    with pytest.raises(SlackApiError, match="invalid_auth"):
        await stranger.auth_test()


async def test_the_sdk_waits_as_long_as_it_is_asked(slack: Slack, client: AsyncWebClient) -> None:
    slack.failures["auth.test"] = [Failure("ratelimited", 429, {"Retry-After": "7"})]
    with pytest.raises(SlackApiError) as raised:
        await client.auth_test()
    assert raised.value.response.headers["Retry-After"] == "7"
