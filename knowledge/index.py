"""One generation of a knowledge base's index: its points and what ranking needs beside them.

A folder holds all of it, but for points that a server keeps, and is never changed once it has
its name; it is derived from SQL and may be thrown away at any time.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.knowledge_base import PassageKind
from knowledge import labels, terms
from knowledge.added_points import AddedPoints
from knowledge.points import KINDS, Abroad, Engine, Found, Points
from knowledge.shard import ENGINE, Embedded

#: Raise it when the files of an index, or what ranking keeps there, change.
FORMAT = f"8 terms:{terms.VERSION}"

_STAMP = "stamp.json"
DOCUMENTS = "documents.jsonl"
_PREPARED = "prepared."
_BASE = "base.json"
#: What `extension` wrote of points that were added.
ADDED = "added.jsonl"
_EMBEDDED = Embedded()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What an index was made from; another stamp means building it again."""

    knowledge_base: str
    generation: int
    revision: str = ""
    embedding_key: str
    dimensions: int
    merges_duplicates: bool = True
    engine: str = ENGINE
    format: str = FORMAT

    @property
    def folder_name(self) -> str:
        """Generation and a hash of its revision and the embedding key."""
        made_from = f"{self.revision}{self.embedding_key}"
        digest = hashlib.blake2s(made_from.encode()).hexdigest()
        return f"{self.generation}-{digest[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrays:
    """What ranking knows of all points. Points are numbered by document, then position."""

    #: The document of each point.
    owner: NDArray[np.int32]
    #: The first point of each document; one more entry ends the last.
    starts: NDArray[np.int64]
    #: The place in KINDS of each document's kind.
    kinds: NDArray[np.uint8]
    #: How many points there are of each kind in KINDS.
    points: NDArray[np.int64]
    #: One row a point, L2-normalised.
    vectors: NDArray[np.float16]
    #: The terms of point p are term_ids[term_starts[p]:term_starts[p + 1]], sorted, beside
    #: their BM25 weights without IDF.
    term_starts: NDArray[np.int64]
    term_ids: NDArray[np.uint32]
    term_weights: NDArray[np.float32]
    #: All terms of FAQ entries, sorted, beside their IDF; then those of documents.
    faq_terms: NDArray[np.uint32]
    faq_idf: NDArray[np.float32]
    document_terms: NDArray[np.uint32]
    document_idf: NDArray[np.float32]

    def idf(self, kind: PassageKind, term_ids: NDArray[np.uint32]) -> NDArray[np.float32]:
        """The IDF of terms among the points of a kind; a term that none has is the rarest."""
        known, idf = (
            (self.faq_terms, self.faq_idf)
            if kind == "faq"
            else (self.document_terms, self.document_idf)
        )
        unknown = np.float32(np.log(1 + (self.points[KINDS.index(kind)] + 0.5) / 0.5))
        if not len(known):
            return np.full(len(term_ids), unknown, np.float32)
        at = np.minimum(np.searchsorted(known, term_ids), len(known) - 1)
        return np.where(known[at] == term_ids, idf[at], unknown).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write one file an array."""
        for one in fields(self):
            np.save(folder / f"{one.name}.npy", getattr(self, one.name))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Map the files of a folder into memory."""
        return cls(**{one.name: _mapped(folder / f"{one.name}.npy") for one in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentEntry:
    """What an index keeps once for all points of a document."""

    document_id: str
    kind: PassageKind
    title: str
    url: str
    #: FAQ: the entry's question and its answer.
    question: str
    answer: str
    #: What filters may ask for.
    fields: Mapping[str, str] = field(default_factory=dict)
    #: Ids of documents that say the same and are left out, by their own order.
    duplicates: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What an index was built from at first; what was added since lies behind it."""

    stamp: Stamp
    #: How many of each are from then.
    points: int
    documents: int
    prototypes: int
    #: Entries by hand that it was built with; see `index_build.entry_mark`.
    entries: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    #: Documents that are in force no more, by number.
    hidden: Sequence[int] = ()


class Index:
    """An open index: immutable, for one thread. `Shelf.borrow` keeps it open while it is asked."""

    def __init__(
        self,
        stamp: Stamp,
        points: Points,
        arrays: Arrays,
        prepared: Mapping[str, Any],
        folder: Path,
        base: Base,
    ) -> None:
        self.stamp = stamp
        self.base = base
        self.arrays = arrays
        #: What `ranking.prepare` kept for this index.
        self.prepared = prepared
        self._points = points
        self._offsets = _mapped(folder / "offsets.npy")
        self._documents = (folder / DOCUMENTS).open("rb")

    @classmethod
    def open(cls, folder: Path, stamp: Stamp, engine: Engine = _EMBEDDED) -> Self:
        """Open the index in a folder if it is whole and bears this stamp. Takes 30–100 ms.

        Args:
            engine: Keeps its points; it is not asked yet.

        Raises:
            KnowledgeBaseUnavailable: It must be built again.
        """
        _check(folder, stamp)
        try:
            base, arrays, prepared = read_base(folder), Arrays.load(folder), load_prepared(folder)
            points = engine.open(folder, base.stamp, base.points)
        except (OSError, ValueError) as error:
            raise KnowledgeBaseUnavailable(f"index {folder}: {error}") from error
        try:
            if (folder / ADDED).exists():
                lines = (folder / ADDED).read_bytes().splitlines()
                payloads, held = zip(*map(json.loads, lines), strict=True) if lines else ((), ())
                points = AddedPoints(points, base, arrays, prepared, payloads, held)
            return cls(stamp, points, arrays, prepared, folder, base)
        except (OSError, ValueError) as error:
            points.close()
            raise KnowledgeBaseUnavailable(f"index {folder}: {error}") from error

    @property
    def knowledge_base(self) -> str:
        """The knowledge base that it is of."""
        return self.stamp.knowledge_base

    async def search(
        self,
        vector: NDArray[np.float32],
        term_ids: Sequence[int],
        limit: int,
        *,
        groups: Sequence[Sequence[str]] = (),
        abroad: Abroad | None = None,
    ) -> dict[PassageKind, Found]:
        """The nearest points by meaning and by words, of each kind that there is.

        `groups` and `abroad`: see `Points.search`.

        Raises:
            KnowledgeBaseUnavailable: A server that holds the points does not answer.
        """
        kinds = tuple(KINDS[place] for place in np.flatnonzero(self.arrays.points))
        asked = dict.fromkeys(term_ids, 1.0)
        return await self._points.search(vector, asked, limit, kinds, groups=groups, abroad=abroad)

    def document(self, number: int) -> DocumentEntry:
        """What is kept of a document, by its number."""
        start, end = (int(offset) for offset in self._offsets[number : number + 2])
        self._documents.seek(start)
        return DocumentEntry(**json.loads(self._documents.read(end - start)))

    def questions(self, where: Mapping[str, str]) -> list[str]:
        """The questions of all FAQ entries whose fields match a filter."""
        numbers = set(range(len(self.arrays.kinds))) - set(self.base.hidden)
        entries = (self.document(number) for number in sorted(numbers))
        return [
            entry.question
            for entry in entries
            if entry.question and labels.matches(entry.fields, where)
        ]

    async def payloads(self, points: Sequence[int]) -> dict[int, Mapping[str, Any]]:
        """chunk_id, document_id, heading, text and page of points, by their numbers.

        Raises:
            KnowledgeBaseUnavailable: A server that holds the points does not answer.
        """
        return await self._points.payloads(points)

    def close(self) -> None:
        """Release files and memory."""
        self._documents.close()
        self._points.close()


async def opened(open_index: Callable[[Path, Stamp], Index], folder: Path, stamp: Stamp) -> Index:
    """Open an index in a thread; where nobody waits for it any more it is closed again.

    Raises:
        KnowledgeBaseUnavailable: It must be built again.
    """
    found: Future[Index] = Future()

    def open_it() -> None:
        try:
            found.set_result(open_index(folder, stamp))
        except Exception as error:
            found.set_exception(error)

    try:
        await asyncio.to_thread(open_it)
    except asyncio.CancelledError:
        # The thread goes on all the same.
        found.add_done_callback(_close)
        raise
    return found.result()


def _close(opened: Future[Index]) -> None:
    if opened.exception() is None:
        opened.result().close()


def folder_of(data_dir: Path, knowledge_base: str) -> Path:
    """Where the generations of a knowledge base lie."""
    name = knowledge_base
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,60}", name):
        # Names may differ in case alone, or be no file names at all.
        name = "kb." + hashlib.blake2s(name.encode()).hexdigest()[:24]
    return data_dir / "index" / name


def seal(folder: Path, stamp: Stamp) -> None:
    """Stamp a complete index; the sizes of its files tell later whether it is still whole."""
    content = asdict(stamp) | {"sizes": _sizes(folder)}
    (folder / _STAMP).write_text(json.dumps(content, indent=1), encoding="utf-8")


def remove_old(folder: Path, keep: Stamp) -> None:
    """Remove what lies beside an index, but for the generation before it."""
    others = [path for path in folder.iterdir() if path.name != keep.folder_name]
    generations = sorted(
        (path for path in others if re.fullmatch(r"\d+-[0-9a-f]{12}", path.name)),
        key=lambda path: (int(path.name.partition("-")[0]), path.stat().st_mtime),
    )
    for path in others:
        if path not in generations[-1:]:
            shutil.rmtree(path, ignore_errors=True)


def read_base(folder: Path) -> Base:
    """What the index in a folder was built from.

    Raises:
        KnowledgeBaseUnavailable: It must be built again.
    """
    try:
        found = json.loads((folder / _BASE).read_text(encoding="utf-8"))
        found["stamp"] = Stamp(**found["stamp"])
        found["entries"] = {id: (made, asked) for id, (made, asked) in found["entries"].items()}
        return Base(**found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KnowledgeBaseUnavailable(f"index {folder}: {error}") from error


def save_base(folder: Path, base: Base) -> None:
    """Write down what an index was built from."""
    (folder / _BASE).write_text(json.dumps(asdict(base)), encoding="utf-8")


def find_documents(
    folder: Path, ids: Collection[str], count: int
) -> dict[str, tuple[int, DocumentEntry]]:
    """Documents among the first so many of an index, by id, each with its number. Blocks."""
    # An id stands first in its line: most lines need not be read as JSON.
    wanted = {json.dumps({"document_id": id}, ensure_ascii=False).encode()[:-1] for id in ids}
    found: dict[str, tuple[int, DocumentEntry]] = {}
    with (folder / DOCUMENTS).open("rb") as file:
        for number, line in enumerate(islice(file, count)):
            if line.partition(b', "kind": ')[0] in wanted:
                entry = DocumentEntry(**json.loads(line))
                found[entry.document_id] = (number, entry)
    return found


def save_documents(folder: Path, lines: Sequence[bytes]) -> None:
    """Write the documents of an index, one JSON line each."""
    np.save(folder / "offsets.npy", np.cumsum([0, *map(len, lines)], dtype=np.int64))
    with (folder / DOCUMENTS).open("wb") as file:
        file.writelines(lines)


def save_prepared(folder: Path, prepared: Mapping[str, NDArray[Any]]) -> None:
    """Write what `ranking.prepare` made."""
    for name, array in prepared.items():
        np.save(folder / f"{_PREPARED}{name}.npy", array)


def load_prepared(folder: Path) -> dict[str, NDArray[Any]]:
    """Map all that was prepared into memory."""
    return {
        path.name.removeprefix(_PREPARED).removesuffix(".npy"): _mapped(path)
        for path in folder.glob(f"{_PREPARED}*.npy")
    }


def read_prepared(folder: Path, stamp: Stamp, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Some of what was prepared, of an index that is whole and bears this stamp.

    Raises:
        KnowledgeBaseUnavailable: It must be built again.
    """
    _check(folder, stamp)
    try:
        return {name: np.load(folder / f"{_PREPARED}{name}.npy") for name in names}
    except (OSError, ValueError) as error:
        raise KnowledgeBaseUnavailable(f"index {folder}: {error}") from error


def _check(folder: Path, stamp: Stamp) -> None:
    try:
        found = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
        sizes = found.pop("sizes")
    except FileNotFoundError as error:
        raise KnowledgeBaseUnavailable(f"index {folder}: there is none yet") from error
    except (OSError, ValueError, KeyError) as error:
        raise KnowledgeBaseUnavailable(f"index {folder}: it has no stamp") from error
    if found != asdict(stamp):
        raise KnowledgeBaseUnavailable(f"index {folder}: it was made from something else")
    # A truncated file would crash the process later, when its mapped pages are read.
    if sizes != _sizes(folder):
        raise KnowledgeBaseUnavailable(f"index {folder}: its files are damaged")


def _sizes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != _STAMP
    }


def _mapped(path: Path) -> NDArray[Any]:
    # As a plain array: every slice of a memmap costs microseconds more.
    mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped.view(np.ndarray)
