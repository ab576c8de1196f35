"""ChatModel: the contract with a language model."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol

_HAN = re.compile(r"[\u3000-\u9fff\uf900-\ufaff\uff00-\uffef]")


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(slots=True)
class Usage:
    """What a turn took of chat models; each completion is added to it."""

    #: The endpoint that completed last, as the operator knows it.
    model: str = ""
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    #: From the first request to its first token, in milliseconds; 0: there was none.
    first_token_ms: float = 0.0

    def add(self, other: Usage) -> None:
        """Count what another counted; several completions of a turn may run at the same time."""
        self.model = other.model or self.model
        self.requests += other.requests
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.first_token_ms = self.first_token_ms or other.first_token_ms

    def added_to(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """What is stored with a turn, with this on top of what it took before."""
        known = Usage(**{one.name: data[one.name] for one in fields(self) if one.name in data})
        known.add(self)
        return {**data, **known.as_data()}

    def as_data(self) -> dict[str, Any]:
        """What is stored with a turn; empty where no model was asked."""
        if not self.requests:
            return {}
        return {
            "model": self.model,
            "requests": self.requests,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "first_token_ms": round(self.first_token_ms, 1),
        }


class ChatModel(Protocol):
    """Completes prompts."""

    @property
    def context_tokens(self) -> int:
        """Tokens that a prompt and its completion may have together."""

    @property
    def fault(self) -> str:
        """Why nothing can be completed now; "": as far as is known it can."""

    def complete(
        self,
        prompt: Sequence[ChatMessage],
        *,
        max_tokens: int,
        usage: Usage,
        channel: str = "",
        timeout_seconds: float | None = None,
    ) -> AsyncIterator[str]:
        """Pieces of the completion as they come; none of them is empty.

        Args:
            usage: What it took is added to this, also where it fails on its way.
            channel: Whose budget it counts for.
            timeout_seconds: For all of it; None: as the settings have it.

        Raises:
            ChatModelUnavailable: No completion, or not all of it in time; also where a budget is
                spent, or too many others wait. Pieces may have come before.
            CompletionInvalid: What came is no completion, or the prompt is too long.
        """

    async def aclose(self) -> None:
        """Let go of connections and memory; nothing is completed any more."""


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has, rather too many: one a Han character, 3 others one."""
    han = len(_HAN.findall(text))
    return han + math.ceil((len(text) - han) / 3)
