"""Any Hugging Face encoder as embedding model: a tiny random one, made here and saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kfbot.errors import KnowledgeBaseUnavailable
from knowledge.embedding import Embedder, open_embedder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow

DIMENSIONS = 32
WORDS = [
    "how", "do", "i", "return", "an", "item", "when", "will", "my", "refund", "arrive", "query",
    "passage", *"退货运费多少:?",
]  # fmt: skip
TEXTS = [
    "how do i return an item",
    "refund",
    "退货",
    "运费多少?",
    "",
    "unknownword " * 3,
    "how do i return an item " * 200,
]


def make_model(folder: Path, *, seed: int = 0) -> Path:
    """Save a BERT of random weights with a WordPiece tokenizer."""
    folder.mkdir(parents=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *WORDS]) + "\n", encoding="utf-8")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(special) + len(WORDS), hidden_size=DIMENSIONS, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=64, max_position_embeddings=512,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture(scope="module")
def embedder(folder: Path) -> Embedder:
    return open_embedder(str(folder), folder / "cache")


def test_vectors_have_the_shape_of_the_model_and_length_one(embedder: Embedder) -> None:
    assert embedder.dimensions == DIMENSIONS
    for vectors in (embedder.embed_queries(TEXTS), embedder.embed_passages(TEXTS)):
        assert vectors.shape == (len(TEXTS), DIMENSIONS)
        assert vectors.dtype == np.float32
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_no_texts_are_no_vectors(embedder: Embedder) -> None:
    assert embedder.embed_queries([]).shape == (0, DIMENSIONS)


def test_the_same_text_has_the_same_vector(embedder: Embedder) -> None:
    [one] = embedder.embed_queries(["refund"])
    assert np.array_equal(embedder.embed_queries(["refund"])[0], one)
    # Inside a batch the order of additions may differ.
    for vector in embedder.embed_queries(["refund", "refund"]):
        assert vector == pytest.approx(one, abs=1e-5)


def test_a_vector_does_not_depend_on_the_others_of_its_batch(embedder: Embedder) -> None:
    # More than one batch, of very different lengths, in mixed order.
    texts = TEXTS * 10
    together = embedder.embed_passages(texts)
    alone = np.concatenate([embedder.embed_passages([text]) for text in TEXTS])
    for row, vector in enumerate(together):
        assert vector == pytest.approx(alone[row % len(TEXTS)], abs=1e-4)


def test_different_texts_have_different_vectors(embedder: Embedder) -> None:
    vectors = embedder.embed_queries(["refund", "退货", "运费多少?"])
    assert all(
        np.abs(vectors[one] - vectors[other]).max() > 1e-3 for one, other in ((0, 1), (1, 2))
    )


def test_only_the_e5_family_marks_questions_and_passages(
    embedder: Embedder, tmp_path: Path
) -> None:
    text = ["refund"]
    assert np.array_equal(embedder.embed_queries(text), embedder.embed_passages(text))
    e5 = open_embedder(str(make_model(tmp_path / "tiny-e5")), tmp_path)
    marked = e5.embed_queries(text)
    assert marked == pytest.approx(embedder.embed_queries(["query: refund"]), abs=1e-5)
    assert e5.embed_passages(text) == pytest.approx(
        embedder.embed_queries(["passage: refund"]), abs=1e-5
    )


def test_the_key_changes_with_the_weights_and_nothing_else(
    embedder: Embedder, folder: Path, tmp_path: Path
) -> None:
    assert open_embedder(str(folder), tmp_path).key == embedder.key
    assert embedder.key.startswith("tiny-bert@")
    other = make_model(tmp_path / "tiny-bert", seed=1)
    assert open_embedder(str(other), tmp_path).key != embedder.key


@pytest.mark.parametrize("content", ["", "{}", "no json"])
def test_a_folder_without_a_model_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "empty").mkdir()
    if content:
        (tmp_path / "empty" / "config.json").write_text(content)
    with pytest.raises(KnowledgeBaseUnavailable, match=r"empty cannot be loaded"):
        open_embedder(str(tmp_path / "empty"), tmp_path)


def test_a_person_is_told_that_it_takes_a_while(folder: Path) -> None:
    told: list[str] = []
    open_embedder(str(folder), folder, report=told.append)
    assert told == [f"Loading the embedding model {folder}…"]
