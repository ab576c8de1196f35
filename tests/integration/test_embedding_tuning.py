"""A tiny embedding model learns, on the CPU, and is kept only where it finds no worse."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.model.tuning.examples import Pair, TuningDataError, row_of
from kfbot.model.tuning.retrieval_measures import gains_of, ranks_of, task_of
from knowledge.embedding import open_embedder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("matplotlib")

from kfbot.model.tuning.embedding import (  # noqa: E402
    Recipe,
    candidates_of,
    contrast,
    tune_embedding,
)

pytestmark = pytest.mark.slow

COLOURS = ["red", "green", "blue", "black", "white", "brown", "grey", "pink"]
THINGS = ["chair", "lamp", "tent", "mug", "coat", "sofa", "desk", "radio"]
RECIPE = Recipe(epochs=6, batch=16, learning_rate=3e-3, temperature=0.05, device="cpu")


def make_base(folder: Path) -> Path:
    """A BERT of random weights whose vectors say little."""
    words = ["query", "passage", ":", "where", "is", "my", "the", "price", "of", "cost", "how"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *COLOURS, *THINGS]
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", "utf-8")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def pairs() -> list[Pair]:
    """Which thing is meant tells them apart, the colour does not."""
    return [
        Pair(
            query=f"how is my {colour} {thing} of {other}",
            positive=f"where is the {thing} of price {cost}",
            source="imported",
            document=thing,
        )
        for thing in THINGS
        for colour, other, cost in zip(
            COLOURS, COLOURS[3:] + COLOURS[:3], COLOURS[::-1], strict=True
        )
    ]


def write_data(folder: Path, train: list[Pair], test: list[Pair]) -> Path:
    folder.mkdir()
    for name, some in (("train", train), ("test", test)):
        lines = [json.dumps(row_of(one)) + "\n" for one in some]
        (folder / f"pairs.{name}.jsonl").write_text("".join(lines), "utf-8")
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("models") / "tiny-e5")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    everything = pairs()
    held_out = everything[::4]
    train = [one for one in everything if one not in held_out]
    return write_data(tmp_path_factory.mktemp("data") / "pairs", train, held_out)


@pytest.fixture(scope="module")
def tuned(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "shop-model"
    assert tune_embedding(data, out, str(base), RECIPE, lambda *_: None).usable
    return out


def test_the_loss_falls_and_more_is_found(tuned: Path) -> None:
    report = json.loads((tuned / "report.json").read_text("utf-8"))
    losses = report["losses"]
    assert len(losses) == 6 * 3
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])
    gain = report["gains"]["hit@1"]
    assert gain["after"] > gain["before"]
    assert gain["low"] <= gain["after"] - gain["before"] <= gain["high"]
    assert (tuned / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert not (tuned / ".tuning").exists()


def test_the_folder_opens_as_embedding_model_with_other_vectors(tuned: Path, base: Path) -> None:
    before, after = (open_embedder(str(path), path / "cache") for path in (base, tuned))
    assert before.key != after.key
    old, new = (one.embed_queries(["where is my red chair"]) for one in (before, after))
    assert float((old @ new.T)[0, 0]) < 0.99


def test_the_words_before_a_text_go_with_the_folder(tuned: Path) -> None:
    # The folder is not called e5, its base was.
    assert "e5" not in str(tuned)
    embedder = open_embedder(str(tuned), tuned / "cache")
    asked, told = embedder.embed_queries(["red chair"]), embedder.embed_passages(["red chair"])
    assert not np.allclose(asked, told, atol=1e-3)


def test_vectors_of_words_stay_as_they_were(tuned: Path, base: Path) -> None:
    old, new = (
        transformers.AutoModel.from_pretrained(path).get_input_embeddings().weight
        for path in (base, tuned)
    )
    assert torch.equal(old, new)


def test_a_run_that_was_broken_off_ends_as_one_that_was_not(
    base: Path, data: Path, tuned: Path, tmp_path: Path
) -> None:
    steps: list[int] = []

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "Learning":
            steps.append(done)
            if len(steps) == 8:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_embedding(data, tmp_path / "out", str(base), RECIPE, stop)
    assert not (tmp_path / "out" / "report.json").exists()
    with pytest.raises(TuningDataError, match="other options"):
        tune_embedding(data, tmp_path / "out", str(base), replace(RECIPE, epochs=2), stop)
    done = tune_embedding(data, tmp_path / "out", str(base), RECIPE, stop)
    # It went on behind the second epoch, and did not begin again.
    assert steps[8] == 7
    whole = json.loads((tuned / "report.json").read_text("utf-8"))["losses"]
    assert done.losses == pytest.approx(whole, abs=1e-3)


def test_a_model_that_finds_worse_is_not_kept(base: Path, tmp_path: Path) -> None:
    everything = pairs()
    # It learns that a chair is a lamp, and so on.
    wrong = [
        replace(one, positive=other.positive, document=other.document)
        for one, other in zip(everything, everything[8:] + everything[:8], strict=True)
    ]
    asked = [replace(one, query=one.positive, positive=one.query) for one in everything[::3]]
    folder = write_data(
        tmp_path / "pairs", wrong, [replace(one, query=f"{one.query} red") for one in asked]
    )
    hot = replace(RECIPE, learning_rate=0.5, epochs=2)
    done = tune_embedding(folder, tmp_path / "out", str(base), hot, lambda *_: None)
    assert done.gains["mrr"].after < done.gains["mrr"].before
    assert not done.usable
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["loss.png", "report.json"]
    with pytest.raises(KnowledgeBaseUnavailable):
        open_embedder(str(tmp_path / "out"), tmp_path)


def test_what_cannot_be_done_is_said_in_a_line(base: Path, data: Path, tmp_path: Path) -> None:
    def fails(where: Path, out: Path, model: str, device: str, words: str) -> None:
        with pytest.raises(TuningDataError, match=words) as failed:
            tune_embedding(where, out, model, replace(RECIPE, device=device), lambda *_: None)
        assert "\n" not in str(failed.value)

    few = write_data(tmp_path / "few", pairs()[:1], pairs()[:1])
    none = write_data(tmp_path / "none", pairs(), [])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    (tmp_path / "bare").mkdir()
    fails(tmp_path / "gone", tmp_path / "o1", str(base), "cpu", "cannot be read")
    fails(few, tmp_path / "o2", str(base), "cpu", "too few")
    fails(none, tmp_path / "o3", str(base), "cpu", "no held-out pairs")
    fails(data, tmp_path / "full", str(base), "cpu", "not empty")
    fails(data, tmp_path / "o4", str(tmp_path / "nowhere"), "cpu", "no folder")
    fails(data, tmp_path / "o5", str(tmp_path / "bare"), "cpu", "no embedding model")
    if not torch.cuda.is_available():
        fails(data, tmp_path / "o6", str(base), "cuda", "no GPU")


def test_texts_of_the_same_document_are_never_negatives() -> None:
    one, two, other = pairs()[0], pairs()[1], pairs()[8]
    texts, right, wrong = candidates_of([one, replace(two, negatives=("far",)), other])
    assert texts == [("faq", text) for text in (one.positive, two.positive, other.positive, "far")]
    assert right == [0, 1, 2]
    assert wrong.tolist() == [
        [False, False, True, True],
        [False, False, True, True],
        [True, True, False, True],
    ]


def test_the_loss_is_that_of_info_nce() -> None:
    queries = torch.nn.functional.normalize(torch.tensor([[1.0, 0.2], [0.1, 1.0]]), dim=1)
    texts = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), dim=1)
    wrong = torch.tensor([[False, True, False], [True, False, True]])
    scores = (queries @ texts.T / 0.1).exp()
    by_hand = (
        -(
            (scores[0, 0] / (scores[0, 0] + scores[0, 1])).log()
            + (scores[1, 1] / scores[1].sum()).log()
        )
        / 2
    )
    found = contrast(queries, texts, torch.tensor([0, 1]), wrong, 0.1)
    assert float(found) == pytest.approx(float(by_hand), abs=1e-5)


def test_a_rank_is_that_of_the_nearest_text_of_the_document() -> None:
    test = [Pair(query="q", positive="a1", negatives=("c",), source="imported", document="a")]
    train = [
        Pair(query="x", positive="a2", source="imported", document="a"),
        Pair(query="y", positive="b", source="imported", document="b"),
    ]
    task = task_of(test, train)
    vectors = {"a1": [0.0, 1.0], "a2": [0.9, 0.1], "b": [0.8, 0.2], "c": [1.0, 0.0]}
    rows = np.array([vectors[text] for _, text in task.candidates], np.float32)
    assert ranks_of(task, np.array([[1.0, 0.0]], np.float32), rows).tolist() == [2]


def test_a_gain_has_an_interval_that_holds_it() -> None:
    before, after = np.array([1, 2, 6, 3] * 20), np.array([1, 1, 5, 3] * 20)
    gain = gains_of(before, after)["hit@1"]
    assert (gain.before, gain.after) == (0.25, 0.5)
    assert 0.1 < gain.low < 0.25 < gain.high < 0.4
    same = gains_of(before, before)["mrr"]
    assert (same.low, same.high) == (0.0, 0.0)


def test_the_bundled_model_as_a_folder_makes_the_same_vectors(tmp_path: Path) -> None:
    from knowledge.e5.export import export
    from knowledge.e5.golden import LOWEST_COSINE, lowest_cosine
    from knowledge.embedding import HuggingFaceEmbedder

    export(tmp_path / "model")
    embedder = HuggingFaceEmbedder(str(tmp_path / "model"))
    assert lowest_cosine(lambda text: embedder._embed([text])[0]) >= LOWEST_COSINE
    spaces = [embedder._embed([f"query: {text}"])[0] for text in ("ab  c", " ab c ")]
    assert float(spaces[0] @ spaces[1]) > 0.999
    assert re.search(
        "query", (tmp_path / "model" / "config_sentence_transformers.json").read_text()
    )
