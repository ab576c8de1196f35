"""Several processes that prepare the bundled embedding model at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
OPEN = """
import sys
from pathlib import Path
from knowledge.embedding import open_embedder
embedder = open_embedder("bundled", Path(sys.argv[1]), report=lambda message: print("built"))
print(embedder.embed_queries(["x"]).tobytes().hex())
"""


@pytest.mark.slow
def test_two_processes_at_once_build_one_graph(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN, str(tmp_path)]
    running = [
        subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0].split() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert sorted(len(output) for output in outputs) == [1, 2]  # one of them built it
    assert outputs[0][-1] == outputs[1][-1]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".lock", ".onnx"]
