"""Any cross-encoder as reranker: tiny ones of random weights, made here and saved."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from kfbot.errors import KnowledgeBaseUnavailable
from knowledge.reranking import Reranker, open_reranker

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow

WORDS = ["how", "do", "i", "return", "an", "item", "refund", "parcel", *"退货运费多少?"]
TEXTS = ["return an item", "refund", "退货", "", "parcel " * 1000]


def make_model(folder: Path, *, labels: int = 1, head: bool = True, seed: int = 0) -> Path:
    """Save a BERT of random weights, as a cross-encoder or without a head."""
    folder.mkdir(parents=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *WORDS]) + "\n", encoding="utf-8")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(special) + len(WORDS), hidden_size=32, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=64, max_position_embeddings=128,
        num_labels=labels, initializer_range=0.5,
    )  # fmt: skip
    kind = transformers.BertForSequenceClassification if head else transformers.BertModel
    kind(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


def score(reranker: Reranker, question: str, texts: list[str]) -> list[float]:
    return asyncio.run(reranker.score(question, texts))


def test_a_score_is_the_models_logit_for_question_and_text(folder: Path) -> None:
    reranker = open_reranker(str(folder))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        pair = tokenizer("how do i return", "refund", return_tensors="pt")
        expected = model(**pair).logits.item()
    [found] = score(reranker, "how do i return", ["refund"])
    assert found == pytest.approx(expected, abs=1e-4)
    assert score(reranker, "refund", ["how do i return"]) != [found]


def test_a_score_does_not_depend_on_the_other_texts(folder: Path) -> None:
    reranker = open_reranker(str(folder))
    # More than one batch; the last text is longer than the model reads.
    together = score(reranker, "how do i return", TEXTS * 5)
    alone = [score(reranker, "how do i return", [text])[0] for text in TEXTS]
    assert together == pytest.approx(alone * 5, abs=1e-4)


def test_a_question_longer_than_the_model_reads_is_cut(folder: Path) -> None:
    assert len(score(open_reranker(str(folder)), "refund " * 2000, TEXTS)) == len(TEXTS)


def test_of_two_classes_it_counts_how_much_likelier_the_second_is(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "two", labels=2)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        logits = model(**tokenizer("refund", "parcel", return_tensors="pt")).logits[0]
    found = score(open_reranker(str(folder)), "refund", ["parcel"])
    assert found == pytest.approx([(logits[1] - logits[0]).item()], abs=1e-4)


@pytest.mark.parametrize("options", [{"head": False}, {"labels": 3}])
def test_a_model_that_was_not_made_to_score_pairs_is_refused(
    tmp_path: Path, options: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_model(tmp_path / "other", **options)  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR), pytest.raises(KnowledgeBaseUnavailable) as caught:
        open_reranker(str(folder))
    assert "is no reranker: name a cross-encoder with one score" in str(caught.value)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeBaseUnavailable, match=r"cannot be loaded"):
        open_reranker(str(tmp_path))


def test_its_key_changes_with_the_weights_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    key = open_reranker(str(folder)).key
    assert key.startswith("tiny@")
    assert open_reranker(str(folder)).key == key
    assert open_reranker(str(make_model(tmp_path / "tiny", seed=1))).key != key
