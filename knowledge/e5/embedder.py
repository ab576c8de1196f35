"""Texts to vectors with the bundled model."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as onnxruntime_errors

from kfbot.errors import KnowledgeBaseUnavailable
from knowledge.e5.cache import WEIGHTS_KEY, GraphCache
from knowledge.e5.golden import LOWEST_COSINE, lowest_cosine
from knowledge.e5.precision import Precision
from knowledge.e5.tokenizer import Tokenizer
from knowledge.e5.weights import HIDDEN, WeightsFile, find_weights

logger = logging.getLogger(__name__)

_MAX_THREADS = 2
_GRAPH_ERRORS = (
    onnxruntime_errors.Fail,
    onnxruntime_errors.InvalidArgument,
    onnxruntime_errors.InvalidGraph,
    onnxruntime_errors.InvalidProtobuf,
    onnxruntime_errors.NoSuchFile,
    onnxruntime_errors.NotImplemented,
    onnxruntime_errors.RuntimeException,
)


class E5Embedder:
    """multilingual-e5-small; thread-safe, deterministic, 384 dimensions.

    A text's vector does not depend on the texts embedded with it. Texts are cut at 512 tokens.
    """

    key = f"multilingual-e5-small-{WEIGHTS_KEY}"
    dimensions = HIDDEN

    def __init__(
        self,
        weights: WeightsFile,
        tokenizer: Tokenizer,
        session: onnxruntime.InferenceSession,
    ) -> None:
        self._weights = weights
        self._tokenizer = tokenizer
        self._session = session

    @classmethod
    def open(cls, cache_dir: Path, report: Callable[[str], None]) -> E5Embedder:
        """Open the model, built first if this machine has not done so.

        Raises:
            KnowledgeBaseUnavailable: The weights are missing, or no engine computes them rightly.
        """
        weights = WeightsFile(find_weights())
        tokenizer = Tokenizer(weights.vocabulary())
        cache = GraphCache(cache_dir, report)
        for precision in Precision:
            for provide in (cache.prepare, cache.rebuild):
                session = _open_session(provide(precision))
                if session is None:
                    continue
                embedder = cls(weights, tokenizer, session)
                if embedder._is_right():
                    return embedder
            logger.warning(
                "The embedding model is wrong in this precision on this machine",
                extra={"event": "embedding_precision_failed", "precision": str(precision)},
            )
        raise KnowledgeBaseUnavailable(
            "The bundled embedding model computes wrong vectors on this machine: "
            "set `[embedding] model = PATH | NAME | URL` to use another model."
        )

    @classmethod
    def open_graph(cls, graph: Path) -> E5Embedder:
        """Open one graph as it is, unchecked; for making the golden vectors and for tests."""
        weights = WeightsFile(find_weights())
        session = onnxruntime.InferenceSession(str(graph), _session_options())
        return cls(weights, Tokenizer(weights.vocabulary()), session)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of questions, one row each."""
        return self._embed_all(f"query: {text}" for text in texts)

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of passages, one row each."""
        return self._embed_all(f"passage: {text}" for text in texts)

    def embed_marked(self, text: str) -> NDArray[np.float32]:
        """Return the vector of one text that bears its prefix already."""
        ids = np.array(self._tokenizer.encode(text), dtype=np.int64)
        words = self._weights.word_rows(ids)[np.newaxis]
        (vectors,) = self._session.run(["embedding"], {"words": words})
        return np.asarray(vectors[0], dtype=np.float32)

    def _embed_all(self, marked: Iterable[str]) -> NDArray[np.float32]:
        rows = [self.embed_marked(text) for text in marked]
        return np.stack(rows) if rows else np.empty((0, self.dimensions), np.float32)

    def _is_right(self) -> bool:
        # At every start: it takes 30 ms, and also finds a damaged file or another CPU.
        try:
            return lowest_cosine(self.embed_marked) >= LOWEST_COSINE
        except _GRAPH_ERRORS:
            return False


def _open_session(graph: Path) -> onnxruntime.InferenceSession | None:
    try:
        return onnxruntime.InferenceSession(
            str(graph), _session_options(), providers=["CPUExecutionProvider"]
        )
    except _GRAPH_ERRORS as error:
        logger.warning(
            "The cached embedding model cannot be opened",
            extra={"event": "embedding_graph_unreadable", "reason": type(error).__name__},
        )
        return None


def _session_options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = min(_MAX_THREADS, os.cpu_count() or 1)
    options.inter_op_num_threads = 1
    # Spinning threads save 2 ms a question and double its CPU time: the server needs the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options
