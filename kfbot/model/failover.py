"""Several endpoints as one chat model: the first that answers, tried again where that may help."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from kfbot.chat_model import ChatMessage, Usage
from kfbot.errors import ChatModelError, ChatModelUnavailable
from kfbot.model.breaker import Breaker
from kfbot.model.endpoint import Endpoint
from kfbot.model.faults import EndpointUnavailable, NoCompletion
from kfbot.model.slots import Slots
from kfbot.model_settings import ChatModelSettings

#: All endpoints are gone through so often.
_ROUNDS = 3
#: Before the second round; before the third twice as long.
_PAUSE_SECONDS = 0.3
#: An endpoint that has not answered for so long is not trusted with a customer's time unseen …
_TRUSTED_SECONDS = 60.0
#: … once another has cost a timeout: it must answer something in this time.
_GLANCE_SECONDS = 1.0


class Failover:
    """A `ChatModel`: endpoints in their order."""

    def __init__(self, endpoints: Sequence[Endpoint], settings: ChatModelSettings) -> None:
        self._settings = settings
        self._breakers = [Breaker(one) for one in endpoints]
        self._slots = Slots(settings.parallel, settings.queue_seconds)

    @property
    def context_tokens(self) -> int:
        return self._settings.context_tokens

    @property
    def fault(self) -> str:
        if any(not one.is_open for one in self._breakers):
            return ""
        return "; ".join(one.reason for one in self._breakers)

    async def complete(
        self,
        prompt: Sequence[ChatMessage],
        *,
        max_tokens: int,
        usage: Usage,
        channel: str = "",
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[str, None]:
        """See `ChatModel`. While no endpoint can be asked this fails at once.

        Raises:
            ChatModelUnavailable: See `ChatModel`.
            CompletionInvalid: See `ChatModel`.
        """
        began = time.monotonic()
        whole_seconds = timeout_seconds or self._settings.timeout_seconds
        self._asked()
        own, first_token_ms = Usage(), 0.0
        try:
            async with (
                self._slots.taken(),
                aclosing(self._tried(prompt, max_tokens, own, began + whole_seconds)) as pieces,
            ):
                async for piece in pieces:
                    first_token_ms = first_token_ms or (time.monotonic() - began) * 1000
                    yield piece
        finally:
            # With the wait for a place, and for endpoints that gave nothing.
            own.first_token_ms = first_token_ms
            usage.add(own)

    async def aclose(self) -> None:
        """Stop looking at endpoints, close their connections."""
        for breaker in self._breakers:
            await breaker.aclose()

    def _asked(self) -> list[Breaker]:
        """The endpoints that may be asked.

        Raises:
            ChatModelUnavailable: There is none.
        """
        if found := [one for one in self._breakers if not one.is_open]:
            return found
        reasons = "; ".join(one.reason for one in self._breakers)
        raise ChatModelUnavailable(f"no endpoint answers for now: {reasons}")

    async def _tried(
        self, prompt: Sequence[ChatMessage], max_tokens: int, usage: Usage, deadline: float
    ) -> AsyncGenerator[str, None]:
        """The pieces of the first endpoint that has any."""
        began = time.monotonic()
        for number in range(_ROUNDS):
            failed: ChatModelError | None = None
            for breaker in self._asked():
                if failed is not None and (
                    time.monotonic() >= deadline or not await _may_follow(breaker, failed)
                ):
                    continue
                attempt = _Attempt(breaker)
                pieces = breaker.endpoint.complete(
                    prompt,
                    max_tokens=max_tokens,
                    usage=usage,
                    timeout_seconds=max(deadline - time.monotonic(), 0.01),
                )
                async with aclosing(pieces), aclosing(attempt.watch(pieces)) as watched:
                    async for piece in watched:
                        yield piece
                if attempt.error is None:
                    return
                failed = attempt.error
            assert failed is not None
            pause = _pause_seconds(failed, number)
            # Who is asked again with no time left fails, and is thought to be dead for it.
            until = min(began + self._settings.first_token_seconds, deadline)
            late = time.monotonic() + pause > until
            all_open = all(one.is_open for one in self._breakers)
            if number + 1 == _ROUNDS or not _may_pass(failed) or late or all_open:
                raise failed
            await asyncio.sleep(pause)


class _Attempt:
    """One endpoint, asked once."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        #: Why nothing came; what fails after its first piece is raised, for pieces stay said.
        self.error: ChatModelError | None = None

    async def watch(self, pieces: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        """Pass pieces on, and tell the breaker."""
        asked_at, came = time.monotonic(), False
        try:
            async for piece in pieces:
                came = True
                self._breaker.answered()
                yield piece
        except ChatModelError as error:
            self._breaker.failed(error, asked_at)
            if came:
                raise
            self.error = error
        else:
            self._breaker.completed()


def _may_pass(error: ChatModelError) -> bool:
    """True for what may not happen again at once."""
    if isinstance(error, EndpointUnavailable):
        return error.kind == "passing"
    return isinstance(error, NoCompletion)


def _pause_seconds(error: ChatModelError, number: int) -> float:
    """Before another round, spread so that what failed together does not come back together."""
    pause = _PAUSE_SECONDS * 2.0**number * random.uniform(0.7, 1.3)  # noqa: S311
    given = error.retry_after_seconds if isinstance(error, ChatModelUnavailable) else None
    return max(pause, given or 0.0)


async def _may_follow(breaker: Breaker, failed: ChatModelError) -> bool:
    """Whether an endpoint may cost time too, where another has cost a timeout already."""
    timed_out = isinstance(failed, EndpointUnavailable) and failed.kind == "dead"
    if not timed_out or time.monotonic() - breaker.answered_at < _TRUSTED_SECONDS:
        return True
    return await breaker.endpoint.is_there(_GLANCE_SECONDS)
