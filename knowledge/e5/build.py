"""The child process that writes the graph: `python -m knowledge.e5.build OUT [int8|float32]`.

A process of its own, so that `onnx` and the build's memory never enter the server.
"""

from __future__ import annotations

import sys
from pathlib import Path

from kfbot.errors import KnowledgeBaseUnavailable
from knowledge.e5.graph import write_graph
from knowledge.e5.precision import Precision
from knowledge.e5.weights import WeightsFile, find_weights


def main(arguments: list[str]) -> int:
    """Write the graph to the named file; on failure one line to stderr and exit code 1."""
    out = Path(arguments[0])
    precision = Precision(arguments[1]) if len(arguments) > 1 else Precision.INT8
    try:
        write_graph(WeightsFile(find_weights()), precision, out)
    except (KnowledgeBaseUnavailable, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
