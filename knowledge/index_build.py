"""Builds an index in a process of its own: `python -m knowledge.index_build JOB_FOLDER`.

The engine holds the GIL while it is filled, so the server only writes down what is to be built
and opens the result. The child needs no database, and what it leaves is complete or nothing; where
a Qdrant server keeps the points, the child writes them there, reached by what its input says.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import sys
from array import array
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from kfbot.errors import KfbotError, KnowledgeBaseUnavailable
from kfbot.knowledge_base import PassageKind
from knowledge import children, index, ranking, routing, terms
from knowledge.geometry import language_number
from knowledge.labels import labels_of, language_label, names_of
from knowledge.points import KINDS, LABELS
from knowledge.shard import ENGINE, FOLDER, Shard, ShardPoint

if TYPE_CHECKING:
    # The child has no use for SQLAlchemy, which takes half a second to import.
    from kfbot.store.knowledge_rows import ChunkRow, StoredDocument

#: Chunks that the server writes down between two turns of the event loop.
_BATCH = 200


async def build(
    documents: AsyncIterator[StoredDocument],
    stamp: index.Stamp,
    folder: Path,
    generic: NDArray[np.float32],
    duplicates: Mapping[str, str],
    order: Mapping[str, Any] | None = None,
) -> Path:
    """Build an index from documents and return where it lies, under `folder`.

    Of `duplicates` (ids, each with the id of the one that says the same) only the ids are kept.
    `generic` is the mean vector of each language's generic questions (`geometry`), `order` what
    an engine other than the embedded one gives along (`Engine.order`).

    Raises:
        KnowledgeBaseUnavailable: It could not be built; nothing is left behind that is asked.
    """
    job = folder / f".job-{uuid4().hex}"
    target = folder / stamp.folder_name
    try:
        await write_job(documents, stamp, job, duplicates)
        await asyncio.to_thread(np.save, job / "generic.npy", generic)
        await _run(job, order)
        await asyncio.to_thread(move, job / "index", target)
    except OSError as error:
        raise KnowledgeBaseUnavailable(f"index of {stamp.knowledge_base}: {error}") from error
    finally:
        await asyncio.to_thread(shutil.rmtree, job, ignore_errors=True)
    return target


async def write_job(
    documents: AsyncIterator[StoredDocument],
    stamp: index.Stamp,
    job: Path,
    duplicates: Mapping[str, str],
) -> None:
    """Write down what an index is built from, in a folder that does not exist yet."""
    writer = await asyncio.to_thread(_JobWriter, job, duplicates)
    try:
        batch: list[StoredDocument] = []
        async for document in documents:
            if document.document.document_id in duplicates:
                continue
            batch.append(document)
            if sum(len(stored.rows) for stored in batch) >= _BATCH:
                await asyncio.to_thread(writer.write, batch)
                batch = []
        await asyncio.to_thread(writer.write, batch)
    finally:
        writer.close()
    await asyncio.to_thread(writer.finish, stamp)


class _JobWriter:
    """Writes down documents and points for the child, and adds up what BM25 asks."""

    def __init__(self, job: Path, duplicates: Mapping[str, str]) -> None:
        self._duplicates: dict[str, list[str]] = {}
        for duplicate, kept in sorted(duplicates.items()):
            self._duplicates.setdefault(kept, []).append(duplicate)
        (job / "index").mkdir(parents=True)
        self._job = job
        self._documents = (job / "documents.jsonl").open("wb")
        self._points = (job / "points.jsonl").open("wb")
        self._vectors = (job / "vectors.f16").open("wb")
        self._count = 0
        self._entries: dict[str, tuple[str, str]] = {}
        self._lengths: dict[PassageKind, int] = dict.fromkeys(KINDS, 0)
        self._sizes: dict[PassageKind, int] = dict.fromkeys(KINDS, 0)

    def write(self, batch: list[StoredDocument]) -> None:
        """Write some documents with their points."""
        for stored in batch:
            row = stored.document
            if row.source != "file":
                self._entries[row.document_id] = entry_mark(stored)
            alike = self._duplicates.get(row.document_id, ())
            self._documents.write(json_line(document_entry(stored, alike)))
            for chunk in stored.rows:
                # By a question its chunk is found, and shown.
                shown = chunk if chunk.asks is None else stored.chunks[chunk.asks]
                payload = payload_of(stored, shown)
                self._points.write(json_line([self._count, payload, chunk.terms]))
                self._vectors.write(chunk.vector)
                self._lengths[row.kind] += sum(chunk.terms.values())
                self._sizes[row.kind] += 1
            self._count += 1

    def close(self) -> None:
        """Close the files."""
        for file in (self._documents, self._points, self._vectors):
            file.close()

    def finish(self, stamp: index.Stamp) -> None:
        """Say what is to be made of it."""
        averages = {kind: self._lengths[kind] / max(self._sizes[kind], 1) for kind in KINDS}
        order = {"stamp": asdict(stamp), "average_lengths": averages, "entries": self._entries}
        (self._job / "job.json").write_text(json.dumps(order), encoding="utf-8")


def document_entry(stored: StoredDocument, duplicates: Sequence[str] = ()) -> dict[str, Any]:
    """What an index keeps of a document: an `index.DocumentEntry`, as it is written."""
    row = stored.document
    entry = index.DocumentEntry(
        document_id=row.document_id,
        kind=row.kind,
        title=row.title,
        url=row.url,
        question=stored.chunks[0].text if row.kind == "faq" and stored.chunks else "",
        answer=row.answer,
        fields=row.fields,
        duplicates=duplicates,
    )
    return asdict(entry)


def payload_of(stored: StoredDocument, chunk: ChunkRow) -> dict[str, Any]:
    """What is kept of a point."""
    return {
        "chunk_id": chunk.id,
        "document_id": stored.document.document_id,
        "kind": stored.document.kind,
        "heading": chunk.heading,
        "text": chunk.text,
        "page": chunk.page,
    }


def entry_mark(stored: StoredDocument) -> tuple[str, str]:
    """By what an entry by hand is known to be as it was, and what it asks."""
    # The child has no use for what cleaning imports.
    from knowledge.cleaning.duplicates import same_question

    found = hashlib.blake2s(stored.document.content_hash.encode())
    for chunk in stored.chunks:
        found.update(chunk.id.encode())
    return found.hexdigest(), same_question(stored.document.signature).hex()


def json_line(value: Any) -> bytes:
    """A line of JSON."""
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


async def _run(job: Path, order: Mapping[str, Any] | None) -> None:
    child = await children.start(
        "knowledge.index_build", str(job), stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        # By the input: others can read a process's arguments and environment.
        _, said = await child.communicate(json.dumps(order).encode())
    except asyncio.CancelledError:
        await children.end(child)
        raise
    if child.returncode != 0:
        lines = said.decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"exit code {child.returncode}"
        raise KnowledgeBaseUnavailable(f"the index could not be built: {reason}")


def move(made: Path, target: Path) -> None:
    """Give an index that is complete its name, in place of one that has it."""
    if target.exists():
        shutil.rmtree(target)
    made.replace(target)


def make(job: Path, order: Mapping[str, Any] | None = None) -> None:
    """Make the index of a job, in the job's folder; `order`: see `build`."""
    told = json.loads((job / "job.json").read_text(encoding="utf-8"))
    stamp = index.Stamp(**told["stamp"])
    folder = job / "index"
    lines = (job / "documents.jsonl").read_bytes().splitlines(keepends=True)
    documents = [index.DocumentEntry(**json.loads(line)) for line in lines]
    vectors = np.fromfile(job / "vectors.f16", "<f2").reshape(-1, stamp.dimensions)
    collector = _Collector(documents, vectors, told["average_lengths"])
    with (job / "points.jsonl").open("rb") as file:
        points = collector.read(file)
        if stamp.engine == ENGINE:
            _fill_shard(folder / FOLDER, stamp, points, len(vectors))
        else:
            deque(points, maxlen=0)
    arrays = collector.arrays()
    if stamp.engine != ENGINE:
        with (job / "points.jsonl").open("rb") as file:
            _fill_server(order or {}, stamp, collector.weighed(file, arrays), len(vectors))
    arrays.save(folder)
    index.save_documents(folder, lines)
    generic = np.load(job / "generic.npy")
    prepared = ranking.prepare(arrays, documents, collector.texts, generic)
    prepared |= routing.summarise(arrays, prepared["answer_terms"])
    prepared["faq_length"] = np.array([told["average_lengths"]["faq"]], np.float32)
    index.save_prepared(folder, prepared)
    entries = {id: (made, asked) for id, (made, asked) in told["entries"].items()}
    base = index.Base(
        stamp=stamp,
        points=len(vectors),
        documents=len(documents),
        prototypes=len(prepared["reach"]),
        entries=entries,
    )
    index.save_base(folder, base)
    index.seal(folder, stamp)


def _fill_shard(folder: Path, stamp: index.Stamp, points: Iterator[ShardPoint], count: int) -> None:
    shard = Shard.create(folder, stamp.dimensions, expected_points=count)
    shard.add(points)
    shard.finish()
    shard.close()
    # Opening writes the settings anew, once; from now on no file of the folder changes.
    Shard.open(folder).close()


def _fill_server(
    order: Mapping[str, Any], stamp: index.Stamp, points: Iterator[ShardPoint], count: int
) -> None:
    # LlamaIndex and the client take seconds to import.
    from knowledge.qdrant_fill import fill
    from knowledge.qdrant_server import Server

    asyncio.run(fill(Server(**order), stamp, points, count))


class _Collector:
    """Reads points one after the other for the shard, and keeps what ranking needs of them."""

    def __init__(
        self,
        documents: list[index.DocumentEntry],
        vectors: NDArray[np.float16],
        average_lengths: dict[PassageKind, float],
    ) -> None:
        self.texts: list[str] = []
        self._documents = documents
        names = names_of(entry.fields for entry in documents)
        self._labels = [labels_of(entry.fields, names) for entry in documents]
        self._vectors = vectors
        self._average_lengths = average_lengths
        self._owner = array("i")
        self._term_ids = array("I")
        self._term_weights = array("f")
        self._term_counts = array("q")

    def read(self, lines: Iterable[bytes]) -> Iterator[ShardPoint]:
        """The points that lines of JSON describe."""
        for number, line in enumerate(lines):
            owner, payload, counts = json.loads(line)
            kind: PassageKind = payload["kind"]
            weighed = dict(sorted(terms.weights(counts, self._average_lengths[kind]).items()))
            self.texts.append(payload["text"])
            self._label(owner, payload)
            self._owner.append(owner)
            self._term_ids.extend(weighed.keys())
            self._term_weights.extend(weighed.values())
            self._term_counts.append(len(weighed))
            yield ShardPoint(number, kind, self._vectors[number].tolist(), weighed, payload)

    def weighed(self, lines: Iterable[bytes], arrays: index.Arrays) -> Iterator[ShardPoint]:
        """The same points once more, their words weighed with the IDF of their kind."""
        for number, line in enumerate(lines):
            owner, payload, _ = json.loads(line)
            kind: PassageKind = payload["kind"]
            self._label(owner, payload)
            held = slice(*arrays.term_starts[number : number + 2])
            ids = arrays.term_ids[held]
            values = arrays.term_weights[held] * arrays.idf(kind, ids)
            weighed = dict(zip(ids.tolist(), values.tolist(), strict=True))
            yield ShardPoint(number, kind, self._vectors[number].tolist(), weighed, payload)

    def _label(self, owner: int, payload: dict[str, Any]) -> None:
        language = language_label(language_number(payload["text"]))
        payload[LABELS] = [*self._labels[owner], language]

    def arrays(self) -> index.Arrays:
        """What was kept, once all points are read."""
        owner = np.array(self._owner, np.int32)
        kinds = np.array([KINDS.index(entry.kind) for entry in self._documents], np.uint8)
        sizes = np.bincount(owner, minlength=len(kinds))
        points = np.bincount(kinds[owner], minlength=len(KINDS))
        ids = np.array(self._term_ids, np.uint32)
        of_terms = np.repeat(kinds[owner], np.array(self._term_counts, np.int64))
        vocabulary = {
            kind: _idf(ids[of_terms == place], int(points[place]))
            for place, kind in enumerate(KINDS)
        }
        return index.Arrays(
            owner=owner,
            starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            kinds=kinds,
            points=points.astype(np.int64),
            vectors=self._vectors,
            term_starts=np.concatenate([[0], np.cumsum(self._term_counts)]).astype(np.int64),
            term_ids=ids,
            term_weights=np.array(self._term_weights, np.float32),
            faq_terms=vocabulary["faq"][0],
            faq_idf=vocabulary["faq"][1],
            document_terms=vocabulary["document"][0],
            document_idf=vocabulary["document"][1],
        )


def _idf(ids: NDArray[np.uint32], points: int) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Each term once, and its IDF as Qdrant reckons it."""
    known, having = np.unique(ids, return_counts=True)
    return known, np.log(1 + (points - having + 0.5) / (having + 0.5)).astype(np.float32)


def main() -> None:
    """Make the index of the job whose folder is the first argument."""
    children.step_back()
    try:
        make(Path(sys.argv[1]), json.load(sys.stdin))
    except KfbotError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
