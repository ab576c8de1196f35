"""Questions made from a knowledge base itself, of which it is known what answers them.

Of an FAQ a variant that is held back is in scope, and one of an entry that was taken out is on
its field and out of scope. Each is asked of an index without it. Passages give no such
questions: their own sentences are found too easily (see docs/calibration.md).
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files

from kfbot.store.knowledge_rows import ChunkRow, StoredDocument
from knowledge.training_sets import Scope

#: So many indexes are made; each variant is held back in one of them.
FOLDS = 5
#: One entry in so many is missing in an index: few, so that the others stay as hard to tell apart.
_MISSING_EVERY = 10
#: Of more questions a sample is asked.
MOST = 2000


@dataclass(frozen=True, slots=True)
class MadeQuestion:
    """A question with its vector as it is stored, and the ids that answer it in its index."""

    text: str
    vector: bytes
    gold: frozenset[str]
    scope: Scope


@dataclass(frozen=True, slots=True)
class Fold:
    """What an index is made of, and what is asked of it."""

    documents: Sequence[StoredDocument]
    questions: Sequence[MadeQuestion]


def folds(documents: Sequence[StoredDocument]) -> Iterator[Fold]:
    """The FAQ entries among documents, each time without other variants and entries."""
    entries = [one for one in documents if one.document.kind == "faq" and one.chunks]
    chance = random.Random(5)  # noqa: S311  # the same questions every time
    alike = _alike(entries)
    groups = sorted(set(alike.values()), key=sorted)
    chance.shuffle(groups)
    turn = {
        one.document.document_id: chance.sample(range(len(one.chunks) - 1), len(one.chunks) - 1)
        for one in entries
    }
    share = min(1.0, MOST / max(sum(map(len, turn.values())), 1))
    for number in range(FOLDS):
        missing = frozenset().union(*groups[number::_MISSING_EVERY])
        kept, asked = [], []
        for one in entries:
            document_id = one.document.document_id
            if document_id in missing:
                asked += [_asked(chunk, frozenset()) for chunk in one.chunks]
                continue
            back = {place + 1 for place in turn[document_id][number::FOLDS]}
            kept.append(replace(one, chunks=_without(one.chunks, back)))
            asked += [_asked(one.chunks[place], alike[document_id]) for place in sorted(back)]
        yield Fold(kept, [one for one in asked if chance.random() < share])


def far_questions() -> list[str]:
    """Everyday questions, Chinese and English, that hardly any company answers."""
    text = files("knowledge.calibration").joinpath("far_questions.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _alike(entries: Sequence[StoredDocument]) -> dict[str, frozenset[str]]:
    """For each entry those that give the very same answer, itself among them."""
    by_answer: defaultdict[str, set[str]] = defaultdict(set)
    for one in entries:
        own = one.document.answer.strip() or f"\0{one.document.document_id}"
        by_answer[own].add(one.document.document_id)
    return {one: frozenset(group) for group in by_answer.values() for one in group}


def _without(chunks: Sequence[ChunkRow], places: set[int]) -> tuple[ChunkRow, ...]:
    return tuple(chunk for place, chunk in enumerate(chunks) if place not in places)


def _asked(chunk: ChunkRow, gold: frozenset[str]) -> MadeQuestion:
    return MadeQuestion(chunk.text, chunk.vector, gold, "in" if gold else "near")
