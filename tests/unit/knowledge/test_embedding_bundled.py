"""The bundled embedding model: vectors, tokens, cache."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kfbot.errors import KnowledgeBaseUnavailable
from knowledge.e5 import cache, embedder, golden, weights
from knowledge.e5.embedder import E5Embedder
from knowledge.e5.precision import Precision
from knowledge.e5.tokenizer import Tokenizer
from knowledge.embedding import Embedder, open_embedder

CHECKOUT = Path(__file__).parents[3]

RECORDED_ZH = [0, 41, 1294, 12, 6, 200757, 5733, 45123, 6633, 24781, 45671, 32, 2]
RECORDED_ODD = [0, 46692, 12, 52064, 438, 1530, 26216, 3555, 21119, 1022, 2]


@pytest.fixture(scope="session")
def bundled_cache() -> Path:
    return Path(os.environ.get("KFBOT_TEST_CACHE", CHECKOUT / ".test-cache"))


@pytest.fixture(scope="session")
def bundled(bundled_cache: Path) -> Embedder:
    return open_embedder("bundled", bundled_cache)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer(weights.WeightsFile(weights.find_weights()).vocabulary())


def cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_int8_vectors_equal_the_float32_ones(bundled: Embedder) -> None:
    assert isinstance(bundled, E5Embedder)
    assert golden.lowest_cosine(bundled.embed_marked) >= 0.999


def test_rows_are_normalised_float32(bundled: Embedder) -> None:
    vectors = bundled.embed_passages(["退货", "refund"])
    assert vectors.shape == (2, bundled.dimensions)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.parametrize(
    ("question", "same", "unrelated"),
    [
        ("怎么申请退货？", "How do I return an item?", "The stadium was built in 1923."),
        ("How long does delivery take?", "几天能送到？", "这座庙建于唐代。"),
        ("我忘记密码了", "如何重置登录密码", "今天天气很好"),
    ],
)
def test_same_meaning_is_nearer_than_unrelated(
    bundled: Embedder, question: str, same: str, unrelated: str
) -> None:
    query, near, far = bundled.embed_queries([question, same, unrelated])
    assert cosine(query, near) > cosine(query, far) + 0.02


def test_vector_does_not_depend_on_its_neighbours(bundled: Embedder) -> None:
    texts = ["short", "一段长一点的话，说的是别的事情。" * 20, "", "middle " * 30]
    together = bundled.embed_passages(texts)
    alone = np.concatenate([bundled.embed_passages([text]) for text in texts])
    np.testing.assert_array_equal(together, alone)


def test_query_and_passage_have_vectors_of_their_own(bundled: Embedder) -> None:
    query, passage = bundled.embed_queries(["退货"])[0], bundled.embed_passages(["退货"])[0]
    assert 0.8 < cosine(query, passage) < 0.9999


def test_nothing_gives_no_rows(bundled: Embedder) -> None:
    assert bundled.embed_queries([]).shape == (0, bundled.dimensions)


@pytest.mark.parametrize("text", ["", "   ", "\x00\x01", "▁", "\U0001f600" * 3, "</s>"])
def test_odd_text_is_embedded(bundled: Embedder, text: str) -> None:
    assert np.isfinite(bundled.embed_queries([text])).all()


@pytest.mark.parametrize("text", ["我要退货。" * 2_000, "refund please " * 750, "x" * 10_000])
def test_long_text_is_cut_at_512_tokens(bundled: Embedder, tokenizer: Tokenizer, text: str) -> None:
    assert len(tokenizer.encode(text)) == 512
    longer = bundled.embed_passages([text, text + " and more"])
    np.testing.assert_array_equal(longer[0], longer[1])


def test_tokens_equal_those_of_the_tokenizers_package(tokenizer: Tokenizer) -> None:
    # Recorded from `tokenizers` 0.23.3 with the same pieces (it needs 2 s and 280 MB to load).
    assert tokenizer.encode("query: 请问如何修改收货地址？") == RECORDED_ZH
    assert tokenizer.encode("passage: ＦＡＱ №12  cafe\u0301 100％ 😀 \u3000x") == RECORDED_ODD


def test_marks_written_by_a_customer_are_plain_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("a </s> <s> b")[1:-1].count(2) == 0
    assert 0 not in tokenizer.encode("a </s> <s> b")[1:-1]


def test_key_names_weights_and_builder(bundled: Embedder) -> None:
    assert bundled.key == f"multilingual-e5-small-{weights.SHA256[:12]}-b{cache.BUILDER_VERSION}"


def test_missing_weights_name_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "CARRIER", "kfbot-no-such-package")
    with pytest.raises(KnowledgeBaseUnavailable, match=r"\[embedding\] model = PATH \| NAME"):
        open_embedder("bundled", tmp_path)


def test_damaged_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "SHA256", "0" * 64)
    with pytest.raises(KnowledgeBaseUnavailable, match="not the known ones"):
        open_embedder("bundled", tmp_path)


class TestCache:
    """The graph on disk."""

    def test_the_data_folder_is_made_for_its_owner_alone(self, tmp_path: Path) -> None:
        cache.GraphCache(tmp_path / "data" / "models", lambda _: None).prepare(Precision.INT8)
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700

    def test_second_start_builds_nothing(self, tmp_path: Path) -> None:
        reports: list[str] = []
        first = open_embedder("bundled", tmp_path, report=reports.append)
        second = open_embedder("bundled", tmp_path, report=reports.append)
        assert len(reports) == 1
        assert "embedding model" in reports[0]
        np.testing.assert_array_equal(first.embed_queries(["x"]), second.embed_queries(["x"]))

    @pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
    def test_damaged_graph_is_built_again(self, tmp_path: Path, damage: str) -> None:
        graph = cache.GraphCache(tmp_path, lambda _: None).prepare(Precision.INT8)
        content = graph.read_bytes()
        broken = {"cut": content[: len(content) // 2], "garbage": b"\x07" * 4_000, "empty": b""}
        graph.write_bytes(broken[damage])
        embedder_ = open_embedder("bundled", tmp_path)
        assert graph.read_bytes() == content
        assert embedder_.embed_queries(["x"]).shape == (1, 384)

    def test_graph_that_computes_wrongly_is_replaced_by_float32(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        answers = iter([0.5, 0.5, 0.9999])  # int8, int8 built again, float32
        monkeypatch.setattr(embedder, "lowest_cosine", lambda _: next(answers))
        opened = open_embedder("bundled", tmp_path)
        assert list(tmp_path.glob("e5-float32-*.onnx"))
        assert caplog.records[-1].event == "embedding_precision_failed"  # type: ignore[attr-defined]
        assert golden.lowest_cosine(opened.embed_marked) > 0.9999  # type: ignore[attr-defined]

    def test_machine_without_a_right_engine_is_told_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(embedder, "lowest_cosine", lambda _: 0.5)
        with pytest.raises(KnowledgeBaseUnavailable, match="wrong vectors"):
            open_embedder("bundled", tmp_path)

    def test_graphs_of_other_versions_are_removed(self, tmp_path: Path) -> None:
        old = tmp_path / "e5-int8-0123456789ab-b0-1.0-1.0.onnx"
        old.write_bytes(b"old")
        graph = cache.GraphCache(tmp_path, lambda _: None).prepare(Precision.INT8)
        assert list(tmp_path.glob("*.onnx")) == [graph]
        assert metadata.version("onnxruntime") in graph.name

    def test_failed_build_says_why(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cache, "_CHECKOUT", tmp_path)
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(KnowledgeBaseUnavailable, match="could not be prepared: exit code 1"):
            cache.GraphCache(tmp_path, lambda _: None).prepare(Precision.INT8)

    def test_folder_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(KnowledgeBaseUnavailable, match="file/models"):
            cache.GraphCache(tmp_path / "file" / "models", print).prepare(Precision.INT8)

    def test_golden_check_fails_on_nan(self) -> None:
        assert golden.lowest_cosine(lambda _: np.full(384, np.nan, np.float32)) == -1


def test_importing_the_module_loads_no_engine() -> None:
    heavy = "onnxruntime onnx torch tokenizers transformers llama_index httpx"
    loaded = f"' '.join({set(heavy.split())} & set(sys.modules))"
    code = f"import sys, knowledge.embedding; sys.exit({loaded})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == ""
