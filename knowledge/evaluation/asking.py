"""Asks the questions of the very pipeline that answers customers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from kfbot.answer import Answering, answer_question
from kfbot.conversation import Turn
from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.knowledge_base import Progress, Retrieval
from knowledge.evaluation.memory import Memory
from knowledge.evaluation.questions import Question, valid
from knowledge.evaluation.scored import Decision, Scored

#: Knowledge ids listed for a question, at most.
RANKED = 10
#: Positions of the dial for which is told what the bot would have done.
DIAL = (1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question, what came of it, and, where that was a mistake, what it came from."""

    question: Question
    prediction: Prediction
    scored: Scored
    #: What was searched for; differs from the question where the history was carried over.
    searched: str = ""
    #: "smalltalk", "asked_for_person", … where something else than doubt decided; else "".
    taken_for: str = ""
    #: None: no mistake was made, or nothing was found.
    found: Retrieval | None = field(default=None, repr=False)
    #: What it took of a chat model, and what came of that; see `Turn.usage`.
    usage: Mapping[str, Any] = field(default_factory=dict)


async def ask_all(
    answering: Answering, questions: Sequence[Question], progress: Progress
) -> list[Asked]:
    """Ask in order, one at a time, each as a fresh conversation with its history as context.

    Its writer has a chat model write the answers at its position of the dial only.

    Raises:
        KnowledgeBaseUnavailable: A question could not be searched for.
    """
    asked = []
    progress("asking", 0, len(questions))
    for number, question in enumerate(questions, start=1):
        asked.append(await _ask(answering, question, number))
        progress("asking", number, len(questions))
    return asked


async def _ask(answering: Answering, question: Question, number: int) -> Asked:
    memory = Memory(answering.knowledge)
    answering = replace(answering, knowledge=memory)
    began = time.perf_counter()
    turn = await _turn(answering, question, number)
    prediction = predict(question.text, turn, (time.perf_counter() - began) * 1000)
    # All of them: a message of several questions may be answered in parts at one position and
    # not at the next, so that nothing follows from its neighbours. Searches are remembered.
    quoting = replace(answering, writer=None)
    turns = {
        dial: await _turn(replace(quoting, max_wrong_percent=dial), question, number)
        for dial in DIAL
    }
    at_dial = {
        dial: score(_labelled(question, memory, one), predict(question.text, one, 0.0))
        for dial, one in turns.items()
    }
    scored = score(_labelled(question, memory, turn), prediction, at_dial)
    mistaken = scored.is_wrong_answer or scored.is_missed
    taken_for = turn.decision if turn.decision in ("smalltalk", "silent") else turn.reason or ""
    return Asked(
        question=question,
        prediction=prediction,
        scored=scored,
        searched=turn.question,
        taken_for="" if taken_for == "unsure" else taken_for,
        found=memory.behind(turn) if mistaken else None,
        usage=turn.usage,
    )


async def _turn(answering: Answering, question: Question, number: int) -> Turn:
    turn = await answer_question(valid(question.text), answering, history=question.history)
    if turn.reason == "error":
        raise KnowledgeBaseUnavailable(
            f"question {number} could not be searched for; nothing was measured"
        )
    return turn


def _labelled(question: Question, memory: Memory, turn: Turn) -> Question:
    """The question; right is also what stands for a right document that says the same."""
    if not turn.ranked or not memory.answers(turn, question.gold_ids):
        return question
    first = turn.ranked[0][1]
    known = first in question.gold_ids
    return question if known else replace(question, gold_ids=(*question.gold_ids, first))


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


def score(
    question: Question, prediction: Prediction, at_dial: Mapping[float, Scored] | None = None
) -> Scored:
    """A prediction beside the labels of its question."""
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
        at_dial=at_dial or {},
    )
