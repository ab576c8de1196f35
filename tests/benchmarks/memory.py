"""Prints the RSS in MB of a process that serves 5,000 passages: `memory.py FOLDER MODEL_CACHE`.

Passages get random vectors, which weigh as much as real ones; the model is loaded and asked.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from kfbot.answer import answer_question
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.engine import Database
from knowledge.embedding import Embedder, open_embedder
from knowledge.load import Knowledge

WORDS = [f"word{number}" for number in range(5000)]


class QuickEmbedder:
    """The real model for questions, random vectors for passages."""

    def __init__(self, embedder: Embedder) -> None:
        self.key, self.dimensions = embedder.key, embedder.dimensions
        self.embed_queries = embedder.embed_queries
        self._chance = np.random.default_rng(0)

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        made = self._chance.standard_normal((len(texts), self.dimensions)).astype(np.float32)
        return made / np.linalg.norm(made, axis=1, keepdims=True)


async def main(folder: Path, cache: Path) -> None:
    chance = random.Random(0)
    rows = (
        {"id": str(number), "title": "T", "text": " ".join(chance.choices(WORDS, k=110))}
        for number in range(5000)
    )
    source = folder / "passages.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    embedder = QuickEmbedder(open_embedder("bundled", cache))
    async with Database(f"sqlite:///{folder / 'memory.sqlite3'}") as database:
        await database.upgrade()
        store = KnowledgeStore(database)
        async with Knowledge({"k": [str(source)]}, store, embedder, folder) as knowledge:
            await knowledge.load()
            for number in range(50):
                await answer_question(f"where is word{number} and word{number + 1}?", knowledge)
            print(psutil.Process().memory_info().rss / 1e6)


asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
