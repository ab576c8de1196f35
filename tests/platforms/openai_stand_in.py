"""An OpenAI-compatible endpoint on loopback that says what a test tells it to, or fails as told.

`python -m tests.platforms.openai_stand_in [PORT] [SECONDS_A_TOKEN] [TEXT]` serves one that answers
every prompt with that text, each sentence cited; without one with the first sentence of its first
passage.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

#: A prompt as it came: [{"role", "content"}, …].
Messages = Sequence[Mapping[str, str]]
MODEL = "stand-in-1"
_PASSAGE = re.compile(r"^\[1\][^\n]*\n(.+?)(?:(?<=[。！？.!?])(?=\s|$)|(?<=[。！？])|\n|$)", re.M)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What one request gets; without anything but a text: that text, streamed at once."""

    text: str = ""
    #: Sent before the text, as `reasoning_content`.
    reasoning: str = ""
    #: The text in the pieces that it is sent in; empty: cut at spaces, Chinese by the character.
    pieces: tuple[str, ...] = ()
    first_token_seconds: float = 0.0
    token_seconds: float = 0.0
    #: After so many pieces the connection breaks.
    cut_after: int | None = None
    #: After so many pieces the stream ends as if that were all, but nothing says so.
    ends_after: int | None = None
    #: After so many pieces it waits until `OpenAiStandIn.released` is set.
    holds_after: int | None = None
    #: Nothing is answered, not even headers, until the stand-in stops.
    hangs: bool = False
    finish_reason: str = "stop"
    #: Not a stream, whatever was asked for.
    plain: bool = False
    #: Anything but 200 is answered with an error of OpenAI's form, unless `body` says otherwise.
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Sent as it stands, instead of all else.
    body: str | None = None
    content_type: str = "text/event-stream"


#: A gateway's page, words that are no JSON, an object without choices, and one that is empty.
HTML = Reply(body="<html><body><h1>Welcome</h1></body></html>", content_type="text/html")
GARBAGE = Reply(body='data: {"choices": [{"delta": {"cont\n\ndata: [DONE]\n\n')
NO_CHOICES = Reply(body='data: {"id": "1", "choices": []}\n\ndata: [DONE]\n\n')
FOREIGN = Reply(body='data: {"response": "hello"}\n\ndata: [DONE]\n\n')
TOO_LONG = Reply(
    status=400,
    body=json.dumps(
        {
            "error": {
                "message": "This model's maximum context length is 4096 tokens. However, you "
                "requested 9000 tokens.",
                "type": "invalid_request_error",
                "code": "context_length_exceeded",
            }
        }
    ),
    content_type="application/json",
)


@dataclass(frozen=True)
class Asked:
    """A request for a completion."""

    headers: Mapping[str, str]
    body: Mapping[str, Any]
    at: float

    @property
    def messages(self) -> Messages:
        return list(self.body.get("messages", ()))


class OpenAiStandIn:
    """`/v1/chat/completions`, `/v1/models` and `/health` of one server, open inside `async with`.

    Replies are given in order; after the last one, or as a function of the prompt, its own.
    """

    def __init__(self, replies: Sequence[Reply | str] | Callable[[Messages], Reply | str]) -> None:
        self.replies = list(replies) if not callable(replies) else []
        #: Answers when `replies` is empty; None: with status 500.
        self.answer: Callable[[Messages], Reply | str] | None = (
            replies if callable(replies) else None
        )
        self.models: list[str] = [MODEL]
        #: What /health and /v1/models answer; a server that loads its model says 503.
        self.health = 200
        #: False: `stream_options` is refused, as older servers do.
        self.knows_usage = True
        #: Demanded as a bearer token; empty: none is.
        self.key = ""
        self.requests: list[Asked] = []
        #: Questions for the health or the models.
        self.probes = 0
        self.open = self.most_open = 0
        #: Requests whose other side went away before the end.
        self.abandoned = 0
        self.released = asyncio.Event()
        #: Set while at least one request for a completion is open.
        self.busy = asyncio.Event()
        self._stopping = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """As `base_url` has it; stays the same over `stop` and `start`."""
        return f"http://127.0.0.1:{self._port}/v1"

    async def start(self, port: int = 0) -> None:
        """Take connections, on the port that it had before if there was one."""
        self._stopping.clear()
        app = web.Application(client_max_size=32 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_get("/v1/models", self._list_models)
        app.router.add_get("/health", self._tell_health)
        # Like a real server, it stops writing when nobody listens any more.
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port or self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Refuse connections until `start`."""
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def _next(self, messages: Messages) -> Reply:
        if self.replies:
            reply = self.replies.pop(0)
        elif self.answer is not None:
            reply = self.answer(messages)
        else:
            reply = Reply(status=500)
        return Reply(text=reply) if isinstance(reply, str) else reply

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(Asked(request.headers.copy(), body, time.monotonic()))
        if refusal := self._refusal(request, body):
            return refusal
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        self.busy.set()
        try:
            return await self._say(request, body, self._next(body.get("messages", [])))
        except (ConnectionError, asyncio.CancelledError):
            self.abandoned += 1
            raise
        finally:
            self.open -= 1
            if not self.open:
                self.busy.clear()

    def _refusal(self, request: web.Request, body: Mapping[str, Any]) -> web.Response | None:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return _error(
                401, f"Incorrect API key provided: {request.headers.get('Authorization')}"
            )
        if "stream_options" in body and not self.knows_usage:
            return _error(400, "Unrecognized request argument supplied: stream_options")
        if body.get("model") not in self.models:
            return _error(404, f"The model `{body.get('model')}` does not exist.")
        return None

    async def _say(
        self, request: web.Request, body: Mapping[str, Any], reply: Reply
    ) -> web.StreamResponse:
        if reply.hangs:
            await self._stopping.wait()
        if reply.body is not None:
            return web.Response(
                status=reply.status,
                headers=reply.headers,
                body=reply.body.encode(),
                content_type=reply.content_type,
            )
        if reply.status != 200:
            return _error(reply.status, f"scripted fault {reply.status}", reply.headers)
        pieces = (reply.pieces or cut(reply.text))[: body.get("max_tokens") or None]
        if reply.plain or not body.get("stream"):
            return web.json_response(_whole(body, "".join(pieces), len(pieces), reply))
        return await self._stream(request, body, reply, pieces)

    async def _stream(
        self,
        request: web.Request,
        body: Mapping[str, Any],
        reply: Reply,
        pieces: Sequence[str],
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await asyncio.sleep(reply.first_token_seconds)
        # As vLLM does: the role comes first, alone.
        await _send(response, body, {"role": "assistant", "content": ""})
        for piece in cut(reply.reasoning):
            await _send(response, body, {"reasoning_content": piece})
        for number, piece in enumerate(pieces):
            if not await self._goes_on(request, reply, number):
                return response
            await _send(response, body, {"content": piece})
            await asyncio.sleep(reply.token_seconds)
        if not await self._goes_on(request, reply, len(pieces)):
            return response
        await _send(response, body, {}, finish_reason=reply.finish_reason)
        if (body.get("stream_options") or {}).get("include_usage"):
            spent = {"choices": [], "usage": _usage(body, len(pieces))}
            await response.write(f"data: {json.dumps(_chunk(body) | spent)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _goes_on(self, request: web.Request, reply: Reply, number: int) -> bool:
        """False where the stream ends before piece `number`."""
        if reply.holds_after == number:
            await self.released.wait()
        if reply.cut_after == number:
            assert request.transport is not None
            request.transport.abort()
            return False
        return reply.ends_after != number

    async def _list_models(self, request: web.Request) -> web.Response:
        self.probes += 1
        if self.health != 200:
            return _error(self.health, "not ready")
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return _error(401, "Incorrect API key provided")
        found = [{"id": one, "object": "model", "owned_by": "kfbot"} for one in self.models]
        return web.json_response({"object": "list", "data": found})

    async def _tell_health(self, request: web.Request) -> web.Response:
        self.probes += 1
        return web.Response(status=self.health)


async def refused_url() -> str:
    """A `base_url` where nobody listens."""
    async with OpenAiStandIn([]) as stand_in:
        return stand_in.url


def cut(text: str) -> tuple[str, ...]:
    """A text in pieces as small as tokens: words with the space before them, Han by the character.

    Together they are the text.
    """
    return tuple(
        re.findall(r"[\u3000-\u9fff\uff00-\uffef]|\s*[^\s\u3000-\u9fff\uff00-\uffef]+|\s+", text)
    )


def quoting(messages: Messages) -> str:
    """A grounded answer: the first sentence of the prompt's first passage, cited."""
    found = _PASSAGE.search(messages[-1]["content"])
    return f"{found.group(1)}[1]" if found else "NO_ANSWER"


def _chunk(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": body.get("model"),
    }


async def _send(
    response: web.StreamResponse,
    body: Mapping[str, Any],
    delta: Mapping[str, str],
    finish_reason: str | None = None,
) -> None:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    data = json.dumps(_chunk(body) | {"choices": [choice]}, ensure_ascii=False)
    await response.write(f"data: {data}\n\n".encode())


def _whole(body: Mapping[str, Any], text: str, tokens: int, reply: Reply) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
    about = _chunk(body) | {"object": "chat.completion", "usage": _usage(body, tokens)}
    return about | {"choices": [choice]}


def _usage(body: Mapping[str, Any], completion_tokens: int) -> dict[str, int]:
    asked = sum(len(cut(one["content"])) for one in body.get("messages", ()))
    return {
        "prompt_tokens": asked,
        "completion_tokens": completion_tokens,
        "total_tokens": asked + completion_tokens,
    }


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "code": None}
    return web.json_response({"error": error}, status=status, headers=headers)


def _cited(text: str) -> str:
    return re.sub(r"(?<=[.。])(?=\s|$)", "[1]", text)


async def _serve(port: int = 0, token_seconds: float = 0.0, text: str = "") -> None:
    def say(messages: Messages) -> Reply:
        return Reply(text=_cited(text) or quoting(messages), token_seconds=token_seconds)

    stand_in = OpenAiStandIn(say)
    await stand_in.start(port)
    print(stand_in.url, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    kinds = (int, float, str)
    asyncio.run(_serve(*(kind(one) for kind, one in zip(kinds, sys.argv[1:], strict=False))))
