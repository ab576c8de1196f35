"""Building an index, opening it, and finding out that it is damaged or outdated."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.store.chunks import ChunkRow, DocumentRow, StoredDocument
from knowledge import index, index_build, terms
from knowledge.index import Index, Stamp
from knowledge.points import Hits
from knowledge.shard import Shard

DIMENSIONS = 4
#: The mean vector of generic questions, a row each language.
GENERIC = np.full((2, DIMENSIONS), DIMENSIONS**-0.5, np.float32)
STAMP = Stamp(knowledge_base="shop", generation=3, embedding_key="fake", dimensions=DIMENSIONS)


def towards(*axes: int) -> NDArray[np.float32]:
    vector = np.zeros(DIMENSIONS, np.float32)
    vector[list(axes)] = len(axes) ** -0.5
    return vector


def document(
    document_id: str, texts: Sequence[str], axes: Sequence[int], *, answer: str = ""
) -> StoredDocument:
    row = DocumentRow(
        document_id=document_id,
        kind="faq" if answer else "document",
        content_hash="",
        title=f"Title of {document_id}",
        url=f"https://shop.example/{document_id}",
        answer=answer,
    )
    chunks = tuple(
        ChunkRow(
            id=f"{document_id}:{position}",
            position=position,
            heading="" if answer else f"Heading {position}",
            text=text,
            vector=towards(axis).astype("<f2").tobytes(),
            terms=terms.counts(text),
        )
        for position, (text, axis) in enumerate(zip(texts, axes, strict=True))
    )
    return StoredDocument(row, chunks)


DOCUMENTS = (
    document("refunds.md", ["Refunds take five days", "Parcels are insured"], [0, 1]),
    document("empty.md", [], []),
    document("faq-1", ["How do refunds work?", "退款怎么办理"], [0, 2], answer="As you paid."),
)


async def stream(documents: Sequence[StoredDocument]) -> AsyncIterator[StoredDocument]:
    for stored in documents:
        yield stored


async def make(folder: Path, documents: Sequence[StoredDocument] = DOCUMENTS) -> Path:
    await index_build.write_job(stream(documents), STAMP, folder, {})
    np.save(folder / "generic.npy", GENERIC)
    index_build.make(folder)
    return folder / "index"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asyncio.run(make(tmp_path_factory.mktemp("index") / "job"))


@pytest.fixture
def opened(made: Path) -> Iterator[Index]:
    opened = Index.open(made, STAMP)
    yield opened
    opened.close()


def search(index: Index, vector: NDArray[np.float32], text: str = "") -> dict[str, list[Hits]]:
    ids = [terms.term_id(term) for term in terms.tokenise(text)]
    found = asyncio.run(index.search(vector, ids, 10))
    return {kind: [hits.dense, hits.sparse] for kind, hits in found.items()}


def test_points_are_found_by_meaning_each_kind_apart(opened: Index) -> None:
    found = search(opened, towards(0))
    assert found["document"][0].points.tolist()[0] == 0
    assert found["faq"][0].points.tolist()[0] == 2
    assert found["faq"][0].scores[0] == pytest.approx(1.0)


def test_points_are_found_by_words_each_kind_apart(opened: Index) -> None:
    found = search(opened, towards(3), "退款 refund")
    assert found["document"][1].points.tolist() == [0]
    assert sorted(found["faq"][1].points.tolist()) == [2, 3]


def test_the_engine_reckons_bm25_as_the_arrays_do(opened: Index) -> None:
    (engine,) = search(opened, towards(3), "refund")["document"][1].scores
    arrays = opened.arrays
    wanted = np.array([terms.term_id("refund")], np.uint32)
    of_first = slice(*arrays.term_starts[:2])
    weight = arrays.term_weights[of_first][arrays.term_ids[of_first] == wanted[0]]
    assert engine == pytest.approx(float(weight[0] * arrays.idf("document", wanted)[0]), rel=1e-4)


def test_a_term_that_nothing_has_is_the_rarest(opened: Index) -> None:
    ids = np.array([terms.term_id("refund"), terms.term_id("zebra")], np.uint32)
    known, unknown = opened.arrays.idf("document", ids)
    assert unknown > known > 0


def test_points_know_their_documents_and_documents_their_points(opened: Index) -> None:
    assert opened.arrays.owner.tolist() == [0, 0, 2, 2]
    assert opened.arrays.starts.tolist() == [0, 2, 2, 4]
    assert opened.arrays.vectors.dtype == np.float16


def test_a_document_and_its_passages_are_read_back(opened: Index) -> None:
    entry = opened.document(2)
    assert (entry.document_id, entry.question) == ("faq-1", "How do refunds work?")
    assert (entry.answer, entry.url) == ("As you paid.", "https://shop.example/faq-1")
    found = asyncio.run(opened.payloads([1, 0]))
    second, first = found[1], found[0]
    assert (first["text"], second["heading"]) == ("Refunds take five days", "Heading 1")
    assert first["chunk_id"] == "refunds.md:0"


@pytest.mark.parametrize("documents", [(), (document("empty.md", [], []),)])
def test_an_index_may_be_empty(tmp_path: Path, documents: tuple[StoredDocument, ...]) -> None:
    opened = Index.open(asyncio.run(make(tmp_path / "job", documents)), STAMP)
    assert all(
        not len(hits.points) for kind in search(opened, towards(0)).values() for hits in kind
    )
    opened.close()


def test_opening_and_closing_leaves_the_index_whole(made: Path) -> None:
    for _ in range(3):
        Index.open(made, STAMP).close()


@pytest.mark.parametrize(
    "stamp",
    [
        replace(STAMP, embedding_key="another model"),
        replace(STAMP, generation=4),
        replace(STAMP, engine="qdrant-edge-py 9"),
        replace(STAMP, format="0"),
        replace(STAMP, knowledge_base="other"),
    ],
)
def test_an_index_of_anything_else_is_refused(made: Path, stamp: Stamp) -> None:
    with pytest.raises(KnowledgeBaseUnavailable, match="something else"):
        Index.open(made, stamp)


@contextmanager
def damaged(path: Path, size: int | None) -> Iterator[None]:
    """Cut a file to a size, or remove it (None), for a while."""
    content = path.read_bytes()
    try:
        if size is None:
            path.unlink()
        else:
            path.write_bytes(content[:size])
        yield
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize(
    "pattern",
    ["stamp.json", "owner.npy", "documents.jsonl", "shard/**/segment.json", "shard/**/config.json"],
)
@pytest.mark.parametrize("size", [None, 0, 20])
def test_a_damaged_index_is_refused(made: Path, pattern: str, size: int | None) -> None:
    with (
        damaged(next(made.glob(pattern)), size),
        pytest.raises(KnowledgeBaseUnavailable),
    ):
        Index.open(made, STAMP)


def test_a_shard_that_makes_the_engine_panic_is_refused(made: Path) -> None:
    with (
        damaged(next(made.glob("shard/**/status.dat")), 0),
        pytest.raises(KnowledgeBaseUnavailable),
    ):
        Shard.open(made / "shard")


def test_names_that_differ_have_folders_that_differ(tmp_path: Path) -> None:
    names = ["shop", "Shop", "客服", "..", "a/b", "", "x" * 300]
    folders = {index.folder_of(tmp_path, name) for name in names}
    assert len(folders) == len(names)
    assert {folder.parent for folder in folders} == {tmp_path / "index"}
    assert index.folder_of(tmp_path, "shop").name == "shop"


def test_only_the_generation_before_is_kept_beside_an_index(tmp_path: Path) -> None:
    stamps = [replace(STAMP, generation=generation) for generation in (2, 9, 10, 11)]
    for stamp in stamps:
        (tmp_path / stamp.folder_name).mkdir()
    (tmp_path / ".job-left-over").mkdir()
    index.remove_old(tmp_path, stamps[-1])
    assert {path.name for path in tmp_path.iterdir()} == {
        stamp.folder_name for stamp in stamps[-2:]
    }


@pytest.mark.asyncio
async def test_a_build_that_fails_leaves_nothing_and_says_why(tmp_path: Path) -> None:
    wrong = replace(STAMP, dimensions=3)
    with pytest.raises(KnowledgeBaseUnavailable, match="could not be built: ValueError"):
        await index_build.build(stream(DOCUMENTS), wrong, tmp_path, GENERIC, {})
    assert os.listdir(tmp_path) == []


@pytest.mark.asyncio
async def test_a_build_takes_the_place_of_a_damaged_index(tmp_path: Path) -> None:
    (tmp_path / STAMP.folder_name).mkdir()
    target = await index_build.build(stream(DOCUMENTS), STAMP, tmp_path, GENERIC, {})
    Index.open(target, STAMP).close()
    assert os.listdir(tmp_path) == [target.name]


@pytest.mark.asyncio
async def test_an_index_that_nobody_waits_for_any_more_is_closed(made: Path) -> None:
    begun, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    def slowly(folder: Path, stamp: Stamp) -> Index:
        begun.set()
        assert go_on.wait(60)
        found = Index.open(folder, stamp)
        close = found.close
        found.close = lambda: (close(), closed.set())  # type: ignore[method-assign]
        return found

    opening = asyncio.create_task(index.opened(slowly, made, STAMP))
    assert await asyncio.to_thread(begun.wait, 60)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    go_on.set()
    assert await asyncio.to_thread(closed.wait, 60)
