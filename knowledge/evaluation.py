"""How good the bot is: asks an operator's questions of the very pipeline that answers customers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from kfbot.answer import answer_question
from kfbot.conversation import HistoryMessage, Turn
from kfbot.errors import KnowledgeBaseError, KnowledgeBaseUnavailable
from kfbot.knowledge_base import KnowledgeBase, LoadReport, Progress
from kfbot.messages import Role
from knowledge.evaluation_measures import Scored, report_of
from knowledge.evaluation_report import html_of
from knowledge.sources.contract import is_address

Decision = Literal["answer", "clarify", "handoff"]
#: Knowledge ids listed for a question, at most.
RANKED = 10
#: How loading says that a second document has the id of another.
USED_TWICE = (" is used twice", " is taken by ")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the pipeline made of one question; one line of the predictions file."""

    text: str
    decision: Decision
    #: That ranked_ids[0] answers, 0 to 1, whatever the decision.
    confidence: float
    #: Distinct knowledge ids, best first, at most 10.
    ranked_ids: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    #: Knowledge base of ranked_ids[0].
    kb: str | None = None
    answer: str = ""
    latency_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Task:
    """An evaluation whose input was found good."""

    knowledge: Mapping[str, tuple[str, ...]]
    questions: tuple[Question, ...]
    #: Where to write "predictions", "report" and "html"; each may be absent.
    outputs: Mapping[str, Path]


def prepare(
    knowledge: Mapping[str, Sequence[str]], questions: Path, outputs: Mapping[str, Path]
) -> Task:
    """Read and check what can be checked before a model is opened.

    Raises:
        KnowledgeBaseError: Names the file, the line, and what is wrong with it.
    """
    found = {name: tuple(sources) for name, sources in knowledge.items()}
    for sources in found.values():
        for source in sources:
            if not is_address(source) and not Path(source).exists():
                raise KnowledgeBaseError(f"knowledge {source} does not exist")
    for path in outputs.values():
        if not path.parent.is_dir() or path.is_dir():
            raise KnowledgeBaseError(f"{path} cannot be written: name a file in a folder that is")
    return Task(found, tuple(read_questions(questions)), outputs)


async def evaluate(
    task: Task,
    base: KnowledgeBase,
    *,
    max_wrong_percent: float,
    progress: Progress,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Load the knowledge, ask every question, write the outputs, and return the report as JSON.

    Args:
        base: Empty, with the task's knowledge as its sources.
        report: Told, a line each, what could not be read of a folder.

    Raises:
        KnowledgeBaseError: The knowledge is bad, or could not be asked; nothing was written.
    """
    loads = await base.load(progress=progress)
    _check_loads(task, loads, report)
    asked = await ask_all(base, task.questions, max_wrong_percent, progress)
    known = await base.document_ids()
    result = report_of(
        [_scored(question, prediction) for question, prediction in asked],
        known_ids=known,
        names=tuple(task.knowledge),
    ) | {
        "max_wrong_percent": max_wrong_percent,
        "knowledge": [
            {
                "name": one.knowledge_base,
                "documents": one.added,
                "unreadable": list(one.unreadable),
            }
            for one in loads
        ],
    }
    await asyncio.to_thread(_write, task.outputs, [made for _, made in asked], result)
    return result


async def ask_all(
    base: KnowledgeBase, questions: Sequence[Question], max_wrong_percent: float, progress: Progress
) -> list[tuple[Question, Prediction]]:
    """Ask in order, one at a time, each as a fresh conversation with its history as context.

    Raises:
        KnowledgeBaseUnavailable: A question could not be searched for.
    """
    asked = []
    progress("asking", 0, len(questions))
    for number, question in enumerate(questions, start=1):
        began = time.perf_counter()
        turn = await answer_question(
            _valid(question.text),
            base,
            history=question.history,
            max_wrong_percent=max_wrong_percent,
        )
        spent_ms = (time.perf_counter() - began) * 1000
        if turn.reason == "error":
            raise KnowledgeBaseUnavailable(
                f"question {number} could not be searched for; nothing was measured"
            )
        asked.append((question, predict(question.text, turn, spent_ms)))
        progress("asking", number, len(questions))
    return asked


def predict(text: str, turn: Turn, spent_ms: float) -> Prediction:
    """The prediction that a turn is; small talk and silence count as a handoff."""
    ranked: dict[str, str] = {}
    for name, document_id in turn.ranked:
        ranked.setdefault(document_id, name)
    ids = tuple(ranked)[:RANKED]
    decision: Decision = turn.decision if turn.decision in get_args(Decision) else "handoff"  # type: ignore[assignment]
    return Prediction(
        text=text,
        decision=decision,
        confidence=min(max(float(turn.confidence), 0.0), 1.0) if ids else 0.0,
        ranked_ids=ids,
        choices=tuple(choice.id for choice in turn.choices),
        kb=ranked[ids[0]] if ids else None,
        answer=turn.text,
        latency_ms=round(spent_ms, 3),
    )


# Reading questions


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
        messages.append(HistoryMessage(message["role"], _valid(message["text"])))
    return tuple(messages)


def _valid(text: str) -> str:
    """The text with halves of surrogate pairs, which JSON can hold, as question marks."""
    return text.encode("utf-8", "replace").decode()


# Checking and writing


def _check_loads(task: Task, loads: Sequence[LoadReport], report: Callable[[str], None]) -> None:
    """A fault in a file that was named is bad input; of a folder the rest is worth evaluating.

    Raises:
        KnowledgeBaseError: The first fault, and how many more there are.
    """
    faults = []
    for one in loads:
        named = any(Path(source).is_file() for source in task.knowledge[one.knowledge_base])
        for line in one.unreadable:
            if named or any(words in line for words in USED_TWICE):
                faults.append(f"knowledge {one.knowledge_base}: {line}")
            else:
                report(f"left out of {one.knowledge_base}: {line}")
        if not one.added:
            faults.append(f"knowledge {one.knowledge_base}: holds nothing that can be read")
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise KnowledgeBaseError(faults[0] + more)


def _scored(question: Question, prediction: Prediction) -> Scored:
    return Scored(
        text=question.text,
        gold_ids=question.gold_ids,
        in_scope=question.in_scope,
        kb=question.kb,
        decision=prediction.decision,
        confidence=prediction.confidence,
        ranked_ids=prediction.ranked_ids,
        choices=prediction.choices,
        predicted_kb=prediction.kb,
        answer=prediction.answer,
        latency_ms=prediction.latency_ms,
    )


def _write(
    outputs: Mapping[str, Path], predictions: Sequence[Prediction], result: Mapping[str, Any]
) -> None:
    texts = {
        "predictions": lambda: "".join(
            json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in predictions
        ),
        "report": lambda: json.dumps(result, ensure_ascii=False, indent=2) + "\n",
        "html": lambda: html_of(result),
    }
    for kind, path in outputs.items():
        try:
            # JSON reads the escaped half of a surrogate pair as what it was.
            path.write_text(texts[kind](), encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise KnowledgeBaseError(f"{path} cannot be written: {error.strerror}") from error
