"""Reads the questions of an evaluation: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from kfbot.conversation import HistoryMessage
from kfbot.errors import KnowledgeBaseError
from kfbot.messages import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One line of the questions file."""

    text: str
    gold_ids: tuple[str, ...] = ()
    #: None: nobody says whether the knowledge answers it.
    in_scope: bool | None = None
    history: tuple[HistoryMessage, ...] = ()
    #: A label to group by, which the pipeline never sees; False: the line has none.
    kb: str | Literal[False] | None = False


def read_questions(file: Path) -> list[Question]:
    """The questions of a JSONL file, in order.

    Raises:
        KnowledgeBaseError: The file is missing or empty, or names the line that is wrong.
    """
    try:
        content = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise KnowledgeBaseError(f"questions {file}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise KnowledgeBaseError(f"questions {file}: not UTF-8 at byte {error.start}") from None
    # Not splitlines(): JSON may hold U+2028 as it is.
    questions = list(_read_lines(file, content.split("\n")))
    if not questions:
        raise KnowledgeBaseError(f"questions {file}: holds no question")
    return questions


def _read_lines(file: Path, lines: Sequence[str]) -> Iterator[Question]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise KnowledgeBaseError(f"questions {file} line {number}: not JSON") from None
        try:
            yield _question(row)
        except ValueError as error:
            raise KnowledgeBaseError(f"questions {file} line {number}: {error}") from None


def _question(row: object) -> Question:
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    text = row.get("text") if row.get("text") is not None else row.get("question")
    if not isinstance(text, str):
        raise ValueError("neither text nor question is a text")
    gold_ids = _gold_ids(row)
    kb = row.get("kb", False)
    if kb is not False and kb is not None and not isinstance(kb, str):
        raise ValueError("kb is no text")
    return Question(
        text=text,
        gold_ids=gold_ids,
        in_scope=_in_scope(row, gold_ids),
        history=_history(row),
        kb=kb,
    )


def _gold_ids(row: Mapping[str, Any]) -> tuple[str, ...]:
    ids = row.get("gold_ids")
    ids = [] if ids is None else ids
    if not isinstance(ids, list) or not all(
        isinstance(one, str | int) and not isinstance(one, bool) for one in ids
    ):
        raise ValueError("gold_ids is no list of ids")
    return tuple(str(one) for one in ids)


def _in_scope(row: Mapping[str, Any], gold_ids: Sequence[str]) -> bool | None:
    """As the line says; else by its gold ids, else by its label of a knowledge base."""
    given = row.get("in_scope")
    if given is not None:
        if not isinstance(given, bool):
            raise ValueError("in_scope is neither true nor false")
        return given
    if row.get("gold_ids") is not None:
        return bool(gold_ids)
    return row["kb"] is not None if "kb" in row else None


def _history(row: Mapping[str, Any]) -> tuple[HistoryMessage, ...]:
    given = row.get("history")
    given = [] if given is None else given
    if not isinstance(given, list):
        raise ValueError("history is no list")
    messages = []
    for message in given:
        if not isinstance(message, dict) or not isinstance(message.get("text"), str):
            raise ValueError("history holds a message without text")
        if message.get("role") not in get_args(Role):
            raise ValueError(f"history: role is one of {', '.join(get_args(Role))}")
        messages.append(HistoryMessage(message["role"], valid(message["text"])))
    return tuple(messages)


def valid(text: str) -> str:
    """A text with halves of surrogate pairs, which JSON can hold, as question marks."""
    return text.encode("utf-8", "replace").decode()
