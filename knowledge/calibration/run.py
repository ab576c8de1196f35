"""What `kfbot calibrate` does: measure, fit, and tell what it would cost; nothing is changed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from kfbot import confidence
from kfbot.calibration import Adjustment, Calibration, Source
from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.knowledge_base import KnowledgeBase, PassageKind, Progress
from kfbot.store.knowledge_rows import Generation, StoredDocument
from knowledge.calibration.asking import Asked, ask_labelled, ask_made
from knowledge.calibration.curves import Floats, traffic
from knowledge.calibration.fitting import compare, estimates, fit
from knowledge.embedding import Embedder
from knowledge.evaluation.questions import Question
from knowledge.vectors import key_of

#: Fewer questions say too little.
FEWEST = 30

ReadStored = Callable[[str], AsyncIterator[StoredDocument]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What is measured, and with what."""

    #: Asked an operator's questions; None: there are none.
    base: KnowledgeBase | None
    embedder: Embedder
    generations: Mapping[str, Generation]
    #: Reads the documents of a knowledge base.
    stored: ReadStored
    #: The share of customers' questions that is taken to be out of scope, where they are made.
    out_of_scope: float
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was found out about one knowledge base."""

    knowledge_base: str
    #: By kind of passage: counts of questions, and what `compare` tells.
    kinds: dict[PassageKind, dict[str, Any]]
    #: What an operator should know, a line each.
    notes: tuple[str, ...]
    #: None: nothing would be gained, or too little is known.
    calibration: Calibration | None

    def as_data(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "knowledge_base": self.knowledge_base,
            "kinds": self.kinds,
            "notes": list(self.notes),
            "calibration": self.calibration and self.calibration.as_data(),
        }


async def calibrate(
    bench: Bench, names: Sequence[str], questions: Sequence[Question] | None, progress: Progress
) -> list[Measured]:
    """Measure the named knowledge bases.

    Args:
        questions: An operator's, with labels; None: questions are made of the knowledge bases.

    Raises:
        KnowledgeBaseUnavailable: One of them cannot be asked.
        StoreUnavailable: The database cannot be read.
    """
    for name in names:
        _check(bench, name)
    documents = {name: [one async for one in bench.stored(name)] for name in names}
    asked: defaultdict[str, list[Asked]] = defaultdict(list)
    if questions is None:
        for name in names:
            asked[name] = await ask_made(name, documents[name], bench.embedder, progress)
    else:
        kinds = {
            name: {one.document.document_id: one.document.kind for one in those}
            for name, those in documents.items()
        }
        assert bench.base is not None
        for one in await ask_labelled(bench.base, questions, kinds, progress):
            asked[one.knowledge_base].append(one)
    source: Source = "knowledge base" if questions is None else "operator"
    return [
        _measured(bench, name, asked[name], _kinds_of(documents[name]), source) for name in names
    ]


def _check(bench: Bench, name: str) -> None:
    found = bench.generations.get(name)
    if found is None or not found.number:
        raise KnowledgeBaseUnavailable(f"knowledge base {name} is not loaded: kfbot knowledge load")
    if found.embedding_key != key_of(bench.embedder):
        raise KnowledgeBaseUnavailable(
            f"knowledge base {name} was embedded by another model: load it again"
        )


def _kinds_of(documents: Sequence[StoredDocument]) -> tuple[PassageKind, ...]:
    there = {one.document.kind for one in documents}
    known: tuple[PassageKind, ...] = ("faq", "document")
    return tuple(kind for kind in known if kind in there)


def _measured(
    bench: Bench,
    name: str,
    asked: Sequence[Asked],
    kinds: Sequence[PassageKind],
    source: Source,
) -> Measured:
    found: dict[PassageKind, dict[str, Any]] = {}
    adjustments: dict[str, Adjustment] = {}
    notes: list[str] = []
    for kind in kinds:
        those = [one for one in asked if one.kind == kind]
        counts = Counter(one.scope for one in those)
        enough = sum(counts.values()) if source == "operator" else counts["in"]
        if enough < FEWEST:
            notes.append(_too_few(kind, enough, source))
            continue
        some = estimates(kind, those, _weights(those, source, bench.out_of_scope))
        found[kind] = {"questions": dict(counts), **compare(some)}
        if found[kind]["is_worse"]:
            notes.append(f"{kind}: correcting it would make it worse; as shipped")
        else:
            adjustments[kind] = fit(some)
    calibration = Calibration(
        adjustments=adjustments,
        embedding_key=key_of(bench.embedder),
        signals=confidence.signals_version(),
        generation=bench.generations[name].number,
        made_at=bench.now,
        source=source,
        counts=dict(Counter(one.scope for one in asked)),
    )
    return Measured(
        knowledge_base=name,
        kinds=found,
        notes=tuple(notes),
        calibration=calibration if adjustments else None,
    )


def _weights(asked: Sequence[Asked], source: Source, out_of_scope: float) -> Floats:
    if source == "operator":
        return np.ones(len(asked))
    weight = traffic(np.array([one.scope for one in asked]), out_of_scope)
    return np.asarray(weight * len(asked) / weight.sum())


def _too_few(kind: PassageKind, count: int, source: Source) -> str:
    if source == "operator":
        return f"{kind}: {count} labelled questions; at least {FEWEST} are needed; as shipped"
    if kind == "document":
        return (
            "document: passages give no honest questions; as shipped until you give labelled"
            " ones (--questions FILE)"
        )
    return (
        f"faq: {count} variants to ask with; at least {FEWEST} are needed, or labelled questions"
        " (--questions FILE); as shipped"
    )
