"""Choosing among knowledge bases, filtering documents, and what two languages do to a ranking."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfbot.knowledge_base import Retrieval
from kfbot.store.knowledge_rows import ChunkRow, DocumentRow, StoredDocument
from knowledge import index_build, terms
from knowledge.index import Index, Stamp
from knowledge.labels import groups_of, labels_of, matches
from knowledge.path_fields import fields_of
from knowledge.ranking import Question
from knowledge.retrieval import find
from knowledge.routing import Guide, Router, Summary
from tests.unit.knowledge.test_retrieval import DIMENSIONS, embed

#: A document's id, its text, and its fields.
Told = tuple[str, str, Mapping[str, str]]
WORDS = ("kettle", "toaster", "returns", "warranty", "parcel", "invoice", "garden", "battery")


def ask(indexes: Sequence[Index], text: str, **where: str) -> Retrieval:
    return asyncio.run(find(indexes, text, embed(text), 10, where))


@contextmanager
def built(**bases: Sequence[Told]) -> Iterator[list[Index]]:
    """Open indexes of documents, in the order of their names."""
    with tempfile.TemporaryDirectory() as folder:
        indexes = [_build(Path(folder) / name, name, told) for name, told in bases.items()]
        try:
            yield indexes
        finally:
            for index in indexes:
                index.close()


def _build(folder: Path, name: str, told: Sequence[Told]) -> Index:
    async def documents() -> AsyncIterator[StoredDocument]:
        for document_id, text, fields in told:
            row = DocumentRow(
                document_id=document_id, kind="document", content_hash="", fields=dict(fields)
            )
            vector = embed(text).astype("<f2").tobytes()
            chunk = ChunkRow(
                id=f"{name}:{document_id}", position=0, heading="", text=text, vector=vector,
                terms=terms.counts(text),
            )  # fmt: skip
            yield StoredDocument(row, (chunk,))

    stamp = Stamp(knowledge_base=name, generation=1, embedding_key="words", dimensions=DIMENSIONS)
    asyncio.run(index_build.write_job(documents(), stamp, folder, {}))
    np.save(folder / "generic.npy", np.stack([embed("question"), embed("问题")]))
    index_build.make(folder)
    return Index.open(folder / "index", stamp)


def summary(*texts: str) -> Summary:
    """What a router knows of a few passages."""
    ids = {terms.term_id(term) for text in texts for term in terms.tokenise(text)}
    rows = np.stack([embed(text) for text in texts])
    words = np.array(sorted(ids), np.uint32)
    return Summary(rows, np.zeros(len(texts), np.float32), words)


def question(text: str) -> Question:
    return Question.of(text, embed(text))


# Routing


def test_the_knowledge_base_that_holds_the_answer_is_among_the_chosen() -> None:
    router = Router({f"{word}-{n}": summary(f"{word} {n}") for word in WORDS for n in range(9)})
    names = [f"{word}-{n}" for word in WORDS for n in range(9)]
    for name in names:
        word, _, number = name.partition("-")
        assert router.choose(question(f"{word} {number}"), names, 5)[0] == name


def test_a_word_that_only_one_has_decides_between_equals() -> None:
    same = np.stack([embed("manual")])
    none = np.zeros(1, np.float32)
    words = {name: np.array([terms.term_id(name)], np.uint32) for name in ("x200", "x300")}
    router = Router({name: Summary(same, none, known) for name, known in words.items()})
    for name in words:
        assert router.choose(question(f"manual of the {name}"), ["x200", "x300"], 1) == (name,)


def test_an_empty_knowledge_base_is_chosen_last() -> None:
    empty = Summary(np.zeros((0, DIMENSIONS), np.float32), *(np.zeros(0, t) for t in "fI"))
    router = Router({"empty": empty, "kettle": summary("kettle"), "parcel": summary("parcel")})
    assert "empty" not in router.choose(question("garden"), ["empty", "kettle", "parcel"], 2)


@given(
    texts=st.lists(
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=4), min_size=2, max_size=9
    ),
    asked=st.lists(st.sampled_from(WORDS), min_size=1, max_size=4),
    data=st.data(),
)
def test_what_may_not_be_asked_changes_no_choice(
    texts: list[list[str]], asked: list[str], data: st.DataObject
) -> None:
    bases = {f"kb{number}": summary(" ".join(words)) for number, words in enumerate(texts)}
    allowed = data.draw(st.lists(st.sampled_from(sorted(bases)), min_size=1, unique=True))
    alone = Router({name: bases[name] for name in allowed})
    text = question(" ".join(asked))
    assert Router(bases).choose(text, allowed, 1) == alone.choose(text, allowed, 1)


def test_hundreds_of_points_are_told_by_a_few_vectors_that_lie_near_all_of_them() -> None:
    told: list[Told] = [
        (f"{a}{b}{n}", f"{a} {b} {n}", {}) for a in WORDS for b in WORDS for n in range(4)
    ]
    with built(many=told) as [index]:
        known = Summary.of(index.prepared)
        assert len(known.prototypes) == len(known.reach) <= 64
        for _, text, _ in told[::7]:
            nearest = (known.prototypes @ embed(text) + known.reach).max()
            assert nearest == pytest.approx(1, abs=0.35)
        words = {term for _, text, _ in told for term in terms.tokenise(text)}
        assert set(known.vocabulary.tolist()) == {terms.term_id(word) for word in words}


def test_a_description_leads_to_a_knowledge_base_whose_texts_do_not_say_its_subject() -> None:
    told = {"manuals": "for electric kettle owners"}
    guide = Guide(told, lambda texts: np.stack([embed(text) for text in texts]))
    plain = Guide({}, lambda texts: np.zeros((0, DIMENSIONS), np.float32))
    names = ["manuals", *(f"other{number}" for number in range(8))]
    for one in (guide, plain):
        for number, name in enumerate(names):
            known = summary(WORDS[number % 8] if number else "press the button")
            one.put(name, {
                "prototypes": known.prototypes, "reach": known.reach,
                "vocabulary": known.vocabulary,
            })  # fmt: skip
    asked = question("electric kettle owners")
    assert asyncio.run(guide.choose(asked, names))[0] == "manuals"
    assert asyncio.run(plain.choose(asked, names))[0] != "manuals"


# Filters


@pytest.mark.parametrize(
    ("fields", "where", "is_match"),
    [
        ({"product": "Kettle"}, {"product": "kettle"}, True),
        ({"product": "kettle, toaster"}, {"product": "toaster"}, True),
        ({"product": "水壶、烤面包机"}, {"product": "水壶"}, True),
        ({"product": "toaster"}, {"product": "kettle"}, False),
        ({}, {"product": "kettle"}, True),
        ({"product": ""}, {"product": "kettle"}, True),
        ({"product": "kettle", "version": "2"}, {"product": "kettle", "version": "3"}, False),
        ({"product": "kettle"}, {}, True),
        ({"product": "kettle"}, {"PRODUCT": " Kettle "}, True),
    ],
)
def test_a_filter_is_met_by_its_value_and_by_silence(
    fields: Mapping[str, str], where: Mapping[str, str], is_match: bool
) -> None:
    assert matches(fields, where) is is_match


def test_labels_name_what_a_document_lacks() -> None:
    assert labels_of({"Product": "kettle"}, ["product", "version"]) == [
        "product=kettle",
        "version=",
    ]
    assert groups_of({"color": "red"}, ["product"]) == []


MANUALS: Sequence[Told] = (
    ("kettle", "The kettle has a warranty of two years", {"product": "kettle"}),
    ("toaster", "The toaster has a warranty of three years", {"product": "toaster"}),
    ("both", "Every warranty begins with the invoice", {}),
)


def test_documents_of_another_product_are_never_found() -> None:
    with built(manuals=MANUALS) as indexes:
        everything = ask(indexes, "How long is the toaster warranty?")
        assert everything.passages[0].document_id == "toaster"
        filtered = ask(indexes, "How long is the toaster warranty?", product="Kettle")
        assert {one.document_id for one in filtered.passages} == {"kettle", "both"}
        assert ask(indexes, "toaster", product="mixer").passages[0].document_id == "both"


def test_a_filter_finds_what_fifty_better_ones_would_hide() -> None:
    crowd = [
        (f"t{n}", f"The toaster warranty number {n}", {"product": "toaster"}) for n in range(99)
    ]
    with built(manuals=[*crowd, ("kettle", "The garden", {"product": "kettle"})]) as indexes:
        found = ask(indexes, "toaster warranty number", product="kettle")
        assert [one.document_id for one in found.passages] == ["kettle"]


_documents = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "d", "e"]),
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join),
        st.dictionaries(st.sampled_from(["product", "version"]), st.sampled_from(["1", "2"])),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda told: told[0],
)


@settings(max_examples=15, deadline=None)
@given(
    bases=st.lists(_documents, min_size=1, max_size=3),
    asked=st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join),
    where=st.dictionaries(st.sampled_from(["product", "version"]), st.sampled_from(["1", "2"])),
)
def test_whatever_is_found_matches_the_filter_and_nothing_that_does_is_lost(
    bases: list[list[Told]], asked: str, where: dict[str, str]
) -> None:
    with built(**{f"kb{number}": told for number, told in enumerate(bases)}) as indexes:
        found = asyncio.run(find(indexes, asked, embed(asked), 100, where))
        assert {(one.knowledge_base, one.document_id) for one in found.passages} == {
            (f"kb{number}", document_id)
            for number, told in enumerate(bases)
            for document_id, _, fields in told
            if matches(fields, where)
        }


@pytest.mark.parametrize(
    ("pattern", "path", "fields"),
    [
        ("{product}/{version}/", "kettle/2.0/manual.md", {"product": "kettle", "version": "2.0"}),
        ("{product}/{version}/", "kettle/2.0/a/b.md", {"product": "kettle", "version": "2.0"}),
        ("{product}/{version}/", "kettle/manual.md", {}),
        ("{product}/v{version}/", "kettle/v2/manual.md", {"product": "kettle", "version": "2"}),
        ("*/{product}/", "manuals/kettle/a.md", {"product": "kettle"}),
        ("{product}-{language}.md", "kettle-zh.md", {"product": "kettle", "language": "zh"}),
        ("{product}-{language}.md", "old/kettle-zh.md", {}),
        ("产品.{product}/", "产品.水壶/说明.md", {"product": "水壶"}),
    ],
)
def test_a_path_tells_fields(pattern: str, path: str, fields: dict[str, str]) -> None:
    assert fields_of(pattern, path) == fields


# Two languages


def test_texts_in_the_other_language_are_found_among_many_in_the_question_s() -> None:
    crowd: list[Told] = [(f"zh{n}", f"第{n}个问题 说明", {}) for n in range(80)]
    with built(mixed=[*crowd, ("en", "zebra crossing rules", {})]) as indexes:
        found = asyncio.run(find(indexes, "问题 说明", embed("问题 说明"), 100))
        assert "en" in {one.document_id for one in found.passages}


def test_of_two_that_lie_close_the_one_that_says_it_in_one_sentence_comes_first() -> None:
    # The same words in both: neither meaning nor BM25 tells them apart.
    apart, together = "The kettle is red. A garden is large.", "The kettle garden. Red is large."
    with built(manuals=[("apart", apart, {}), ("together", together, {})]) as indexes:
        assert ask(indexes, "kettle garden").passages[0].document_id == "together"
        assert ask(indexes, "kettle red").passages[0].document_id == "apart"
