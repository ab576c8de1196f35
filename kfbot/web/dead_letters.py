"""`/api/v1/dead-letters`: operators see what was given up, try it again or discard it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web

from kfbot.observability.logs import logging_context
from kfbot.store.dead_letters import (
    DeadLetter,
    DeadLetterStore,
    Kind,
    LetterId,
    parse_letter_id,
)
from kfbot.web.api import BadRequest, NotFound, number, success

logger = logging.getLogger(__name__)

#: A list has at most so many.
LARGEST_PAGE = 100
_PAGE = 50
#: In a list texts and errors are cut to so many characters.
_BEGINNING = 160


class DeadLetterApi:
    """The handlers; what is refused as too late is a ConversationChanged."""

    def __init__(self, letters: DeadLetterStore) -> None:
        self._letters = letters

    def routes(self) -> list[web.RouteDef]:
        """Everything under /api/v1/dead-letters."""
        one = "/api/v1/dead-letters/{id}"
        return [
            web.get("/api/v1/dead-letters", self.list),
            web.get(one, self.show),
            web.post(f"{one}/replay", self.replay),
            web.post(f"{one}/discard", self.discard),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """The newest first, with the beginnings of their texts."""
        query = request.query
        kind = query.get("kind")
        if kind not in (None, "in", "out"):
            raise BadRequest("kind: in or out")
        limit = number(query.get("limit", str(_PAGE)))
        if limit is None or not 1 <= limit <= LARGEST_PAGE:
            raise BadRequest(f"limit: a number from 1 to {LARGEST_PAGE}")
        found = await self._letters.list(
            kind=cast("Kind | None", kind),
            channel=query.get("channel"),
            before=_position(query.get("before")),
            limit=limit,
        )
        return success(
            {
                "letters": [_beginning(letter) for letter in found.letters],
                "next": ",".join(str(letter) for letter in found.next) or None,
            }
        )

    async def show(self, request: web.Request) -> web.Response:
        """One, whole."""
        letter = _named(request)
        found = await self._letters.find(letter)
        if found is None:
            raise NotFound(f"{letter} is not a dead letter (any more)")
        return success(_data(found) | {"payload": found.payload})

    async def replay(self, request: web.Request) -> web.Response:
        """Try one again."""
        return await self._change(request, self._letters.replay, "replayed")

    async def discard(self, request: web.Request) -> web.Response:
        """Never try one again."""
        return await self._change(request, self._letters.discard, "discarded")

    async def _change(
        self,
        request: web.Request,
        change: Callable[[LetterId], Awaitable[int | None]],
        done: str,
    ) -> web.Response:
        letter = _named(request)
        conversation_id = await change(letter)
        if conversation_id is None:
            raise NotFound(f"there is no dead letter {letter}")
        with logging_context(conversation=conversation_id):
            logger.info("%s %s", letter, done, extra={"event": f"dead_letter_{done}"})
        return success({"id": str(letter), "conversation": conversation_id})


def _named(request: web.Request) -> LetterId:
    """The letter that the path names."""
    named = request.match_info["id"]
    if (letter := parse_letter_id(named)) is None:
        raise NotFound(f"{named[:40]!r} is no id of a dead letter, such as in-12 or out-34")
    return letter


def _position(text: str | None) -> tuple[LetterId, ...]:
    """Where a part of the list begins: a letter, or one of each kind."""
    if text is None:
        return ()
    found = [parse_letter_id(one) for one in text.split(",")]
    letters = tuple(one for one in found if one is not None)
    if len({one.kind for one in letters}) < len(found):
        raise BadRequest("before: take it from `next` of the part before")
    return letters


def _data(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": str(letter.id),
        "kind": letter.id.kind,
        "type": letter.type,
        "channel": letter.channel,
        "conversation": letter.conversation_id,
        "at": letter.at.isoformat(),
        "attempts": letter.attempts,
        "crashes": letter.crashes,
        "changed_hands": letter.changed_hands,
        "error": letter.error,
        "text": letter.text,
    }


def _beginning(letter: DeadLetter) -> dict[str, Any]:
    short = {"error": _cut(letter.error), "text": _cut(letter.text)}
    return _data(letter) | short


def _cut(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= _BEGINNING else line[: _BEGINNING - 1] + "…"
