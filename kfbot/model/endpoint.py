"""One OpenAI-compatible endpoint, asked through LlamaIndex.

Wire format: https://platform.openai.com/docs/api-reference/chat (streamed).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from kfbot.chat_model import ChatMessage, Usage
from kfbot.errors import ChatModelUnavailable
from kfbot.model_settings import ChatModelSettings, EndpointSettings


class Endpoint:
    """A `ChatModel`."""

    def __init__(self, endpoint: EndpointSettings, settings: ChatModelSettings) -> None:
        from llama_index.llms.openai_like import OpenAILike

        self._settings = settings
        self._name = endpoint.model or endpoint.base_url
        self._model = OpenAILike(
            model=endpoint.model or "default",
            api_base=endpoint.base_url,
            api_key=endpoint.api_key.get_secret_value() or "none",
            is_chat_model=True,
            max_retries=0,
            temperature=0.0,
            timeout=settings.timeout_seconds,
            context_window=settings.context_tokens,
        )

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
    ) -> AsyncIterator[str]:
        import openai
        from llama_index.core.base.llms.types import ChatMessage as Message

        usage.model, usage.requests = self._name, usage.requests + 1
        messages = [Message(role=one.role, content=one.text) for one in prompt]
        try:
            async with asyncio.timeout(timeout_seconds or self._settings.timeout_seconds):
                pieces = await self._model.astream_chat(messages, max_tokens=max_tokens)
                async for piece in pieces:
                    if piece.delta:
                        usage.completion_tokens += 1
                        yield piece.delta
        except (openai.OpenAIError, TimeoutError) as error:
            raise ChatModelUnavailable(f"{self._name} did not answer") from error

    async def aclose(self) -> None:
        await self._model._get_aclient().close()
