"""How good the bot is: asks an operator's questions of the very pipeline that answers customers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kfbot.answer import Answering
from kfbot.errors import KnowledgeBaseError
from kfbot.knowledge_base import LoadReport, Progress
from knowledge.evaluation.asking import Asked, ask_all
from knowledge.evaluation.comparison import compare, read_earlier
from knowledge.evaluation.mistakes import ReadStored, look_up, mistakes_of
from knowledge.evaluation.page import html_of
from knowledge.evaluation.questions import Question, read_questions
from knowledge.evaluation.report import report_of
from knowledge.evaluation.scored import Scored
from knowledge.evaluation.thresholds import Demand, check, read_demand
from knowledge.evaluation.writing import writing_of
from knowledge.sources.contract import is_address

#: How loading says that a second document has the id of another.
USED_TWICE = (" is used twice", " is taken by ")


@dataclass(frozen=True, slots=True)
class Task:
    """An evaluation whose input was found good."""

    knowledge: Mapping[str, tuple[str, ...]]
    questions: tuple[Question, ...]
    #: Where to write "predictions", "report" and "html"; each may be absent.
    outputs: Mapping[str, Path]
    demands: tuple[Demand, ...] = ()
    #: Name and outcome of an earlier run on the same questions.
    earlier: tuple[str, Sequence[Scored]] | None = None


def prepare(
    knowledge: Mapping[str, Sequence[str]],
    questions: Path,
    outputs: Mapping[str, Path],
    *,
    require: Sequence[str] = (),
    earlier: Path | None = None,
) -> Task:
    """Read and check what can be checked before a model is opened.

    Args:
        require: Demands like "hit@1>=0.9".
        earlier: The report or the predictions of a run to compare with.

    Raises:
        KnowledgeBaseError: Names the file, the line, and what is wrong with it.
    """
    demands = tuple(map(read_demand, require))
    found = {name: tuple(sources) for name, sources in knowledge.items()}
    for sources in found.values():
        for source in sources:
            if not is_address(source) and not Path(source).exists():
                raise KnowledgeBaseError(f"knowledge {source} does not exist")
    for path in outputs.values():
        if not path.parent.is_dir() or path.is_dir():
            raise KnowledgeBaseError(f"{path} cannot be written: name a file in a folder that is")
    read = tuple(read_questions(questions))
    before = (earlier.name, read_earlier(earlier, read)) if earlier else None
    return Task(found, read, outputs, demands, before)


async def evaluate(
    task: Task,
    answering: Answering,
    *,
    stored: ReadStored,
    calibrate: Callable[[], Awaitable[None]] | None = None,
    progress: Progress,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Load the knowledge, ask every question, write the outputs, and return the report as JSON.

    Args:
        answering: Its knowledge base is empty, with the task's knowledge as its sources; with a
            writer the report has "chat_model".
        stored: Reads what was loaded: the right entries of questions that went wrong.
        calibrate: Awaited once the knowledge is loaded.
        report: Told, a line each, what could not be read of a folder.

    Raises:
        KnowledgeBaseError: The knowledge is bad, or could not be asked; nothing was written.
    """
    base, writer = answering.knowledge, answering.writer
    loads = await base.load(progress=progress)
    _check_loads(task, loads, report)
    if calibrate is not None:
        await calibrate()
    asked = await ask_all(answering, task.questions, progress)
    known = await base.document_ids()
    rights = await look_up(asked, base, tuple(task.knowledge), stored)

    def finish() -> dict[str, Any]:
        result = _result(task, asked, known, answering.max_wrong_percent, loads)
        result["mistakes"] = mistakes_of(asked, rights)
        if writer is not None:
            result["chat_model"] = writing_of([one.usage for one in asked])
        _write(task.outputs, asked, result)
        return result

    return await asyncio.to_thread(finish)


def _result(
    task: Task,
    asked: Sequence[Asked],
    known_ids: frozenset[str],
    max_wrong_percent: float,
    loads: Sequence[LoadReport],
) -> dict[str, Any]:
    scored = [one.scored for one in asked]
    numbers = report_of(
        scored,
        known_ids=known_ids,
        names=tuple(task.knowledge),
        max_wrong_percent=max_wrong_percent,
    )
    return numbers | {
        "max_wrong_percent": max_wrong_percent,
        "knowledge": [
            {
                "name": one.knowledge_base,
                "documents": one.added,
                "unreadable": list(one.unreadable),
            }
            for one in loads
        ],
        "require": check(task.demands, numbers["all"]["measures"]),
        "comparison": compare(*task.earlier, scored) if task.earlier else None,
        "rows": [
            {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(one.prediction).items()
                if name != "answer"
            }
            for one in asked
        ],
    }


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


def _write(outputs: Mapping[str, Path], asked: Sequence[Asked], result: Mapping[str, Any]) -> None:
    texts = {
        "predictions": lambda: "".join(
            json.dumps(asdict(one.prediction), ensure_ascii=False) + "\n" for one in asked
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
