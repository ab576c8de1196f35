"""Does a question lean on earlier ones? `python -m knowledge.fit_follow_up DATA [--cache DIR]`.

DATA is the folder of public question sets. Turns that follow others are set against questions
that stand alone, each asked by itself of the knowledge base of its set; what it prints belongs
into `kfbot.understanding.follow_up`. Sets count equally, and so do both sides of each. Beside it
stands, for every set, how well a fit without it tells the two sides apart.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kfbot.knowledge_base import Retrieval
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.engine import Database
from kfbot.understanding.follow_up import leans
from knowledge.calibration.curves import Floats
from knowledge.calibration.left_out import auroc
from knowledge.embedding import open_embedder
from knowledge.fit_confidence import RememberingEmbedder, newton
from knowledge.intake import Intake
from knowledge.load import Knowledge
from knowledge.training_sets import Row, rows_of

SIGNALS = ("points back", "length", "unknown")
#: Questions of each side that are asked, at most.
_ASKED = 600


@dataclass(frozen=True, slots=True)
class Conversations:
    """A knowledge base, turns that follow others in it, and questions that stand alone."""

    name: str
    knowledge: Path
    following: Sequence[str]
    alone: Sequence[str]


def conversations(data: Path) -> list[Conversations]:
    """The sets that the folder of public data gives."""
    cast, kdconv, dstc = (
        data / f"multiturn_{name}" for name in ("en_cast2021", "zh_kdconv_travel", "en_dstc11")
    )
    banking = data / "faq_en_banking77"
    strangers = [row["text"] for row in rows_of(banking / "queries.jsonl")[:_ASKED]]
    chinese = [
        row["text"] for row in rows_of(data / "crosslingual_xquad/questions_zh.jsonl")[:_ASKED]
    ]
    turns = {folder: rows_of(folder / "turns.jsonl") for folder in (cast, kdconv, dstc)}
    whole = [row["rewritten_manual"] for row in turns[cast]]
    named = [row["question"] for row in turns[kdconv] if not row["needs_history"]]
    return [
        Conversations("cast", cast / "passages.jsonl", _following(turns[cast]), whole),
        Conversations(
            "kdconv", kdconv / "docs.jsonl",
            _following([row for row in turns[kdconv] if row["needs_history"]]),
            [*named, *chinese],
        ),
        Conversations("dstc", dstc / "kb.jsonl", _following(turns[dstc]), strangers),
        Conversations("banking", banking / "kb_10shot.jsonl", (), strangers),
    ]  # fmt: skip


def _following(turns: Sequence[Row]) -> list[str]:
    return [row["question"] for row in turns if row["history"] and row["gold_ids"]]


async def signals(one: Conversations, embedder: RememberingEmbedder) -> tuple[Floats, Floats]:
    """Of each question of a set its signals, and whether it follows others."""
    asked = [*one.following[:_ASKED], *one.alone[:_ASKED]]
    follows = np.array([1.0] * len(one.following[:_ASKED]) + [0.0] * len(one.alone[:_ASKED]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with Database(f"sqlite:///{folder / 'fit.sqlite3'}") as database:
            await database.upgrade()
            intakes = {"fit": Intake((str(one.knowledge),))}
            async with Knowledge(intakes, KnowledgeStore(database), embedder, folder) as knowledge:
                await knowledge.load()
                found = [await knowledge.search(question) for question in asked]
    embedder.save()
    rows = [_signals(question, one) for question, one in zip(asked, found, strict=True)]
    return np.array(rows), follows


def _signals(question: str, found: Retrieval) -> tuple[float, float, float]:
    evidence = found.evidence[found.passages[0].kind]
    return float(leans(question)), evidence["length"], evidence["unknown"]


def fit(sets: Sequence[tuple[Floats, Floats]]) -> Floats:
    """The weight of each signal, and the bias."""
    weights = [
        np.where(follows == 1, 1 / max(follows.sum(), 1), 1 / max((1 - follows).sum(), 1))
        for _, follows in sets
    ]
    x, y, w = (np.concatenate(parts) for parts in (*zip(*sets, strict=True), weights))
    return newton(x, y, w / w.sum(), 1e-3)


async def main() -> None:
    """Fit, and print the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("var/models"))
    arguments = parser.parse_args()
    embedder = RememberingEmbedder(open_embedder("bundled", arguments.cache), arguments.cache)
    sets = {one.name: await signals(one, embedder) for one in conversations(arguments.data)}
    for name, (x, follows) in sets.items():
        others = fit([each for other, each in sets.items() if other != name])
        if 0 < follows.sum() < len(follows):
            told = auroc(x @ others[:-1] + others[-1], follows == 1)
            print(f"{name}: AUROC {told:.3f} by a fit of the others")  # noqa: T201
    *found, bias = fit(list(sets.values()))
    said = {name: round(float(weight), 2) for name, weight in zip(SIGNALS, found, strict=True)}
    print(json.dumps({"bias": round(float(bias), 2), **said}))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
