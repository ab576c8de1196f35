"""Vectors that every machine must reproduce: the carried model's, computed in float32.

`python -m knowledge.e5.golden FLOAT32_GRAPH` writes golden.json anew after a change of builder.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: Below it, similarities would shift by more than the gap between related and unrelated texts.
LOWEST_COSINE = 0.995

_FILE = Path(__file__).with_name("golden.json")


def lowest_cosine(embed: Callable[[str], NDArray[np.float32]]) -> float:
    """Compare an engine with the stored vectors; return its worst cosine (NaN counts as -1)."""
    stored = json.loads(_FILE.read_text(encoding="utf-8"))
    cosines = []
    for text, encoded in stored.items():
        vector = np.frombuffer(base64.b64decode(encoded), dtype="<f2").astype(np.float32)
        cosines.append(float(embed(text) @ vector / np.linalg.norm(vector)))
    return min(-1.0 if np.isnan(cosine) else cosine for cosine in cosines)


def _rewrite(graph: Path) -> None:
    from knowledge.e5.embedder import E5Embedder

    embedder = E5Embedder.open_graph(graph)
    stored = {}
    for text in json.loads(_FILE.read_text(encoding="utf-8")):
        half = embedder.embed_marked(text).astype("<f2").tobytes()
        stored[text] = base64.b64encode(half).decode()
    _FILE.write_text(json.dumps(stored, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _rewrite(Path(sys.argv[1]))
