"""Asks questions of which it is known what answers them, and notes what was estimated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from kfbot.answer import Answering, answer_question
from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.knowledge_base import KnowledgeBase, PassageKind, Progress
from kfbot.store.knowledge_rows import StoredDocument
from knowledge.calibration.made_questions import Fold, MadeQuestion, far_questions, folds
from knowledge.embedding import Embedder
from knowledge.evaluation.memory import Memory
from knowledge.evaluation.questions import Question, valid
from knowledge.geometry import generic_means
from knowledge.index import Index, Stamp
from knowledge.index_build import build
from knowledge.reranking import Reranking
from knowledge.retrieval import find
from knowledge.terms import simplify
from knowledge.training_sets import Scope
from knowledge.vectors import key_of

#: Of an operator's question nobody knows how far out of scope it is.
AskedScope = Scope | Literal["out"]
#: The kind of each document of each knowledge base.
Kinds = Mapping[str, Mapping[str, PassageKind]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of one question, before anything is corrected."""

    #: Knowledge base and kind of the first passage.
    knowledge_base: str
    kind: PassageKind
    evidence: Mapping[PassageKind, Mapping[str, float]]
    #: The first passage answers it.
    right: bool
    #: There are two or more to choose from.
    has_choices: bool
    scope: AskedScope


async def ask_made(
    name: str,
    entries: Sequence[StoredDocument],
    embedder: Embedder,
    reranking: Reranking | None,
    progress: Progress,
) -> list[Asked]:
    """Ask the questions that are made of a knowledge base's FAQ entries, and far ones.

    Raises:
        KnowledgeBaseUnavailable: An index could not be built, or the model does not answer.
    """
    made = list(folds(entries))
    far = await asyncio.to_thread(_far, embedder)
    total = len(far) + sum(len(fold.questions) for fold in made)
    generic = await asyncio.to_thread(generic_means, embedder)
    asked: list[Asked] = []
    with TemporaryDirectory(prefix="kfbot-calibrate-") as folder:
        for number, fold in enumerate(made):
            stamp = Stamp(
                knowledge_base=name,
                generation=number,
                embedding_key=key_of(embedder),
                dimensions=embedder.dimensions,
            )
            place = await build(_each(fold), stamp, Path(folder), generic, {})
            index = await asyncio.to_thread(Index.open, place, stamp)
            try:
                for question in (*fold.questions, *(far if number == 0 else ())):
                    asked += await _ask(index, question, reranking)
                    progress("asking", len(asked), total)
            finally:
                index.close()
    return asked


async def ask_labelled(
    base: KnowledgeBase, questions: Sequence[Question], kinds: Kinds, progress: Progress
) -> list[Asked]:
    """Ask an operator's questions of the pipeline that answers customers.

    Left out is what nobody says the answer of, what finds nothing, and who wants a person.

    Raises:
        KnowledgeBaseUnavailable: A question could not be searched for.
    """
    asked = []
    for number, question in enumerate(questions, start=1):
        memory = Memory(base)
        turn = await answer_question(
            valid(question.text), Answering(memory), history=question.history
        )
        if turn.reason == "error":
            raise KnowledgeBaseUnavailable(
                f"question {number} could not be searched for; nothing was measured"
            )
        progress("asking", number, len(questions))
        known = question.in_scope is False or (question.in_scope and question.gold_ids)
        if not known or not turn.ranked or turn.reason == "asked_for_person":
            continue
        name, document_id = turn.ranked[0]
        kind = kinds.get(name, {}).get(document_id)
        if kind is not None and turn.evidence.get(kind):
            right = question.in_scope is True and memory.answers(turn, question.gold_ids)
            scope: AskedScope = "in" if question.in_scope else "out"
            choices = len(set(turn.ranked)) > 1
            asked.append(Asked(name, kind, turn.evidence, right, choices, scope))
    return asked


def _far(embedder: Embedder) -> list[MadeQuestion]:
    texts = far_questions()
    vectors = embedder.embed_queries([simplify(text) for text in texts])
    return [
        MadeQuestion(text, vector.astype("<f2").tobytes(), frozenset(), "far")
        for text, vector in zip(texts, vectors, strict=True)
    ]


async def _each(fold: Fold) -> AsyncIterator[StoredDocument]:
    for document in fold.documents:
        yield document


async def _ask(index: Index, one: MadeQuestion, reranking: Reranking | None) -> list[Asked]:
    """What came of a question; nothing where nothing was found."""
    vector = np.frombuffer(one.vector, "<f2").astype(np.float32)
    found = await find([index], one.text, vector, 3, reranking=reranking)
    if not found.passages:
        return []
    best = found.passages[0]
    right = not one.gold.isdisjoint((best.document_id, *best.duplicates))
    choices = len(found.passages) > 1
    return [Asked(index.knowledge_base, best.kind, found.evidence, right, choices, one.scope)]
