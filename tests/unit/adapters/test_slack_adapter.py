"""The Slack adapter without Slack: its settings, who may call it, and what the SDK may raise."""

from __future__ import annotations

import asyncio
import json
from time import time
from typing import Any

import aiohttp
import pytest
from pydantic import ValidationError
from slack_sdk import errors
from slack_sdk.signature import SignatureVerifier

from adapters.slack import BODY_BYTES, SlackAdapter, SlackSettings
from adapters.slack.faults import mapped
from adapters.slack.files import is_slacks
from adapters.slack.routing import Identity, Routing
from adapters.slack.threads import Threads
from kfbot.adapter import WebhookReply, WebhookRequest
from kfbot.channels import platforms
from kfbot.errors import ChannelError, ChannelUnavailable, WebhookRejected
from kfbot.messages import ButtonPressed

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
HTTP = {"platform": "slack", "bot_token": "xoxb-1", "signing_secret": SECRET}
SOCKET = {"platform": "slack", "bot_token": "xoxb-1", "app_token": "xapp-1"}


def settings(**section: Any) -> SlackSettings:
    return SlackSettings.model_validate(section)


def test_the_platform_is_found_though_it_is_a_package() -> None:
    assert "slack" in platforms()


# --- settings ------------------------------------------------------------------------------------


def test_the_mode_follows_from_the_secret_that_is_given() -> None:
    assert not settings(**HTTP).is_socket
    assert settings(**SOCKET).is_socket
    assert not settings(**HTTP, app_token="xapp-1").is_socket
    assert settings(**HTTP, app_token="xapp-1", mode="socket").is_socket


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"platform": "slack", "bot_token": "xoxb-1"}, "signing_secret is needed"),
        (HTTP | {"mode": "socket"}, "app_token .* is needed"),
        (SOCKET | {"mode": "http"}, "signing_secret is needed"),
        (HTTP | {"bot_token": "xapp-1"}, "the bot token begins with xoxb-"),
        (SOCKET | {"app_token": "xoxb-1"}, "the app token begins with xapp-"),
        (HTTP | {"bot_token": "xoxb-1\n"}, "copied whole"),
        (HTTP | {"signing_secret": ""}, "copied whole"),
        (HTTP | {"api_base": "slack.com/api"}, "http or https address"),
        (HTTP | {"mode": "polling"}, "'http' or 'socket'"),
    ],
)
def test_what_is_wrong_in_a_section_is_said_without_its_secrets(
    section: dict[str, str], says: str
) -> None:
    with pytest.raises(ValidationError, match=says) as raised:
        settings(**section)
    assert SECRET not in str(raised.value)
    assert section["bot_token"] not in str(raised.value)


def test_the_address_of_the_api_ends_with_a_slash() -> None:
    assert settings(**HTTP, api_base="http://127.0.0.1:1/api").api_base.endswith("/api/")


# --- who may call --------------------------------------------------------------------------------


def signed(body: bytes, *, at: float | None = None, **headers: str) -> WebhookRequest:
    timestamp = str(int(time() if at is None else at))
    text = body.decode(errors="replace")
    signature = SignatureVerifier(SECRET).generate_signature(timestamp=timestamp, body=text)
    own = {"x-slack-request-timestamp": timestamp, "x-slack-signature": str(signature)}
    named = {f"x-slack-{name.replace('_', '-')}": value for name, value in headers.items()}
    return WebhookRequest(method="POST", query={}, headers=own | named, body=body)


def receive(request: WebhookRequest, **section: str) -> WebhookReply:
    adapter = SlackAdapter("shop", settings(**(section or HTTP)))
    return asyncio.run(adapter.receive_webhook(request))


def refusal(request: WebhookRequest, **section: str) -> int:
    with pytest.raises(WebhookRejected) as raised:
        receive(request, **section)
    return raised.value.status


BODY = b'{"type": "url_verification", "challenge": "c"}'


def test_the_address_is_verified() -> None:
    reply = receive(signed(BODY))
    assert (reply.status, json.loads(reply.body)) == (200, {"challenge": "c"})


def test_a_request_counts_for_five_minutes() -> None:
    assert receive(signed(BODY, at=time() - 290)).status == 200
    assert refusal(signed(BODY, at=time() - 310)) == 401
    assert refusal(signed(BODY, at=time() + 310)) == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"signature": ""},
        {"signature": "v0=" + "0" * 64},
        {"signature": "v0=ü"},
        {"request_timestamp": ""},
        {"request_timestamp": "now"},
        {"request_timestamp": "²"},
        {"request_timestamp": "9" * 5000},
        {"request_timestamp": "-1"},
    ],
    ids=lambda headers: str(headers)[:40],
)
def test_what_slack_did_not_sign_is_refused(headers: dict[str, str]) -> None:
    assert refusal(signed(BODY, **headers)) == 401


def test_a_changed_body_is_refused() -> None:
    request = signed(BODY)
    changed = WebhookRequest(method="POST", query={}, headers=request.headers, body=BODY + b" ")
    assert refusal(changed) == 401


def test_other_methods_and_large_bodies_are_refused() -> None:
    request = signed(BODY)
    got = WebhookRequest(method="GET", query={}, headers=request.headers, body=BODY)
    assert refusal(got) == 405
    assert refusal(signed(b"x" * (BODY_BYTES + 1))) == 413


def test_in_socket_mode_nobody_may_call() -> None:
    assert refusal(signed(BODY), **SOCKET) == 404


@pytest.mark.parametrize(
    "body",
    [
        {"type": "event_callback"},
        {"type": "event_callback", "event": {}},
        {"type": "event_callback", "event": []},
        {"type": "event_callback", "event": {"type": "message"}, "authorizations": 7},
        {"type": "block_actions"},
        {"type": "block_actions", "actions": [7]},
    ],
    ids=str,
)
def test_a_signed_but_malformed_request_is_refused(body: dict[str, Any]) -> None:
    assert refusal(signed(json.dumps(body).encode())) == 400


@pytest.mark.parametrize("kind", ["view_submission", "shortcut", "app_rate_limited", "news"])
def test_what_we_have_no_use_for_is_acknowledged(kind: str) -> None:
    body = {"type": kind, "callback_id": "c", "view": {"type": "modal", "callback_id": "c"}}
    reply = receive(signed(json.dumps(body).encode()))
    assert (reply.status, reply.events) == (200, ())


def test_slack_has_to_call_again_while_it_matters_who_we_are() -> None:
    said = {"type": "message", "channel": "C1", "user": "U1", "ts": "1.1", "text": "<@U2> hi"}
    body = {"type": "event_callback", "event": said}
    assert receive(signed(json.dumps(body).encode())).status == 503


def test_a_press_without_its_message_is_known_by_its_container() -> None:
    container = {"message_ts": "2.000001", "channel_id": "C1", "thread_ts": "1.000001"}
    body = {"type": "block_actions", "user": {"id": "U1"}, "container": container}
    body |= {"trigger_id": "t1", "actions": [{"action_id": "kfbot-0", "value": "tok"}]}
    [event] = receive(signed(json.dumps(body).encode())).events
    assert isinstance(event, ButtonPressed)
    assert (event.conversation.thread, event.token) == ("1.000001", "tok")


@pytest.mark.asyncio
@pytest.mark.parametrize("team", ["T0SHOP", "T0OTHER"])
async def test_presses_and_commands_of_another_workspace_lead_to_nothing(team: str) -> None:
    async def identify() -> Identity:
        raise AssertionError

    async def ask(chat: str, thread: str) -> bool:
        raise AssertionError

    async def name_of(user: str) -> str:
        raise AssertionError

    routing = Routing("shop", Threads("shop", ask), identify, agents_chat="", name_of=name_of)
    routing.introduce(Identity("U0KFBOT", "T0SHOP"))
    press: dict[str, Any] = {
        "type": "block_actions",
        "user": {"id": "U1"},
        "trigger_id": "t1",
        "team": {"id": team},
    }
    press |= {"container": {"message_ts": "2.000001", "channel_id": "C1"}}
    press |= {"actions": [{"action_id": "kfbot-0", "value": "tok"}]}
    command = {"command": "/kb", "text": "status", "user_id": "U1", "channel_id": "C1"}
    command |= {"trigger_id": "t2", "team_id": team}
    found = [await routing.route(body, mode="socket_mode") for body in (press, command)]
    assert [len(one.events) for one in found] == [int(team == "T0SHOP")] * 2
    assert [one.response.status for one in found] == [200, 200]


# --- faults --------------------------------------------------------------------------------------


def _all(kind: type[BaseException]) -> list[type[BaseException]]:
    return [kind, *(one for below in kind.__subclasses__() for one in _all(below))]


@pytest.mark.parametrize("kind", [*_all(errors.SlackClientError), aiohttp.ClientError, OSError])
def test_whatever_the_sdk_raises_is_one_of_ours(kind: type[Exception]) -> None:
    error = kind("m", {"ok": False}) if kind is errors.SlackApiError else kind("m")
    with pytest.raises(ChannelError), mapped("shop"):
        raise error


def test_the_walk_over_the_sdks_errors_leaves_none_out() -> None:
    found = {one for one in vars(errors).values() if isinstance(one, type)}
    raised = {one for one in found if issubclass(one, Exception)}
    assert raised <= set(_all(errors.SlackClientError))


# --- files, threads ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "slacks"),
    [
        ("https://files.slack.com/files-pri/T1-F1/a.pdf", True),
        ("http://files.slack.com/files-pri/T1-F1/a.pdf", False),
        ("https://files.slack.com:444/x", False),
        ("https://files.slack.com@evil.example/x", False),
        ("https://user:pw@files.slack.com/x", False),
        ("https://evil.example/?https://files.slack.com", False),
        ("https://slack.com/x", True),
        ("file:///etc/passwd", False),
        ("http://169.254.169.254/latest", False),
        ("", False),
        ("http://[", False),
    ],
)
def test_only_slack_is_asked_for_files(address: str, slacks: bool) -> None:
    assert is_slacks(address, "https://slack.com/api/") is slacks


@pytest.mark.asyncio
async def test_threads_are_asked_about_once_and_the_oldest_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("adapters.slack.threads.REMEMBERED", 2)
    asked: list[str] = []

    async def ask(chat: str, thread: str) -> bool:
        asked.append(thread)
        return thread == "1"

    threads = Threads("shop", ask)
    assert [await threads.takes_part("C1", one) for one in "1212"] == [True, False, True, False]
    threads.join("C1", "3")
    assert await threads.takes_part("C1", "3")
    assert await threads.takes_part("C1", "1")
    assert asked == ["1", "2", "1"]


@pytest.mark.asyncio
async def test_a_slack_that_does_not_answer_is_asked_again_about_a_thread() -> None:
    answers: list[Exception | bool] = [ChannelUnavailable("shop", "no"), TimeoutError(), True]

    async def ask(chat: str, thread: str) -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    threads = Threads("shop", ask)
    assert [await threads.takes_part("C1", "1") for _ in range(3)] == [False, False, True]


@pytest.mark.asyncio
async def test_a_slack_that_refuses_is_asked_about_no_other_thread() -> None:
    async def ask(chat: str, thread: str) -> bool:
        asked.append(thread)
        raise errors.SlackApiError("m", {"ok": False, "error": "missing_scope"})

    asked: list[str] = []
    threads = Threads("shop", ask)
    assert not await threads.takes_part("C1", "1")
    assert not await threads.takes_part("C1", "2")
    assert asked == ["1"]
