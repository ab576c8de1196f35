"""Fits kfbot/confidence.json: `python -m knowledge.fit_confidence DATA [--table FILE]`.

DATA is a folder of public question sets (`training_sets` says which). Every question is asked
of a real knowledge base; its evidence and whether the first passage was right are the rows of
a logistic regression. Families of sets count equally, and within a set a third of the weight
is out of scope. What it prints is measured with each set's family left out; --table keeps it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pickle
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfbot.confidence import Model, Target
from kfbot.knowledge_base import PassageKind
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.engine import Database
from knowledge.calibration.curves import (
    OUT_OF_SCOPE_PERCENT,
    fit_curve,
    fit_thresholds,
    traffic,
)
from knowledge.calibration.left_out import table
from knowledge.embedding import Embedder, open_embedder
from knowledge.intake import Intake
from knowledge.load import Knowledge
from knowledge.training_sets import ADVERSARIAL, TrainingSet, training_sets

Floats = NDArray[np.float64]

#: Is the question about this field: of what was found in its own language, and in another.
GATE = ("raw_z", "many", "unknown_z")
GATE_FOREIGN = ("dense", "domain")
_SHARED = (
    "fused", "dense", "fused_margin", "dense_margin", "above_pack", "rivals", "lexical",
    "lexical_margin", "covered", "covered_window", "unknown", "missing_numbers", "foreign",
)  # fmt: skip
MATCH: Mapping[PassageKind, tuple[str, ...]] = {
    "faq": (
        *_SHARED,
        "pack_spread",
        "length",
        "near_miss_z",
        "own_z",
        "background_distance",
        "many",
        "unknown_z",
        "covered_z",
    ),
    "document": (*_SHARED, "missing_names", "no_answer_type", "domain", "distance", "norm"),
}
#: Does a passage on the same topic say what is asked: fitted on questions written to be on topic.
ANSWERED = (
    "dense", "above_pack", "all_words", "far_apart", "unsaid_negation", "opposite",
    "missing_numbers",
)  # fmt: skip
#: People wrote the unanswered questions of this set so that a passage is about them.
_ADVERSARIAL = {"squad"}
_OUT_OF_SCOPE_SHARE = 1 / 3
#: Among so many questions the curve follows them alone.
_CURVE_SPREAD = (10.0, 10.0, 10.0)
#: How many times as often as the dial says the least sure answers may be wrong.
_LEAST_SURE = 3
#: Choices are offered where three times in four the right one is among them.
_CLARIFY_FROM = 0.75


@dataclass(slots=True)
class Rows:
    """The questions of one set: evidence, scope, and whether the right one was found."""

    name: str
    family: str
    kind: PassageKind
    evidence: dict[str, Floats]
    scope: NDArray[np.str_]
    right: dict[Target, Floats]
    weight: Floats = field(init=False)

    def __post_init__(self) -> None:
        inside = self.scope == "in"
        share = np.where(inside, 1 - _OUT_OF_SCOPE_SHARE, _OUT_OF_SCOPE_SHARE)
        size = np.where(inside, max(inside.sum(), 1), max((~inside).sum(), 1))
        self.weight = share / size

    def first_is_right(self) -> Floats:
        """Of each question, 0 or 1: the first passage answers it."""
        return self.right["first"]

    def columns(self, names: Sequence[str]) -> Floats:
        """The evidence of these names, one row a question."""
        return np.stack([self.evidence[name] for name in names], axis=1)


class RememberingEmbedder:
    """Embeds every text once and for all: sets share most of theirs."""

    def __init__(self, embedder: Embedder, cache: Path) -> None:
        self._embedder = embedder
        self._path = cache / "vectors.pickle"
        self._known: dict[tuple[str, str], NDArray[np.float32]] = {}
        if self._path.exists():
            self._known = pickle.loads(self._path.read_bytes())  # noqa: S301  # our own file

    @property
    def key(self) -> str:
        """The model's."""
        return self._embedder.key

    @property
    def dimensions(self) -> int:
        """The model's."""
        return self._embedder.dimensions

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As the model does."""
        return self._embed("query", texts, self._embedder.embed_queries)

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As the model does."""
        return self._embed("passage", texts, self._embedder.embed_passages)

    def save(self) -> None:
        """Keep what is known for the next run."""
        self._path.write_bytes(pickle.dumps(self._known))

    def _embed(
        self,
        side: str,
        texts: Sequence[str],
        embed: Callable[[Sequence[str]], NDArray[np.float32]],
    ) -> NDArray[np.float32]:
        missing = [text for text in dict.fromkeys(texts) if (side, text) not in self._known]
        if missing:
            for text, vector in zip(missing, embed(missing), strict=True):
                self._known[side, text] = vector.copy()
        return np.stack([self._known[side, text] for text in texts])


async def collect(one: TrainingSet, embedder: Embedder) -> Rows:
    """Ask every question of a set and note the evidence."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "knowledge.jsonl"
        lines = [json.dumps(row, ensure_ascii=False) for row in one.knowledge]
        source.write_text("\n".join(lines), encoding="utf-8")
        async with Database(f"sqlite:///{folder / 'fit.sqlite3'}") as database:
            await database.upgrade()
            store = KnowledgeStore(database)
            intakes = {"fit": Intake((str(source),))}
            async with Knowledge(intakes, store, embedder, folder) as knowledge:
                await knowledge.load()
                found = [await knowledge.search(question.text) for question in one.questions]
    signals = [found_one.evidence[one.kind] for found_one in found]
    evidence = {name: np.array([row[name] for row in signals]) for name in signals[0]}
    ranked = [[passage.document_id for passage in one.passages] for one in found]

    def right_within(depth: int) -> Floats:
        pairs = zip(one.questions, ranked, strict=True)
        return np.array([float(bool(asked.gold & set(ids[:depth]))) for asked, ids in pairs])

    right: dict[Target, Floats] = {"first": right_within(1), "one_of_three": right_within(3)}
    scope = np.array([question.scope for question in one.questions])
    return Rows(one.name, one.family, one.kind, evidence, scope, right)


def fit(sets: Sequence[Rows], kind: PassageKind, target: Target) -> dict[str, Any]:
    """A model in the form of confidence.json."""
    gates: dict[str, Any] = {"gate": None, "gate_foreign": None}
    if kind == "faq":
        for key, names, foreign in (("gate", GATE, False), ("gate_foreign", GATE_FOREIGN, True)):
            chosen = [one for one in sets if (one.evidence["foreign"].mean() > 0.5) == foreign]
            gates[key] = _gate(chosen or sets, names)
    plain = [one for one in sets if not _is_adversarial(one)]
    if written := [one for one in sets if _is_adversarial(one)]:
        right = [one.right[target] for one in written]
        gates["gate"] = _logistic(written, ANSWERED, right, 1e-3)
    match = _logistic(plain, MATCH[kind], [one.right[target] for one in plain], 1e-3)
    data = {**gates, "match": match, "curve": [1.0, 1.0, 0.0]}
    data["curve"] = _curve(data, plain, target)
    return data


def probabilities(data: Mapping[str, Any], rows: Rows) -> Floats:
    """What a model says of every question of a set."""
    model = Model.read(data)
    names = list(rows.evidence)
    values = rows.columns(names).tolist()
    return np.array([model.probability(dict(zip(names, row, strict=True))) for row in values])


def thresholds(said: Mapping[str, Floats], sets: Sequence[Rows]) -> list[list[float]]:
    """For each position of the dial, the least probability that kept to it.

    Questions are mixed as customers' are taken to be, and families count equally; in no family
    more than twice as many are wrong as the dial allows, and of the least sure answers no more
    than three times as many should be: elsewhere most answers may be among those.
    """

    def least(some: Sequence[Rows], slack: float) -> tuple[tuple[float, float], ...]:
        p = np.concatenate([said[one.name] for one in some])
        right = np.concatenate([one.right["first"] for one in some])
        return fit_thresholds(p, right, np.concatenate(_traffic(some)), prior=0.0, slack=slack)

    families = {one.family for one in sets}
    found = [least(sets, 1.0)]
    found += [least([one for one in sets if one.family == family], 2.0) for family in families]
    return [
        [one[0][0], round(max(*(least for _, least in one), 1 - _LEAST_SURE * one[0][0] / 100), 4)]
        for one in zip(*found, strict=True)
    ]


def _traffic(sets: Sequence[Rows]) -> list[Floats]:
    sizes = _family_size(sets)
    share = OUT_OF_SCOPE_PERCENT / 100
    return [traffic(one.scope, share) / sizes[one.family] for one in sets]


def _gate(sets: Sequence[Rows], names: Sequence[str]) -> dict[str, Any]:
    about = [(one.scope != "far").astype(float) for one in sets]
    weights = []
    for one, y in zip(sets, about, strict=True):
        weight = np.where(y == 1, 0.5 / max(y.sum(), 1), 0.5 / max((1 - y).sum(), 1))
        weights.append(weight / _family_size(sets)[one.family])
    return _logistic(sets, names, about, 1e-4, weights)


def _is_adversarial(one: Rows) -> bool:
    return one.name in _ADVERSARIAL or one.name.endswith(ADVERSARIAL)


def _family_size(sets: Sequence[Rows]) -> dict[str, int]:
    sizes: defaultdict[str, int] = defaultdict(int)
    for one in sets:
        sizes[one.family] += 1
    return sizes


def _weights(sets: Sequence[Rows]) -> list[Floats]:
    sizes = _family_size(sets)
    return [one.weight / sizes[one.family] for one in sets]


def _logistic(
    sets: Sequence[Rows],
    names: Sequence[str],
    labels: Sequence[Floats],
    ridge: float,
    weights: Sequence[Floats] | None = None,
) -> dict[str, Any]:
    """Weighted logistic regression on standardised, clipped signals, by Newton's method."""
    x = np.concatenate([one.columns(names) for one in sets])
    y, w = np.concatenate(labels), np.concatenate(weights or _weights(sets))
    w = w / w.sum()
    mean = w @ x
    # A signal that hardly differs says nothing, and is not divided by nothing.
    scale = np.maximum(np.sqrt(w @ (x - mean) ** 2), 1e-3)
    z = np.clip((x - mean) / scale, -4, 4)
    found = newton(z, y, w, ridge)
    signals = {
        name: [round(float(value), 5) for value in (found[at], mean[at], scale[at])]
        for at, name in enumerate(names)
    }
    return {"bias": round(float(found[-1]), 5), "signals": signals}


def newton(z: Floats, y: Floats, w: Floats, ridge: float) -> Floats:
    """The weights of a logistic regression, and behind them its bias, which is not held back."""
    z = np.concatenate([z, np.ones((len(z), 1))], axis=1)
    penalty = np.full(z.shape[1], ridge)
    penalty[-1] = 0
    found = np.zeros(z.shape[1])
    for _ in range(60):
        p = 1 / (1 + np.exp(-z @ found))
        curvature = (z * (w * p * (1 - p))[:, None]).T @ z + np.diag(penalty + 1e-9)
        step = np.linalg.solve(curvature, z.T @ (w * (p - y)) + penalty * found)
        found -= step
        if np.abs(step).max() < 1e-6:
            break
    return found


def _curve(data: Mapping[str, Any], sets: Sequence[Rows], target: Target) -> list[float]:
    p = np.concatenate([probabilities(data, one) for one in sets])
    right = np.concatenate([one.right[target] for one in sets])
    weight = np.concatenate(_traffic(sets))
    found = fit_curve(p, right, weight * len(weight) / weight.sum(), _CURVE_SPREAD)
    return [found.high, found.low, found.shift]


async def main() -> None:
    """Fit, print what was measured, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("kfbot/confidence.json"))
    parser.add_argument("--cache", type=Path, default=Path("var/models"))
    parser.add_argument("--table", type=Path, help="write what was measured, as Markdown")
    parser.add_argument("--again", action="store_true", help="fit the evidence of the last run")
    arguments = parser.parse_args()
    embedder = RememberingEmbedder(open_embedder("bundled", arguments.cache), arguments.cache)
    rows = arguments.cache / "rows.pickle"
    if arguments.again:
        sets: list[Rows] = pickle.loads(rows.read_bytes())  # noqa: S301  # our own file
    else:
        sets = await _collect_all(arguments.data, embedder)
        await asyncio.to_thread(rows.write_bytes, pickle.dumps(sets))
    kinds, tables = {}, []
    for kind in MATCH:
        kinds[kind], lines = _fit_kind([one for one in sets if one.kind == kind], kind)
        tables.append(lines)
    print("\n".join(tables))  # noqa: T201
    found = {
        "fitted_by": "python -m knowledge.fit_confidence",
        "embedding": embedder.key,
        "sources": sorted({one.name for one in sets}),
        "clarify_from": _CLARIFY_FROM,
        "kinds": kinds,
    }
    text = json.dumps(found, indent=1, ensure_ascii=False)
    await asyncio.to_thread(arguments.out.write_text, text + "\n", encoding="utf-8")
    if arguments.table:
        await asyncio.to_thread(arguments.table.write_text, "\n".join(tables), encoding="utf-8")


async def _collect_all(data: Path, embedder: RememberingEmbedder) -> list[Rows]:
    sets = []
    for one in training_sets(data):
        sets.append(await collect(one, embedder))
        print(f"{one.name}: {len(one.questions)} questions", flush=True)  # noqa: T201
        embedder.save()
    return sets


def _fit_kind(sets: Sequence[Rows], kind: PassageKind) -> tuple[dict[str, Any], str]:
    """What is fitted for a kind, and a table of what it does on sets that it has not seen."""
    said: dict[str, Floats] = {}
    for family in sorted({one.family for one in sets}):
        others = fit([one for one in sets if one.family != family], kind, "first")
        said |= {one.name: probabilities(others, one) for one in sets if one.family == family}
    # Thresholds hold for knowledge that the fit has not seen, but for questions that were
    # written to fool a reader: no threshold on these signals stops them (AUROC 0.7).
    fair = [one for one in sets if not _is_adversarial(one)]
    unseen = {
        family: thresholds(said, [one for one in fair if one.family != family])
        for family in {one.family for one in sets}
    }
    fitted: dict[str, Any] = {
        "first": fit(sets, kind, "first"),
        "one_of_three": fit(sets, kind, "one_of_three"),
        "thresholds": thresholds(said, fair),
    }
    return fitted, table(sets, said, {one.name: unseen[one.family] for one in sets})


if __name__ == "__main__":
    asyncio.run(main())
