"""slack-bolt as the way from a request to inbound events, for both modes."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from slack_bolt.async_app import AsyncAck, AsyncApp, AsyncBoltContext, AsyncBoltRequest
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.error import BoltUnhandledRequestError
from slack_bolt.response import BoltResponse

from adapters.slack.events import Reader
from adapters.slack.threads import Threads
from kfbot.messages import ButtonPressed, InboundEvent, MessageEdited, MessageReceived

logger = logging.getLogger(__name__)

_ANY = re.compile("")
_FOUND = "kfbot_events"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom our bot token stands for, by auth.test."""

    user_id: str
    team_id: str = ""
    enterprise_id: str = ""
    user: str = ""
    team: str = ""


@dataclass(frozen=True, slots=True)
class Routed:
    """What a request means, and what Slack is answered once that is stored."""

    events: tuple[InboundEvent, ...]
    response: BoltResponse


class Routing:
    """Hands each kind of request to the reader; the app answers nobody by itself."""

    def __init__(
        self,
        channel: str,
        threads: Threads,
        identify: Callable[[], Awaitable[Identity]],
        *,
        agents_chat: str,
        name_of: Callable[[str], Awaitable[str]],
    ) -> None:
        """Prepare.

        Args:
            identify: Who we are; raises ChannelError while Slack does not tell.
            agents_chat: The channel of the agents; "": there is none.
            name_of: What a user is called; "": it is not known.
        """
        self._channel = channel
        self._threads = threads
        self._identify = identify
        self._agents_chat = agents_chat
        self._name_of = name_of
        self._identity: Identity | None = None
        self._app = _app()
        self._app.event(_ANY)(self._on_event)
        self._app.action(_ANY)(self._on_press)
        self._app.command(_ANY)(self._on_command)

    def introduce(self, identity: Identity) -> None:
        """From now on it is known who we are."""
        self._identity = identity

    async def route(
        self,
        body: str | dict[str, Any],
        *,
        mode: Literal["http", "socket_mode"],
        headers: Mapping[str, str] | None = None,
    ) -> Routed:
        """Read what Slack sent: the body as it came over HTTP, or the payload of an envelope.

        Raises:
            ValueError: It is malformed; the text says how.
            ChannelError: It matters who we are, and Slack does not tell.
        """
        found: list[InboundEvent] = []
        try:
            request = AsyncBoltRequest(
                body=body, mode=mode, headers=dict(headers or {}), context={_FOUND: found}
            )
            _check(request.body)
            if self._identity is None and request.body.get("type") == "event_callback":
                self._identity = _identity_in(request.body) or await self._identify()
            response = await self._app.async_dispatch(request)
        except (LookupError, TypeError, AttributeError, RecursionError):
            # bolt takes it for granted that every field has its form.
            raise ValueError("is no request of Slack") from None
        return Routed(tuple(found), response)

    def _reader(self) -> Reader:
        # Presses and commands mention nobody, so they are read before we know who we are.
        bot = self._identity.user_id if self._identity else ""
        return Reader(self._channel, bot, self._agents_chat)

    async def _on_event(self, body: dict[str, Any], context: AsyncBoltContext) -> None:
        if self._identity is not None and not _is_ours(body, self._identity):
            logger.warning("event of another workspace left out", extra={"event": "event_foreign"})
            return
        reader, event = self._reader(), body["event"]
        read = reader.of_event(event)
        if isinstance(read, MessageReceived) and read.in_group and read.sender.role != "agent":
            read = await self._in_thread(read, followed_up=reader.follows_up(event))
        if read is not None:
            context[_FOUND].append(await self._named(read))

    async def _named(self, read: InboundEvent) -> InboundEvent:
        """An event of an agent with the agent's name; any other as it is."""
        if not isinstance(read, MessageReceived | MessageEdited | ButtonPressed):
            return read
        if read.sender.role != "agent":
            return read
        name = await self._name_of(read.sender.id)
        return replace(read, sender=replace(read.sender, display_name=name))

    async def _in_thread(self, read: MessageReceived, *, followed_up: bool) -> MessageReceived:
        chat, thread = read.conversation.chat, read.conversation.thread or ""
        if read.addressed_to_bot:
            self._threads.join(chat, thread)
        elif followed_up and await self._threads.takes_part(chat, thread):
            return replace(read, addressed_to_bot=True)
        return read

    async def _on_press(
        self, body: dict[str, Any], context: AsyncBoltContext, ack: AsyncAck
    ) -> None:
        if self._is_from_us(body):
            pressed = self._reader().of_press(body, datetime.now(UTC))
            context[_FOUND].extend([await self._named(one) for one in pressed])
        await ack()

    async def _on_command(
        self, body: dict[str, Any], context: AsyncBoltContext, ack: AsyncAck
    ) -> None:
        read = self._reader().of_command(body, datetime.now(UTC))
        if read is not None and self._is_from_us(body):
            context[_FOUND].append(await self._named(read))
        await ack()

    def _is_from_us(self, body: Mapping[str, Any]) -> bool:
        if self._identity is None or _is_used_in(body, self._identity):
            return True
        logger.warning("press or command of another workspace", extra={"event": "event_foreign"})
        return False


def _app() -> AsyncApp:
    # bolt logs what people wrote at INFO.
    quiet = logging.getLogger(f"{__name__}.bolt")
    quiet.setLevel(logging.ERROR)
    app = AsyncApp(
        name=__name__,
        logger=quiet,
        process_before_response=True,
        raise_error_for_unhandled_request=True,
        authorize=_authorize,
        # Signatures are checked over the bytes, before anything is read.
        request_verification_enabled=False,
        # Its own check does not know who we are.
        ignoring_self_events_enabled=False,
        attaching_function_token_enabled=False,
        attaching_conversation_kwargs_enabled=False,
    )
    app.error(_on_error)
    return app


async def _authorize(enterprise_id: str | None, team_id: str | None) -> AuthorizeResult:
    # One workspace, one token; the app calls nothing with it.
    return AuthorizeResult(enterprise_id=enterprise_id, team_id=team_id)


async def _on_error(error: Exception) -> BoltResponse:
    if isinstance(error, BoltUnhandledRequestError):
        # Of a kind that we have no use for: sent again it would be no other.
        return BoltResponse(status=200)
    logger.error("request of Slack failed", exc_info=error, extra={"event": "request_failed"})
    return BoltResponse(status=500)


def _check(body: Any) -> None:
    """Raises ValueError for what bolt would stumble over."""
    if not isinstance(body, dict) or not ({"type", "command", "ssl_check"} & set(body)):
        raise ValueError("is no request of Slack")
    if body.get("type") == "event_callback":
        event = body.get("event")
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            raise ValueError("event: is missing or malformed")
    if body.get("type") == "block_actions":
        actions = body.get("actions")
        if not isinstance(actions, list) or not actions:
            raise ValueError("actions: are missing")
        named = [isinstance(one, dict) and isinstance(one.get("action_id"), str) for one in actions]
        if not all(named):
            raise ValueError("actions: are malformed")


def _identity_in(body: Mapping[str, Any]) -> Identity | None:
    """Who we are, as the request says it."""
    for one in _authorizations(body):
        if one.get("is_bot") and isinstance(one.get("user_id"), str):
            return Identity(one["user_id"], _id_of(one.get("team_id")))
    return None


def _authorizations(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    told = body.get("authorizations")
    return [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []


def _is_ours(body: Mapping[str, Any], identity: Identity) -> bool:
    """False for an event that only other workspaces' installations of the app are told."""
    told = _authorizations(body)
    teams = {_id_of(one.get("team_id")) for one in (*told, body)}
    enterprises = {_id_of(one.get("enterprise_id")) for one in told}
    if not told or not identity.team_id or identity.team_id in teams:
        return True
    return bool(identity.enterprise_id) and identity.enterprise_id in enterprises


def _is_used_in(body: Mapping[str, Any], identity: Identity) -> bool:
    """False for a press or a command that names other workspaces than ours alone."""
    message = body.get("message")
    # A guest of a shared channel may come from elsewhere: the message with the button is ours.
    parts = (body.get("team"), message.get("team") if isinstance(message, dict) else None)
    teams = {_id_of(one) for one in (*parts, body.get("team_id"))} - {""}
    enterprises = {_id_of(body.get("enterprise")), _id_of(body.get("enterprise_id"))}
    if not teams or not identity.team_id or identity.team_id in teams:
        return True
    return bool(identity.enterprise_id) and identity.enterprise_id in enterprises


def _id_of(part: Any) -> str:
    found = part.get("id") if isinstance(part, dict) else part
    return found if isinstance(found, str) else ""
