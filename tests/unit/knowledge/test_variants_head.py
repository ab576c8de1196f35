"""What is learned from an FAQ's variants, and of its answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kfbot.store.knowledge_rows import StoredDocument
from knowledge import index_build, variants_head
from knowledge.index import Index, Stamp
from knowledge.retrieval import find
from tests.unit.knowledge.test_retrieval import DIMENSIONS, embed, stored

Vectors = NDArray[np.float32]
ENGLISH, CHINESE = 0, 1


def unit(rows: Vectors) -> Vectors:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def entries(*sizes: int, seed: int = 0) -> tuple[Vectors, NDArray[np.int64], Vectors]:
    """Variants, their owners and centres; entries differ in few of many directions."""
    chance = np.random.default_rng(seed)
    middles = np.zeros((len(sizes), 32))
    middles[:, :4] = np.random.default_rng(5).standard_normal((len(sizes), 4))
    owner = np.repeat(np.arange(len(sizes)), sizes)
    noise = chance.standard_normal((len(owner), 32)) * np.linspace(0.2, 1.5, 32)
    rows = unit((middles[owner] + noise).astype(np.float32))
    return rows, owner, centres(rows, owner, len(sizes))


def centres(rows: Vectors, owner: NDArray[np.int64], size: int) -> Vectors:
    sums = np.zeros((size, rows.shape[1]), np.float32)
    np.add.at(sums, owner, rows)
    return unit(sums)


def train(
    rows: Vectors, owner: NDArray[np.int64], middles: Vectors, languages: Sequence[int] = ()
) -> Vectors:
    spoken = np.array(languages or [ENGLISH] * len(rows), np.uint8)
    return variants_head.train(rows, owner, spoken, middles)


def right(asked: Vectors, owner: NDArray[np.int64], middles: Vectors, corrections: Vectors) -> int:
    """How many questions find their entry."""
    counts = np.full(len(middles), 40)
    found = [
        variants_head.nearness(middles @ one, middles @ one, corrections @ one, counts).argmax()
        for one in asked
    ]
    return int((np.array(found) == owner).sum())


def test_new_questions_find_their_entries_more_often() -> None:
    rows, owner, middles = entries(*[40] * 8)
    asked, wanted, _ = entries(*[40] * 8, seed=1)
    plain = right(asked, wanted, middles, np.zeros_like(middles))
    learned = right(asked, wanted, middles, train(rows, owner, middles))
    assert learned > plain + 15


def test_the_same_variants_teach_the_same() -> None:
    task = entries(5, 1, 9, 2)
    assert np.array_equal(train(*task), train(*task))


def test_entries_with_their_question_alone_teach_nothing() -> None:
    rows, owner, middles = entries(1, 1, 1)
    assert not train(rows, owner, middles).any()


@pytest.mark.parametrize("sizes", [(), (1,), (7,)])
def test_without_a_second_entry_there_is_nothing_to_tell_apart(sizes: tuple[int, ...]) -> None:
    rows, owner, middles = entries(*sizes)
    assert not train(rows, owner, middles).any()


def test_an_entry_with_its_question_alone_is_as_near_as_before() -> None:
    near = np.array([0.4], np.float32)
    found = variants_head.nearness(near, near, np.array([-9], np.float32), np.array([1]))
    assert found == pytest.approx(0.4)


def test_many_variants_have_to_be_nearer_than_one_question() -> None:
    near, none = np.full(3, 0.4, np.float32), np.zeros(3, np.float32)
    one, few, many = variants_head.nearness(near, near, none, np.array([1, 3, 30]))
    assert one > few > many


def test_entries_with_the_same_variants_stay_equal() -> None:
    rows, owner, _ = entries(6, 6)
    rows = np.concatenate([rows, rows[:6]])
    owner = np.concatenate([owner, np.full(6, 2)])
    corrections = train(rows, owner, centres(rows, owner, 3))
    assert corrections.any()
    assert np.allclose(corrections[0], corrections[2], atol=1e-4)


def test_a_translation_is_no_rival() -> None:
    rows, owner, middles = entries(6, 6)
    alone = train(rows, owner, middles)
    both = train(
        np.concatenate([rows, rows]), np.concatenate([owner, owner + 2]),
        np.concatenate([middles, middles]), [ENGLISH] * 12 + [CHINESE] * 12,
    )  # fmt: skip
    assert np.allclose(both, np.concatenate([alone, alone]), atol=1e-4)


def test_entries_with_few_variants_gain_as_well() -> None:
    sizes = [90, 90, 90, 6, 6, 6]
    rows, owner, middles = entries(*sizes)
    asked, wanted, _ = entries(*[60] * 6, seed=1)
    few = wanted > 2
    plain = right(asked[few], wanted[few], middles, np.zeros_like(middles))
    learned = right(asked[few], wanted[few], middles, train(rows, owner, middles))
    assert learned > plain + 10


# In an index


def build(folder: Path, documents: Sequence[StoredDocument]) -> Index:
    async def given() -> AsyncIterator[StoredDocument]:
        for document in documents:
            yield document

    stamp = Stamp(knowledge_base="kb", generation=1, embedding_key="words", dimensions=DIMENSIONS)
    asyncio.run(index_build.write_job(given(), stamp, folder, {}))
    np.save(folder / "generic.npy", np.stack([embed("question"), embed("问题")]))
    index_build.make(folder)
    return Index.open(folder / "index", stamp)


def share_of(folder: Path, documents: Sequence[StoredDocument]) -> float:
    index = build(folder, documents)
    try:
        return round(float(index.prepared["answer_share"][0]), 2)
    finally:
        index.close()


def faq(name: str, words: Sequence[str], answer: str) -> StoredDocument:
    return stored(
        name, [f"{word} {other} {name}" for word in words for other in words], answer=answer
    )


THINGS = {
    "kettle": ("boil", "lid", "steam"),
    "parcel": ("arrive", "courier", "door"),
    "refund": ("money", "card", "bank"),
    "garden": ("seed", "water", "spade"),
    "lamp": ("bulb", "switch", "dark"),
}


def test_answers_that_carry_the_words_of_their_questions_count_more(tmp_path: Path) -> None:
    told = [faq(name, words, " ".join(words)) for name, words in THINGS.items()]
    others = [*list(THINGS.values())[1:], THINGS["kettle"]]
    wrong = [
        faq(name, words, " ".join(other))
        for (name, words), other in zip(THINGS.items(), others, strict=True)
    ]
    assert share_of(tmp_path / "told", told) > share_of(tmp_path / "wrong", wrong)


def test_too_few_variants_tell_nothing_of_answers(tmp_path: Path) -> None:
    few = [stored(name, [name, *words], answer=" ".join(words)) for name, words in THINGS.items()]
    assert share_of(tmp_path / "few", few) == 0.1


def test_each_entry_is_found_by_its_own_question(tmp_path: Path) -> None:
    """However many variants the others have, in both languages, and with a document beside."""
    documents = [
        faq("kettle", THINGS["kettle"], "Yes."),
        stored("single", ["boil the kettle again"], answer="No."),
        stored("twice", ["switch the lamp"], answer="No."),
        stored("again", ["switch the lamp"], answer="Off."),
        stored("zh", ["灯怎么打开", "开灯的开关在哪里"], answer="按开关。"),
        stored("manual", ["The kettle has a lid."]),
    ]
    index = build(tmp_path / "job", documents)
    try:
        for text, wanted in (
            ("boil the kettle again", {"single"}),
            ("boil lid kettle", {"kettle"}),
            ("switch the lamp", {"twice", "again"}),
            ("开灯的开关在哪里", {"zh"}),
        ):
            found = asyncio.run(find([index], text, embed(text), 3))
            assert found.passages[0].document_id in wanted
    finally:
        index.close()


def test_an_empty_knowledge_base_has_nothing_to_learn(tmp_path: Path) -> None:
    assert share_of(tmp_path / "empty", []) == 0.1
