"""What happens at the service accounts: WeCom says that there is news, and we fetch it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.wecom.api import WeComApi
from adapters.wecom.faults import STALE_CALLBACK, Refused
from adapters.wecom.messages import CUSTOMER, conversation_of, moment, part, read_kf_message
from adapters.wecom.people import People
from adapters.wecom.sessions import Sessions
from kfbot.errors import ChannelUnauthorized, ChannelUnavailable, MessageRejected
from kfbot.messages import ConversationId, InboundEvent, MessageReceived, OwnershipChanged, Sender

logger = logging.getLogger(__name__)

#: Between two tries to read an account.
LONGEST_PAUSE_SECONDS = 60.0
#: How long a greeting may be sent with a welcome code.
WELCOME_SECONDS = 20.0
#: Why a message did not reach a customer after all: `fail_type` of `msg_send_fail`.
_FAILURES: Mapping[str, str] = {
    "1": "the account was deleted",
    "2": "the app is off",
    "4": "the customer wrote over 48 hours ago",
    "5": "the session is over",
    "6": "over 5 messages since the customer wrote",
    "8": "the corporation is not verified",
    "10": "the customer refuses messages",
    "11": "nobody of the corporation has signed in to WeCom",
}


class Feed:
    """Pulls what is new at every account, from where it left off.

    The position is kept in memory: WeCom keeps three days, and after a start it is asked for all
    of them. What was stored is known by its id; what customers wrote too long ago is left out.
    """

    def __init__(
        self,
        channel: str,
        api: WeComApi,
        people: People,
        sessions: Sessions | None,
        accounts: Sequence[str],
        catch_up: timedelta,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            sessions: None: agents do not work in WeCom.
            catch_up: What customers wrote so long before now is answered.
        """
        self._channel = channel
        self._api = api
        self._people = people
        self._sessions = sessions
        self._accounts = tuple(accounts)
        self._since = datetime.now(UTC) - catch_up
        self._monotonic = monotonic
        self._cursors: dict[str, str] = {}
        #: Accounts with news, and the callback's token; "": nobody called.
        self._news: dict[str, str] = {}
        #: When an account that could not be read is tried again, and after how many failures.
        self._again: dict[str, tuple[float, int]] = {}
        self._rung = asyncio.Event()
        self._welcomes: dict[ConversationId, tuple[str, float]] = {}
        self._left_out = 0

    def ring(self, account: str, token: str) -> None:
        """There is news at an account; of one that is not ours nothing is wanted."""
        if account in self._accounts:
            self._news[account] = token
            self._rung.set()

    def take_welcome(self, where: ConversationId) -> str:
        """The code that a greeting can be sent with just now, once; "": there is none."""
        code, until = self._welcomes.pop(where, ("", 0.0))
        return code if self._monotonic() < until else ""

    async def events(self) -> AsyncIterator[InboundEvent]:
        """What happens, in the order of each account; a `yield` returns once it is stored.

        Raises:
            ChannelUnauthorized: WeCom refuses us, or an account.
        """
        for account in self._accounts:
            self.ring(account, "")
        while True:
            for account in self._ready():
                token = self._news.pop(account)
                try:
                    async for event in self._pull(account, token):
                        yield event
                except ChannelUnavailable as error:
                    self._postpone(account, error)
                else:
                    self._again.pop(account, None)
            await self._until_news()

    def _postpone(self, account: str, error: ChannelUnavailable) -> None:
        logger.warning("not read yet: %s", error, extra={"event": "wecom_not_read"})
        failures = self._again.get(account, (0.0, 0))[1] + 1
        pause = min(2.0 ** min(failures, 10), LONGEST_PAUSE_SECONDS)
        pause = max(pause, error.retry_after_seconds or 0.0)
        self._again[account] = (self._monotonic() + pause, failures)
        self._news.setdefault(account, "")

    def _ready(self) -> list[str]:
        """Accounts with news, but for those that could not be read just now."""
        now = self._monotonic()
        return [one for one in self._news if now >= self._again.get(one, (now, 0))[0]]

    async def _until_news(self) -> None:
        """Until somebody rings, or what failed is to be tried again."""
        while not self._ready():
            self._rung.clear()
            due = min((self._again[one][0] for one in self._news), default=None)
            pause = None if due is None else max(due - self._monotonic(), 0.0)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._rung.wait()

    async def _pull(self, account: str, token: str) -> AsyncIterator[InboundEvent]:
        has_more = True
        while has_more:
            page = await self._page(account, token)
            # One answer holds for all that a customer wrote in a page.
            owners: dict[ConversationId, Sender | None] = {}
            for item in page.get("msg_list") or ():
                if isinstance(item, dict) and (event := await self._meaning(item, owners)):
                    yield event
            # Here the core has stored all of the page, so that the next one may be asked for.
            cursor = page.get("next_cursor")
            moved = isinstance(cursor, str) and cursor != self._cursors.get(account, "")
            if isinstance(cursor, str) and cursor:
                self._cursors[account] = cursor
            has_more = page.get("has_more") == 1 and moved
        if self._left_out:
            logger.info(
                "left out: %d messages older than kf_catch_up_minutes",
                self._left_out,
                extra={"event": "wecom_left_out"},
            )
            self._left_out = 0

    async def _page(self, account: str, token: str) -> dict[str, Any]:
        wanted = {"open_kfid": account, "limit": 1000, "cursor": self._cursors.get(account, "")}
        try:
            try:
                given = {"token": token} if token else {}
                return await self._api.call("/cgi-bin/kf/sync_msg", wanted | given)
            except Refused as error:
                if error.code != STALE_CALLBACK or not token:
                    raise
                # The call is over ten minutes old; without it WeCom lets us ask less often.
                return await self._api.call("/cgi-bin/kf/sync_msg", wanted)
        except MessageRejected as error:
            reason = str(error).removeprefix(f"channel {self._channel}: ")
            raise ChannelUnauthorized(self._channel, f"account {account}: {reason}") from None

    async def _meaning(
        self, item: Mapping[str, Any], owners: dict[ConversationId, Sender | None]
    ) -> InboundEvent | None:
        self._look_at(item)
        event = read_kf_message(self._channel, item)
        if isinstance(event, OwnershipChanged):
            # However old: who has a session now may have taken it long ago.
            owners.pop(event.conversation, None)
            return event
        if event is None or event.sent_at < self._since:
            self._left_out += event is not None
            return None
        if item.get("origin") != CUSTOMER:
            greets = isinstance(event, MessageReceived) and event.sender.role == "customer"
            return event if not greets or self._may_welcome(event.conversation) else None
        self._welcomes.pop(event.conversation, None)
        if not isinstance(event, MessageReceived):
            return event
        where = event.conversation
        if self._sessions is not None and where not in owners:
            owners[where] = await self._sessions.owner(where)
        sender = replace(event.sender, display_name=await self._people.name(where.chat))
        return replace(event, sender=sender, owner=owners.get(where))

    def _look_at(self, item: Mapping[str, Any]) -> None:
        """Take note of events that no conversation is told of."""
        event = part(item, "event")
        kind, where = event.get("event_type"), conversation_of(self._channel, event)
        if kind == "msg_send_fail":
            reason = _FAILURES.get(str(event.get("fail_type")), "WeCom does not say why")
            logger.error("not delivered: %s", reason, extra={"event": "wecom_not_delivered"})
        if kind == "enter_session" and where is not None and (code := event.get("welcome_code")):
            sent_at = moment(item.get("send_time")) or self._since
            age = (datetime.now(UTC) - sent_at).total_seconds()
            now = self._monotonic()
            fresh = {one: held for one, held in self._welcomes.items() if held[1] > now}
            self._welcomes = fresh | {where: (str(code), now + WELCOME_SECONDS - age)}

    def _may_welcome(self, where: ConversationId) -> bool:
        return where in self._welcomes and self._welcomes[where][1] > self._monotonic()
