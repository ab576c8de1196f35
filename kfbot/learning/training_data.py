"""Rows that are exported: evaluation questions, chat examples, preference pairs; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from kfbot.conversation import HistoryMessage

ExportFormat = Literal["questions", "sft", "preferences"]
FORMATS: tuple[ExportFormat, ...] = ("questions", "sft", "preferences")
#: What a model that answers customers is told first.
SYSTEM = (
    "You answer the customers of a company, each in the language that they write, briefly and"
    " only with what you know to be true."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A question, and what is known of good and bad answers to it."""

    #: The same for all that comes from one conversation: they must not be split.
    group: str
    question: str
    history: tuple[HistoryMessage, ...] = ()
    #: What an agent answered; "" for nothing.
    answer: str = ""
    #: What the bot would have said, or said in vain; "" for nothing.
    rejected: str = ""
    #: The document or entry that answers; "": none is known.
    document_id: str = ""
    knowledge_base: str = ""


def rows(examples: Iterable[Example], form: ExportFormat) -> Iterator[dict[str, Any]]:
    """The rows of a format; examples that have not what it needs are left out."""
    make = {"questions": _question, "sft": _chat, "preferences": _preference}[form]
    return (row for example in examples if (row := make(example)) is not None)


def words_of(example: Example) -> list[str]:
    """Everything in an example that people wrote."""
    before = (message.text for message in example.history)
    return [example.question, example.answer, example.rejected, *before]


def with_words(example: Example, words: Sequence[str]) -> Example:
    """The example with other words, in the order of `words_of`."""
    question, answer, rejected, *before = words
    history = zip(example.history, before, strict=True)
    return replace(
        example,
        question=question,
        answer=answer,
        rejected=rejected,
        history=tuple(HistoryMessage(message.role, text) for message, text in history),
    )


def _question(example: Example) -> dict[str, Any] | None:
    if not example.document_id:
        return None
    return {
        "text": example.question,
        "gold_ids": [example.document_id],
        "in_scope": True,
        "history": [{"role": one.role, "text": one.text} for one in example.history],
        "kb": example.knowledge_base,
        "conversation": example.group,
    }


def _chat(example: Example) -> dict[str, Any] | None:
    if not example.answer:
        return None
    messages = [*_prompt(example), _said("assistant", example.answer)]
    return {"messages": messages, "conversation": example.group}


def _preference(example: Example) -> dict[str, Any] | None:
    answer, rejected = example.answer, example.rejected
    if not answer or not rejected.strip() or answer.split() == rejected.split():
        return None
    return {
        "prompt": _prompt(example),
        "chosen": [_said("assistant", answer)],
        "rejected": [_said("assistant", rejected)],
        "conversation": example.group,
    }


def _prompt(example: Example) -> list[dict[str, str]]:
    return [_said("system", SYSTEM), _said("user", example.question)]


def _said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}
