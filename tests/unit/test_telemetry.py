"""Libraries tell nobody what is done with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Opens a model, which ONNX Runtime would report.
OPENS = """
import sys
import knowledge.e5.embedder
import onnxruntime
onnxruntime.InferenceSession(sys.argv[1])
"""


def write_model(file: Path) -> None:
    from onnx import TensorProto, helper, save

    into, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", [into], [out])
    opset = helper.make_opsetid("", 17)
    save(helper.make_model(graph, opset_imports=[opset], ir_version=10), file)


@pytest.mark.slow
def test_onnx_runtime_keeps_no_record_to_be_sent(tmp_path: Path) -> None:
    write_model(tmp_path / "model.onnx")
    home = tmp_path / "home"
    home.mkdir()
    # It keeps silent by itself where CI is set; its record would lie in the home folder.
    unset = ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    subprocess.run(
        [sys.executable, "-c", OPENS, tmp_path / "model.onnx"],
        env=environment | {"HOME": str(home)},
        cwd=Path(__file__).resolve().parents[2],
        check=True,
        timeout=120,
    )
    assert list(home.rglob("*onnxruntime*")) == []
