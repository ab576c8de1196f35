"""Who has a customer's session at a service account: the bot, a queue, or a person in WeCom."""

from __future__ import annotations

import logging
from collections import OrderedDict
from enum import IntEnum
from typing import Any

from adapters.wecom.api import WeComApi
from adapters.wecom.faults import NOT_OURS, Refused
from kfbot.errors import ChannelError
from kfbot.messages import ConversationId, Sender

logger = logging.getLogger(__name__)

_REMEMBERED = 10_000
#: What WeCom calls whoever has the session, where it names nobody.
_SOMEBODY = Sender("wecom", "agent")
_BOT = Sender("wecom", "bot")


class Session(IntEnum):
    """`service_state` of developer.work.weixin.qq.com/document/path/94669."""

    NEW = 0
    BOT = 1
    QUEUE = 2
    PERSON = 3
    OVER = 4


_PEOPLES = (Session.QUEUE, Session.PERSON)


class Sessions:
    """Asks for sessions and moves them."""

    def __init__(self, api: WeComApi, servicer: str) -> None:
        self._api = api
        self._servicer = servicer
        #: Whom we put into the queue, the last at the end.
        self._queued: OrderedDict[ConversationId, None] = OrderedDict()

    async def owner(self, where: ConversationId) -> Sender | None:
        """Who has the session of a customer who writes; None: as far as we know, as before.

        Nobody tells us of a session that WeCom ends after 48 hours, nor of what people did while
        we were away: WeCom is asked each time.
        """
        try:
            session, servicer = await self._ask(where)
        except ChannelError as error:
            logger.warning("session unknown: %s", error, extra={"event": "wecom_session_unknown"})
            return None
        if session is Session.QUEUE:
            # We put them there, or the account's own rules did.
            return None if where in self._queued else _SOMEBODY
        self._queued.pop(where, None)
        if session is Session.PERSON:
            return Sender(servicer, "agent") if servicer else _SOMEBODY
        return _BOT

    async def _ask(self, where: ConversationId) -> tuple[Session, str]:
        """The session, and whose it is."""
        answer = await self._api.call("/cgi-bin/kf/service_state/get", _customer(where))
        state, servicer = answer.get("service_state"), answer.get("servicer_userid")
        known = Session(state) if state in tuple(Session) else Session.NEW
        return known, servicer if isinstance(servicer, str) else ""

    async def hand_over(self, where: ConversationId) -> None:
        """Put the customer before people: the one of the settings, else the account's queue.

        Raises:
            ChannelUnavailable, ChannelUnauthorized: As the API says.
            MessageRejected: WeCom does not move the session.
        """
        session, _ = await self._ask(where)
        if session in _PEOPLES:
            return
        if self._servicer:
            try:
                await self._move(where, Session.PERSON)
                return
            except Refused as error:
                # Whoever is away cannot be given a session; the queue is seen by all.
                logger.warning("%s", error, extra={"event": "wecom_servicer_away"})
        await self._move(where, Session.QUEUE)

    async def take_back(self, where: ConversationId) -> str | None:
        """End what people have: WeCom lets nobody give it back to the bot, but the customer's next
        message begins a new session, which is the bot's.

        Returns:
            What a last text may be sent with, "" for none; None: people did not have it.

        Raises:
            ChannelUnavailable, ChannelUnauthorized: As the API says.
        """
        session, _ = await self._ask(where)
        if session not in _PEOPLES:
            return None
        try:
            return await self._move(where, Session.OVER)
        except Refused as error:
            if error.code not in NOT_OURS:
                raise
            # Somebody was faster; nothing is left to end.
            logger.warning("%s", error, extra={"event": "wecom_session_stays"})
            return ""

    async def _move(self, where: ConversationId, session: Session) -> str:
        wanted: dict[str, Any] = {"service_state": int(session)}
        if session is Session.PERSON:
            wanted["servicer_userid"] = self._servicer
        answer = await self._api.call("/cgi-bin/kf/service_state/trans", _customer(where) | wanted)
        if session is Session.QUEUE:
            self._queued[where] = None
            while len(self._queued) > _REMEMBERED:
                self._queued.popitem(last=False)
        code = answer.get("msg_code")
        return code if isinstance(code, str) else ""


def _customer(where: ConversationId) -> dict[str, Any]:
    return {"open_kfid": where.thread, "external_userid": where.chat}
