"""Chat examples as tokens: only the answer is learned, whatever the chat template marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kfbot.model.tuning.asking import TuningError
from kfbot.model.tuning.examples import Message

#: A label that no loss counts.
IGNORED = -100


def prompt_tokens(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Messages up to where the model goes on, just as a server hands them to it.

    Raises:
        TuningError: The chat template does not take such messages.
    """
    return _tokens(tokenizer, _rendered(tokenizer, messages, True))


def example_tokens(tokenizer: Any, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
    """The tokens of an example and its labels: those of the last message and its end count.

    The answer is put behind the prompt as a server makes it, so that a model learns from what it
    will see. Marks of "generation" in the template are not needed.

    Raises:
        TuningError: The chat template does not take such messages.
    """
    prompt = prompt_tokens(tokenizer, messages[:-1])
    answer = _tokens(tokenizer, messages[-1]["content"].strip() + _end(tokenizer, messages))
    return prompt + answer, [IGNORED] * len(prompt) + answer


def end_token(tokenizer: Any, messages: Sequence[Message]) -> int:
    """The token that ends an answer: generation must stop at it.

    Raises:
        TuningError: The chat template does not take such messages.
    """
    return _tokens(tokenizer, _end(tokenizer, messages))[-1]


def _end(tokenizer: Any, messages: Sequence[Message]) -> str:
    """What the template puts behind an answer, without the white space after it."""
    answer = messages[-1]["content"].strip()
    _, found, end = _rendered(tokenizer, messages, False).rpartition(answer)
    if not found:
        raise TuningError("the chat template of --base leaves answers out: it is none for chats")
    # A template without an end would teach the model never to stop.
    return end.strip() or str(tokenizer.eos_token or "")


def _rendered(tokenizer: Any, messages: Sequence[Message], goes_on: bool) -> str:
    from jinja2 import TemplateError

    try:
        return str(
            tokenizer.apply_chat_template(
                [dict(one) for one in messages], tokenize=False, add_generation_prompt=goes_on
            )
        )
    except TemplateError as error:
        raise TuningError(
            f"the chat template of --base does not take the examples: {error}; kfbot needs a model"
            " whose template knows system, user and assistant"
        ) from error


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
