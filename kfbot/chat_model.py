"""ChatModel: the contract with a language model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    text: str


class ChatModel(Protocol):
    """Completes a prompt."""

    def complete(
        self, prompt: Sequence[ChatMessage], *, max_tokens: int, timeout_seconds: float
    ) -> AsyncIterator[str]:
        """Pieces of the completion as they come.

        Raises:
            ChatModelUnavailable: No answer, or none within the timeout.
            CompletionInvalid: The endpoint answered something that is no completion.
        """
