"""Weights to ONNX: the twelve layers as a graph of fused operators, without torch.

Input `words` (1, tokens, 384): word embeddings of one text. Output `embedding` (1, 384).
One text at a time, because on a CPU it is faster than a padded batch (measured: 1.6 times
for 16 passages), needs no mask, and makes a text's vector independent of its neighbours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from knowledge.e5.precision import Precision
from knowledge.e5.weights import BLOCK, HEADS, HIDDEN, INNER, LAYERS, WeightsFile

_FUSED = "com.microsoft"
_EPSILON = 1e-12
#: onnxruntime's accuracy level 4: activations as int8, one scale for each block of a row.
_INT8_ACTIVATIONS = 4


def write_graph(weights: WeightsFile, precision: Precision, path: Path) -> None:
    """Write the model's graph to a file (14 MB, or 86 MB as float32)."""
    onnx.save(_GraphBuilder(weights, precision).build(), str(path))


class _GraphBuilder:
    def __init__(self, weights: WeightsFile, precision: Precision) -> None:
        self._weights = weights
        self._precision = precision
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def build(self) -> onnx.ModelProto:
        state = self._embeddings()
        for layer in range(LAYERS):
            state = self._layer(f"l{layer}.", state)
        self._pool(state)
        graph = helper.make_graph(
            self._nodes,
            "multilingual-e5-small",
            [helper.make_tensor_value_info("words", TensorProto.FLOAT, [1, "tokens", HIDDEN])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, HIDDEN])],
            self._constants,
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(_FUSED, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _add(self, operator: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        node = helper.make_node(operator, inputs, list(outputs), **attributes)
        self._nodes.append(node)
        return outputs[0]

    def _embeddings(self) -> str:
        token_type = self._weights.floats("emb.type")[:HIDDEN]
        positions = self._weights.floats("emb.pos").reshape(-1, HIDDEN) + token_type
        self._constant("positions", positions)
        self._constant("zero", np.array([0]))
        self._add("Shape", ["words"], "tokens", start=1, end=2)
        self._add("Slice", ["positions", "zero", "tokens", "zero"], "position")
        self._add("Add", ["words", "position"], "placed")
        norm = self._norm("emb.ln")
        return self._add(
            "LayerNormalization", ["placed", *norm], "state", axis=-1, epsilon=_EPSILON
        )

    def _norm(self, name: str) -> list[str]:
        return [
            self._constant(name + part, self._weights.floats(name + part)) for part in (".w", ".b")
        ]

    def _layer(self, layer: str, state: str) -> str:
        parts = [layer + part for part in ("q", "k", "v")]
        joined = self._linear(state, parts, HIDDEN, HIDDEN)
        self._add("Split", [joined], *(part + ".split" for part in parts), axis=-1)
        attended = self._add(
            "MultiHeadAttention",
            [part + ".split" for part in parts],
            layer + "attended",
            domain=_FUSED,
            num_heads=HEADS,
        )
        mixed = self._linear(attended, [layer + "ao"], HIDDEN, HIDDEN)
        middle = self._add_and_norm(mixed, state, layer + "aln")
        inner = self._linear(middle, [layer + "fi"], HIDDEN, INNER)
        active = self._add("Gelu", [inner], layer + "active", domain=_FUSED)
        outer = self._linear(active, [layer + "fo"], INNER, HIDDEN)
        return self._add_and_norm(outer, middle, layer + "oln")

    def _add_and_norm(self, change: str, state: str, name: str) -> str:
        inputs = [change, state, *self._norm(name)]
        return self._add(
            "SkipLayerNormalization", inputs, name + ".state", domain=_FUSED, epsilon=_EPSILON
        )

    def _linear(self, state: str, names: list[str], inputs: int, outputs: int) -> str:
        """One product for all the named matrices, side by side."""
        stored = [self._weights.quantised(name + ".w", inputs) for name in names]
        values = np.concatenate([value for value, _ in stored])
        scales = np.concatenate([scale for _, scale in stored])
        bias = np.concatenate([self._weights.floats(name + ".b") for name in names])
        name = names[0]
        bias_name = self._constant(name + ".bias", bias)
        if self._precision is Precision.FLOAT32:
            matrix = (values.astype(np.float32) - 8) * np.repeat(scales, BLOCK, axis=1)
            product = [state, self._constant(name + ".matrix", matrix.T)]
            self._add("MatMul", product, name + ".product")
            return self._add("Add", [name + ".product", bias_name], name + ".out")
        packed = (values[:, 0::2] | (values[:, 1::2] << 4)).reshape(len(values), -1, BLOCK // 2)
        constants = [
            self._constant(name + ".packed", packed),
            self._constant(name + ".scales", scales.reshape(-1)),
        ]
        return self._add(
            "MatMulNBits",
            [state, *constants, "", "", bias_name],
            name + ".out",
            domain=_FUSED,
            K=inputs,
            N=outputs * len(names),
            bits=4,
            block_size=BLOCK,
            accuracy_level=_INT8_ACTIVATIONS,
        )

    def _pool(self, state: str) -> None:
        self._add("ReduceMean", [state], "mean", axes=[1], keepdims=0)
        self._add("LpNormalization", ["mean"], "embedding", axis=-1, p=2)
