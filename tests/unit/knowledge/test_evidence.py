"""What speaks for the first document, of a small real index."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator, Mapping

import numpy as np
import pytest

from kfbot.knowledge_base import PassageKind
from kfbot.store.knowledge_rows import ChunkRow, DocumentRow, StoredDocument
from knowledge import index_build, terms
from knowledge.index import Index, Stamp
from knowledge.retrieval import find
from tests.unit.knowledge.test_retrieval import DIMENSIONS, embed, stored

UNSAID = {"all_words", "far_apart", "unsaid_negation", "opposite"}
TEXT = "The warranty lasts two years. It does not cover the lid. 保修不包括壶盖。"


def manual() -> StoredDocument:
    """A passage that is found by the words of its title too, as all are."""
    searched = f"Sprucelet kettle\n{TEXT}"
    row = DocumentRow(
        document_id="manual", kind="document", content_hash="", title="Sprucelet kettle",
        url="", answer="",
    )  # fmt: skip
    chunk = ChunkRow(
        id="manual:0", position=0, heading="", text=TEXT,
        vector=embed(searched).astype("<f2").tobytes(), terms=terms.counts(searched),
    )  # fmt: skip
    return StoredDocument(row, (chunk,))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    folder = tmp_path_factory.mktemp("index") / "job"

    async def documents() -> AsyncIterator[StoredDocument]:
        yield manual()
        yield stored("f1", ["How do I return an item?"], answer="Within 30 days.")

    stamp = Stamp(knowledge_base="kb", generation=1, embedding_key="words", dimensions=DIMENSIONS)
    asyncio.run(index_build.write_job(documents(), stamp, folder, {}))
    np.save(folder / "generic.npy", np.stack([embed("问题"), embed("question")]))
    index_build.make(folder)
    opened = Index.open(folder / "index", stamp)
    yield opened
    opened.close()


def signals(index: Index, text: str) -> Mapping[PassageKind, Mapping[str, float]]:
    return asyncio.run(find([index], text, embed(text), 10)).evidence


def test_only_documents_are_read_for_what_they_do_not_say(index: Index) -> None:
    found = signals(index, "How long does the warranty of the kettle last?")
    assert set(found["document"]) - set(found["faq"]) == UNSAID
    assert all(math.isfinite(value) for value in found["document"].values())


def test_the_words_of_the_title_count_as_said_in_every_sentence(index: Index) -> None:
    asked = "What is the warranty of the Sprucelet kettle?"
    assert signals(index, asked)["document"]["all_words"] == 1
    assert signals(index, asked.replace("kettle", "toaster"))["document"]["all_words"] == 0


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What does the warranty not cover?", 0),
        ("How many years does the warranty not last?", 1),
        ("保修不包括什么？", 0),
        # Traditional characters are the same words.
        ("保修不包括什麼？", 0),
    ],
)
def test_a_negation_is_looked_for_in_the_sentence_that_carries_most(
    index: Index, question: str, expected: int
) -> None:
    assert signals(index, question)["document"]["unsaid_negation"] == expected
