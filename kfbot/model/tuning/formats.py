"""Examples of others, and ours for others: chat messages, and instruction / input / output."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from kfbot.model.tuning.examples import ChatExample, Message, TuningDataError, messages_of, text_of

Format = Literal["chat", "alpaca"]
FORMATS: tuple[Format, ...] = ("chat", "alpaca")


def read_foreign(path: Path) -> tuple[list[ChatExample], list[str]]:
    """Read examples of somebody else, and name the lines that hold none ("FILE:LINE: reason").

    A file holds JSON lines, or one JSON list. Each row has either "messages", or "instruction",
    "input" and "output", and then perhaps "system" and "history" (pairs of question and answer),
    as LLaMA-Factory extends the Alpaca form.

    Raises:
        TuningDataError: The file cannot be read, or no row of it is an example.
    """
    examples: list[ChatExample] = []
    faults: list[str] = []
    for place, row in _rows(path, faults):
        try:
            examples.append(_example(row, f"{path.name}:{place}"))
        except ValueError as error:
            faults.append(f"{path}:{place}: {error}")
    if not examples:
        why = faults[0] if faults else f"{path}: is empty"
        raise TuningDataError(f"{why}; no example in the whole file")
    return examples, faults


def rows_as(examples: Sequence[ChatExample], form: Format) -> Iterator[dict[str, Any]]:
    """The rows of a format; what Alpaca's form cannot say of an example is put together."""
    for example in examples:
        if form == "alpaca":
            yield _alpaca(example.messages)
        else:
            yield {"messages": list(example.messages)}


def _rows(path: Path, faults: list[str]) -> Iterator[tuple[int, object]]:
    """Each row with its line, in a list its number."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TuningDataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TuningDataError(f"{path}: is not UTF-8; save it as UTF-8") from error
    if text.lstrip().startswith("["):
        try:
            yield from enumerate(json.loads(text), start=1)
        except ValueError as error:
            raise TuningDataError(f"{path}: is no JSON list: {error}") from error
        return
    # Not splitlines(): JSON may hold U+2028 as it is.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError):
            faults.append(f"{path}:{number}: no JSON")


def _example(row: object, conversation: str) -> ChatExample:
    if not isinstance(row, dict):
        raise ValueError("no JSON object")
    if "messages" in row:
        messages = messages_of(row["messages"])
    elif "instruction" in row or "output" in row:
        messages = _of_alpaca(row)
    else:
        raise ValueError('neither "messages" nor "instruction" and "output"')
    if messages[-1]["role"] != "assistant" or all(one["role"] != "user" for one in messages):
        raise ValueError("needs a message of the user, and the assistant's at the end")
    # Of several examples that bear one id of a conversation none must be parted from the others.
    named = row.get("conversation")
    if isinstance(named, str) and named:
        # It may be a customer's address.
        conversation = sha256(named.encode("utf-8", "replace")).hexdigest()[:16]
    return ChatExample(
        messages=messages, source="imported", conversation=f"imported/{conversation}"
    )


def _of_alpaca(row: Mapping[str, Any]) -> tuple[Message, ...]:
    asked, more = text_of(row, "instruction"), row.get("input") or ""
    system, history = row.get("system") or "", row.get("history") or []
    if not isinstance(more, str) or not isinstance(system, str):
        raise ValueError('"input" or "system" is no text')
    if not isinstance(history, list):
        raise ValueError('"history" is no list of pairs')
    messages = [_message("system", system)] if system else []
    for pair in history:
        if not isinstance(pair, list) or [type(one) for one in pair] != [str, str]:
            raise ValueError('"history" is no list of pairs of texts')
        messages += [_message("user", pair[0]), _message("assistant", pair[1])]
    question = f"{asked}\n{more}" if more else asked
    messages += [_message("user", question), _message("assistant", text_of(row, "output"))]
    return tuple(messages)


def _alpaca(messages: Sequence[Message]) -> dict[str, Any]:
    """Alternating turns are kept as they are; neighbours of one role become one message."""
    system = "\n".join(one["content"] for one in messages if one["role"] == "system")
    turns: list[Message] = []
    for one in messages:
        if one["role"] == "system":
            continue
        if turns and turns[-1]["role"] == one["role"]:
            turns[-1] = _message(one["role"], f"{turns[-1]['content']}\n{one['content']}")
        else:
            turns.append(one)
    if turns[0]["role"] == "assistant":
        turns.insert(0, _message("user", ""))
    *before, asked, answer = (one["content"] for one in turns)
    history = [[question, said] for question, said in zip(before[::2], before[1::2], strict=True)]
    return {
        "instruction": asked,
        "input": "",
        "output": answer,
        "system": system,
        "history": history,
    }


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}
