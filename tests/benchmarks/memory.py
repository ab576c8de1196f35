"""What a process takes that serves many passages: `memory.py FOLDER MODEL_CACHE PASSAGES`.

Prints a JSON object: rss_mb, load_seconds, and the search_ms of each question. Passages get random
vectors, which weigh as much as real ones; the model is loaded and asked.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from kfbot.answer import Answering, answer_question
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.engine import Database
from knowledge.embedding import Embedder, open_embedder
from knowledge.intake import Intake
from knowledge.load import Knowledge

WORDS = [f"word{number}" for number in range(5000)]
#: Passages in a file, and questions.
FILE, QUESTIONS = 10_000, 100


class QuickEmbedder:
    """The real model for questions, random vectors for passages."""

    def __init__(self, embedder: Embedder) -> None:
        self.key, self.dimensions = embedder.key, embedder.dimensions
        self.embed_queries = embedder.embed_queries
        self._chance = np.random.default_rng(0)

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        made = self._chance.standard_normal((len(texts), self.dimensions)).astype(np.float32)
        return made / np.linalg.norm(made, axis=1, keepdims=True)


def write(folder: Path, count: int) -> None:
    chance = random.Random(0)
    for begin in range(0, count, FILE):
        rows = (
            {"id": str(number), "title": "T", "text": " ".join(chance.choices(WORDS, k=110))}
            for number in range(begin, min(begin + FILE, count))
        )
        file = folder / f"{begin}.jsonl"
        file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


async def main(folder: Path, cache: Path, count: int) -> None:
    source = folder / "passages"
    source.mkdir()
    write(source, count)
    embedder = QuickEmbedder(open_embedder("bundled", cache))
    async with Database(f"sqlite:///{folder / 'memory.sqlite3'}") as database:
        await database.upgrade()
        store = KnowledgeStore(database)
        intakes = {"k": Intake((str(source),))}
        async with Knowledge(intakes, store, embedder, folder) as knowledge:
            began = time.perf_counter()
            await knowledge.load()
            load_seconds = time.perf_counter() - began
        # What serves is a process that has not loaded.
        async with Knowledge(intakes, store, embedder, folder) as knowledge:
            search_ms = []
            for number in range(QUESTIONS):
                asked = f"where is word{number} and word{number + 1}?"
                turn = await answer_question(asked, Answering(knowledge))
                search_ms.append(turn.timings_ms["search"] + turn.timings_ms["rank"])
    rss_mb = psutil.Process().memory_info().rss / 1e6
    print(json.dumps({"rss_mb": rss_mb, "load_seconds": load_seconds, "search_ms": search_ms}))


asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
