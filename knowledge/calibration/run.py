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
from knowledge.by_hand import answering
from knowledge.calibration.asking import Asked, ask_labelled, ask_made
from knowledge.calibration.curves import OUT_OF_SCOPE_PERCENT, Floats, traffic
from knowledge.calibration.fitting import compare, estimates, fit
from knowledge.embedding import Embedder
from knowledge.evaluation.questions import Question
from knowledge.reranking import Reranking
from knowledge.vectors import key_of

#: Fewer questions say too little.
FEWEST = 30
_KINDS: tuple[PassageKind, ...] = ("faq", "document")

ReadStored = Callable[[str], AsyncIterator[StoredDocument]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What is measured, and with what."""

    #: Asked an operator's questions; None: there are none.
    base: KnowledgeBase | None
    embedder: Embedder
    generations: Mapping[str, Generation]
    reranking: Reranking | None
    #: Reads the documents of a knowledge base.
    stored: ReadStored
    #: What holds now, by knowledge base: without what another model or reranker was measured with.
    in_force: Mapping[str, Calibration]
    #: The share of customers' questions that is taken to be out of scope; None: what is usual, or
    #: of an operator's questions what it is among them.
    out_of_scope: float | None
    #: What is measured without an operator's questions may replace what was measured with them.
    replaces_labelled: bool
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
    if questions is not None:
        return await _by_labels(bench, names, questions, progress)
    found = []
    for name in names:
        kinds = dict.fromkeys(_KINDS, False)
        stored = []
        # Passages are not kept: nothing is asked with them, and there may be very many.
        async for one in bench.stored(name):
            kinds[one.document.kind] = True
            if one.document.kind == "faq":
                stored.append(one)
        entries = answering(stored)
        asked = await ask_made(name, entries, bench.embedder, bench.reranking, progress)
        there = [kind for kind, is_there in kinds.items() if is_there]
        found.append(_measured(bench, name, asked, there, "knowledge base"))
    return found


async def _by_labels(
    bench: Bench, names: Sequence[str], questions: Sequence[Question], progress: Progress
) -> list[Measured]:
    kinds: dict[str, dict[str, PassageKind]] = {name: {} for name in names}
    for name in names:
        async for one in bench.stored(name):
            kinds[name][one.document.document_id] = one.document.kind
    asked: defaultdict[str, list[Asked]] = defaultdict(list)
    assert bench.base is not None
    for answered in await ask_labelled(bench.base, questions, kinds, progress):
        asked[answered.knowledge_base].append(answered)
    return [
        _measured(
            bench,
            name,
            asked[name],
            [kind for kind in _KINDS if kind in kinds[name].values()],
            "operator",
        )
        for name in names
    ]


def _check(bench: Bench, name: str) -> None:
    found = bench.generations.get(name)
    if found is None or not found.number:
        raise KnowledgeBaseUnavailable(f"knowledge base {name} is not loaded: kfbot knowledge load")
    if found.embedding_key != key_of(bench.embedder):
        raise KnowledgeBaseUnavailable(
            f"knowledge base {name} was embedded by another model: load it again"
        )


def _measured(
    bench: Bench,
    name: str,
    asked: Sequence[Asked],
    kinds: Sequence[PassageKind],
    source: Source,
) -> Measured:
    in_force = bench.in_force[name].adjustments if name in bench.in_force else {}
    found: dict[PassageKind, dict[str, Any]] = {}
    fitted: dict[str, Adjustment] = {}
    notes: list[str] = []
    for kind in kinds:
        those = [one for one in asked if one.kind == kind]
        counts = Counter(one.scope for one in those)
        enough = sum(counts.values()) if source == "operator" else counts["in"]
        before = in_force.get(kind)
        stays = "as shipped" if before is None else "as calibrated before"
        if enough < FEWEST:
            notes.append(_too_few(kind, enough, source, stays))
            continue
        some = estimates(kind, those, _weights(those, source, bench.out_of_scope))
        found[kind] = {"questions": dict(counts), **compare(some, before)}
        if found[kind]["is_worse"]:
            notes.append(f"{kind}: correcting it would make it worse; {stays}")
        elif _outranked(source, before) and not bench.replaces_labelled:
            notes.append(f"{kind}: stays as your labelled questions have it; --replace takes this")
        else:
            fitted[kind] = fit(some, source)
    return Measured(
        knowledge_base=name,
        kinds=found,
        notes=tuple(notes),
        calibration=_calibration(bench, name, asked, {**in_force, **fitted}) if fitted else None,
    )


def _calibration(
    bench: Bench, name: str, asked: Sequence[Asked], adjustments: Mapping[str, Adjustment]
) -> Calibration:
    is_labelled = any(one.source == "operator" for one in adjustments.values())
    return Calibration(
        adjustments=adjustments,
        embedding_key=key_of(bench.embedder),
        signals=confidence.signals_version(bench.reranking.key if bench.reranking else ""),
        generation=bench.generations[name].number,
        made_at=bench.now,
        source="operator" if is_labelled else "knowledge base",
        counts=dict(Counter(one.scope for one in asked)),
    )


def _outranked(source: Source, before: Adjustment | None) -> bool:
    """What customers asked says more than what is made of a knowledge base."""
    return source != "operator" and before is not None and before.source == "operator"


def _weights(asked: Sequence[Asked], source: Source, out_of_scope: float | None) -> Floats:
    if out_of_scope is None:
        if source == "operator":
            return np.ones(len(asked))
        out_of_scope = OUT_OF_SCOPE_PERCENT / 100
    weight = traffic(np.array([one.scope for one in asked]), out_of_scope)
    return np.asarray(weight * len(asked) / weight.sum())


def _too_few(kind: PassageKind, count: int, source: Source, stays: str) -> str:
    if source == "operator":
        return f"{kind}: {count} labelled questions; at least {FEWEST} are needed; {stays}"
    if kind == "document":
        return (
            f"document: passages give no honest questions; {stays} until you give labelled"
            " ones (--questions FILE)"
        )
    return (
        f"faq: {count} variants to ask with; at least {FEWEST} are needed, or labelled questions"
        f" (--questions FILE); {stays}"
    )
