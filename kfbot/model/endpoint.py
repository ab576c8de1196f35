"""One OpenAI-compatible endpoint, asked once through LlamaIndex: nothing is tried again here.

Wire format: https://platform.openai.com/docs/api-reference/chat (streamed).
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from codecs import getincrementaldecoder
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx

from kfbot.chat_model import ChatMessage, Usage, estimated_tokens
from kfbot.errors import CompletionInvalid
from kfbot.model.faults import (
    EndpointUnavailable,
    NoCompletion,
    RequestRefused,
    endpoint_faults,
)
from kfbot.model.thoughts import Thoughts
from kfbot.model_settings import ChatModelSettings, EndpointSettings
from kfbot.observability.metrics import model_request
from kfbot.web.access import is_loopback

logger = logging.getLogger(__name__)

#: A machine that is there takes a connection sooner.
_CONNECT_SECONDS = 5.0
#: Once a completion is whole, so long is waited for what it took.
_USAGE_SECONDS = 1.0
#: What a chat template puts around a message, about.
_TOKENS_A_MESSAGE = 4


@dataclass(slots=True)
class _Answer:
    """What came of one request."""

    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    response: httpx.Response | None = None
    #: Where it was no stream.
    body: bytes | None = None
    #: All of it, thoughts too.
    text: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    #: As the endpoint counted.
    prompt_tokens: int | None = None
    completion_tokens: int = 0


class Endpoint:
    """A `ChatModel` as long as it answers."""

    def __init__(self, endpoint: EndpointSettings, settings: ChatModelSettings) -> None:
        from llama_index.llms.openai_like import OpenAILike

        self._settings = settings
        self._configured = endpoint.model
        self._name = endpoint.model or endpoint.base_url
        self._asks_usage = True
        self._thinks_first = False
        #: Requests that wait for their headers, by id.
        self._answers: dict[str, _Answer] = {}
        seconds = settings.first_token_seconds
        host = httpx.URL(endpoint.base_url).host
        self._http = httpx.AsyncClient(
            # A proxy of the environment cannot know what this machine calls itself.
            trust_env=not is_loopback(host),
            timeout=httpx.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS)),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=settings.parallel),
            event_hooks={"response": [self._look]},
        )
        self._model = OpenAILike(
            model=endpoint.model,
            api_base=endpoint.base_url,
            api_key=endpoint.api_key.get_secret_value() or "none",
            is_chat_model=True,
            max_retries=0,
            temperature=0.0,
            timeout=seconds,
            context_window=settings.context_tokens,
            async_http_client=self._http,
        )
        # The SDK imports its parts where they are first used; not while a customer waits.
        _ = self._model._get_aclient().chat.completions

    @property
    def name(self) -> str:
        """Of the model, as far as it is known, else the address."""
        return self._name

    @property
    def context_tokens(self) -> int:
        return self._settings.context_tokens

    async def complete(
        self,
        prompt: Sequence[ChatMessage],
        *,
        max_tokens: int,
        usage: Usage,
        channel: str = "",
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[str, None]:
        """As `ChatModel` has it; what a reasoning model thinks is left out.

        Raises:
            EndpointUnavailable: It did not answer, or not all.
            CompletionInvalid: See `ChatModel`.
        """
        deadline = time.monotonic() + (timeout_seconds or self._settings.timeout_seconds)
        await self.find_model()
        asks_usage = self._asks_usage
        try:
            asked = self._asked(prompt, max_tokens, usage, deadline, asks_usage=asks_usage)
            with model_request(self._name, usage):
                async with aclosing(asked) as pieces:
                    async for piece in pieces:
                        yield piece
            return
        except RequestRefused:
            # Refused before anything came: perhaps for asking what it takes, as older servers do.
            if not asks_usage:
                raise
        asked = self._asked(prompt, max_tokens, usage, deadline, asks_usage=False)
        with model_request(self._name, usage):
            async with aclosing(asked) as pieces:
                async for piece in pieces:
                    yield piece
        self._asks_usage = False

    async def find_model(self) -> str:
        """The name of the model: as configured, else the only one of the endpoint.

        Raises:
            EndpointUnavailable: It cannot be asked, or has several.
            CompletionInvalid: It does not say.
        """
        if self._model.model:
            return self._name
        names = await self._models()
        if len(names) != 1:
            listed = ", ".join(names[:5])
            raise EndpointUnavailable(
                f"{self._name} has {len(names)} models ({listed}): set model to one of them"
                if names
                else f"{self._name} does not say what its model is called: set model",
                "settings",
            )
        # A copy would share what the first has not made yet, and so its name too.
        self._model.model = names[0]
        self._name = names[0]
        return self._name

    async def check(self) -> str:
        """Ask for one token, the way customers' prompts go; returns the model's name.

        Raises:
            EndpointUnavailable: It did not answer.
            CompletionInvalid: What came is no completion.
        """
        prompt = (ChatMessage("user", "Hi"),)
        try:
            async for _ in self.complete(prompt, max_tokens=1, usage=Usage()):
                pass
        except (NoCompletion, RequestRefused):
            raise
        except CompletionInvalid:
            # One token was all for thinking: it works.
            pass
        return self._name

    async def is_there(self, seconds: float) -> bool:
        """True if it answers anything at all in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._http.get(f"{self._model.api_base}/models")
        except (httpx.HTTPError, TimeoutError):
            return False
        return True

    def forget_model(self) -> None:
        """Look again which model it has, if the settings do not say: it may serve another now."""
        self._model.model = self._configured

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _models(self) -> list[str]:
        with endpoint_faults(self._name):
            async with asyncio.timeout(self._settings.first_token_seconds):
                page = await self._model._get_aclient().models.list()
            return [str(one.id) for one in page.data]

    async def _asked(
        self,
        prompt: Sequence[ChatMessage],
        max_tokens: int,
        usage: Usage,
        deadline: float,
        *,
        asks_usage: bool,
    ) -> AsyncGenerator[str, None]:
        """The text of one request."""
        answer = _Answer()
        thoughts = Thoughts(thinks_first=self._thinks_first)
        began = time.monotonic()
        usage.model, usage.requests = self._name, usage.requests + 1
        said = False
        try:
            async with aclosing(
                self._deltas(prompt, max_tokens, answer, deadline, asks_usage)
            ) as deltas:
                async for delta in deltas:
                    if text := thoughts.feed(delta):
                        if not usage.first_token_ms:
                            usage.first_token_ms = (time.monotonic() - began) * 1000
                        said = True
                        yield text
            if rest := thoughts.close():
                said = True
                yield rest
            self._judge(answer, thoughts, said=said)
        finally:
            _count(usage, answer, prompt)
            logger.info(
                "%s: %s in %.1f s, request %s",
                self._name,
                answer.finish_reason or "not completed",
                time.monotonic() - began,
                answer.request_id,
                extra={"event": "chat_model_asked", "request": answer.request_id},
            )

    async def _deltas(
        self,
        prompt: Sequence[ChatMessage],
        max_tokens: int,
        answer: _Answer,
        deadline: float,
        asks_usage: bool,
    ) -> AsyncGenerator[str, None]:
        """What the endpoint sends as text, as it comes."""
        from llama_index.core.base.llms.types import ChatMessage as Message

        silence = self._settings.first_token_seconds
        options: dict[str, Any] = {"extra_headers": {"X-Request-Id": answer.request_id}}
        if asks_usage:
            options["stream_options"] = {"include_usage": True}
        self._answers[answer.request_id] = answer
        # An emoji may come in two pieces of JSON; half of one is nothing that can be stored.
        halves = getincrementaldecoder("utf-16-le")("replace")
        limit = min(deadline, time.monotonic() + silence)
        try:
            stream = await self._model.astream_chat(
                [Message(role=one.role, content=one.text) for one in prompt],
                max_tokens=max_tokens,
                **options,
            )
            while (chunk := await self._next(stream, answer, limit, deadline)) is not None:
                _read(chunk.raw, answer)
                if chunk.delta or "thinking_delta" in chunk.additional_kwargs:
                    limit = min(deadline, time.monotonic() + silence)
                if chunk.delta and (text := halves.decode(_halved(chunk.delta))):
                    answer.text.append(text)
                    yield text
            if answer.body is not None and not answer.text:
                with endpoint_faults(self._name):
                    answer.text.append(_plain(answer))
                yield answer.text[0]
        finally:
            self._answers.pop(answer.request_id, None)
            if answer.response is not None:
                # LlamaIndex leaves that to the garbage collector where nobody reads to the end.
                await answer.response.aclose()

    async def _next(
        self, stream: AsyncIterator[Any], answer: _Answer, limit: float, deadline: float
    ) -> Any:
        """The next chunk; None: there are no more.

        Raises:
            EndpointUnavailable: It did not come in time, or something broke.
            CompletionInvalid: It is none.
        """
        if answer.finish_reason:
            limit = min(limit, time.monotonic() + _USAGE_SECONDS)
        try:
            with endpoint_faults(self._name):
                async with asyncio.timeout(limit - time.monotonic()):
                    return await anext(stream, None)
        except EndpointUnavailable as error:
            if answer.finish_reason:
                return None
            if error.kind == "dead" and time.monotonic() >= deadline:
                raise EndpointUnavailable(
                    f"{self._name} did not finish in time", "passing"
                ) from error
            raise

    async def _look(self, response: httpx.Response) -> None:
        """See what kind of answer it is, before the SDK takes it for a stream.

        Raises:
            NoCompletion: It is a page for people.
        """
        answer = self._answers.get(response.request.headers.get("X-Request-Id", ""))
        if answer is None or not response.is_success:
            return
        answer.response = response
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().casefold()
        if kind == "text/html":
            raise NoCompletion(f"{self._name} answers with a page for people: correct base_url")
        if kind == "application/json":
            answer.body = await response.aread()

    def _judge(self, answer: _Answer, thoughts: Thoughts, *, said: bool) -> None:
        """Whether what came is a whole completion.

        Raises:
            EndpointUnavailable: It broke off.
            CompletionInvalid: There is no text, or not only text.
        """
        if thoughts.unopened:
            self._thinks_first = True
            raise CompletionInvalid(f"{self._name} thinks aloud: from now on that is left out")
        if answer.finish_reason == "content_filter":
            raise CompletionInvalid(f"{self._name} may not say that: its filter stopped it")
        if said and answer.finish_reason is None:
            raise EndpointUnavailable(f"{self._name} broke off in the middle", "passing")
        if not said and answer.finish_reason == "length":
            raise CompletionInvalid(
                f"{self._name} thought without answering: raise [chat_model] answer_tokens"
            )
        if not said:
            raise NoCompletion(f"{self._name} completed nothing")


def _read(chunk: Any, answer: _Answer) -> None:
    """Note what a chunk says about the completion."""
    if chunk.choices and chunk.choices[0].finish_reason:
        answer.finish_reason = chunk.choices[0].finish_reason
    if (spent := chunk.usage) is not None:
        answer.prompt_tokens = spent.prompt_tokens
        answer.completion_tokens = spent.completion_tokens


def _plain(answer: _Answer) -> str:
    """The text of a completion that was sent whole."""
    data = json.loads(answer.body or b"")
    choice = data["choices"][0]
    answer.finish_reason = choice.get("finish_reason") or "stop"
    spent = data.get("usage") or {}
    answer.prompt_tokens = spent.get("prompt_tokens")
    answer.completion_tokens = spent.get("completion_tokens", 0)
    return _halved(str(choice["message"].get("content") or "")).decode("utf-16-le", "replace")


def _halved(text: str) -> bytes:
    """A text in UTF-16, where half a character has a place of its own."""
    return text.encode("utf-16-le", "surrogatepass")


def _count(usage: Usage, answer: _Answer, prompt: Sequence[ChatMessage]) -> None:
    """Add what an answer took, as the endpoint counted, else estimated."""
    if answer.prompt_tokens is not None:
        usage.prompt_tokens += answer.prompt_tokens
        usage.completion_tokens += answer.completion_tokens
    elif answer.response is not None:
        usage.prompt_tokens += sum(estimated_tokens(one.text) + _TOKENS_A_MESSAGE for one in prompt)
        usage.completion_tokens += estimated_tokens("".join(answer.text))
