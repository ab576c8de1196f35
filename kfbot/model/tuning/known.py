"""What is known: the operator's documents and code, as examples are made from them."""

from __future__ import annotations

import math
import os
import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from kfbot.knowledge_base import Passage, PassageKind
from kfbot.model.tuning.examples import TuningDataError
from kfbot.store.knowledge_rows import StoredDocument

#: Texts with their private data masked.
Mask = Callable[[Sequence[str]], Sequence[str]]

_TERM = re.compile(r"[a-z0-9]+|[㐀-鿿]{2}")
#: What code and the texts beside it are called.
_CODE = frozenset(
    (
        *(".c", ".cc", ".cfg", ".cpp", ".cs", ".go", ".h", ".hpp", ".ini", ".java", ".js"),
        *(".json", ".kt", ".md", ".php", ".proto", ".py", ".rb", ".rs", ".rst", ".scala"),
        *(".sh", ".sql", ".swift", ".toml", ".ts", ".txt", ".vue", ".yaml", ".yml"),
    )
)
_LARGEST_FILE = 400_000
#: Characters of a passage of code, about.
_CODE_LENGTH = 1200


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A document or FAQ entry."""

    #: "knowledge base/document id", unique.
    key: str
    kind: PassageKind
    #: Of an FAQ entry its answer; of a document its chunks in order.
    passages: tuple[Passage, ...]
    #: FAQ: its question, then its variants.
    questions: tuple[str, ...] = ()


def known_of(knowledge_base: str, stored: StoredDocument, mask: Mask) -> Known | None:
    """A document of the store with its private data masked; None where nothing is in it."""
    row, chunks = stored.document, stored.chunks
    is_faq = row.kind == "faq"
    texts = [row.answer] if is_faq else [chunk.text for chunk in chunks]
    if not chunks or not any(text.strip() for text in texts):
        return None
    title, *rest = mask([row.title, *texts, *(one.heading for one in chunks)])
    said, headings = rest[: len(texts)], rest[len(texts) :]
    questions = mask([chunk.text for chunk in chunks]) if is_faq else ()
    passages = tuple(
        Passage(
            knowledge_base=knowledge_base,
            document_id=row.document_id,
            chunk_id=chunk.id,
            kind=row.kind,
            title=title,
            heading=heading,
            url=row.url,
            text=text,
            question=questions[0] if questions else "",
            score=0.0,
        )
        # Of an entry the first chunk stands for all: they are its question and its variants.
        for chunk, text, heading in zip(chunks, said, headings, strict=False)
        if text.strip()
    )
    key = f"{knowledge_base}/{row.document_id}"
    return Known(key=key, kind=row.kind, passages=passages, questions=tuple(questions))


def searched(passage: Passage) -> str:
    """What the embedding model reads of a passage: a question alone, a text with its place."""
    if passage.kind == "faq":
        return passage.question
    return "\n".join(part for part in (passage.title, passage.heading, passage.text) if part)


def key_of(passage: Passage) -> str:
    """The document of a passage, as `Known.key`."""
    return f"{passage.knowledge_base}/{passage.document_id}"


def code_of(folder: Path, mask: Mask) -> Iterator[Known]:
    """The files of a folder of code, cut between its blocks; hidden and large ones left out.

    Private data is masked.

    Raises:
        TuningDataError: There is no such folder.
    """
    if not folder.is_dir():
        raise TuningDataError(f"--code {folder} is no folder")
    for path in sorted(_files(folder)):
        name = path.relative_to(folder).as_posix()
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        passages = tuple(
            Passage(
                knowledge_base="code",
                document_id=name,
                chunk_id=f"code/{name}/{number}",
                kind="document",
                title=name,
                text=piece,
                score=0.0,
            )
            for number, piece in enumerate(mask(list(_blocks(text))))
        )
        if passages:
            yield Known(key=f"code/{name}", kind="document", passages=passages)


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [one for one in folders if not one.startswith(".") and one != "node_modules"]
        for name in names:
            path = Path(place, name)
            is_code = path.suffix.lower() in _CODE and not name.startswith(".")
            if is_code and path.is_file() and path.stat().st_size <= _LARGEST_FILE:
                yield path


def _blocks(text: str) -> Iterator[str]:
    """Stretches between empty lines, put together to about one length; long ones are cut."""
    gathered = ""
    for block in re.split(r"\n\s*\n", text.strip()):
        if gathered and len(gathered) + len(block) > _CODE_LENGTH:
            yield gathered
            gathered = ""
        gathered = f"{gathered}\n\n{block}" if gathered else block
        while len(gathered) > 2 * _CODE_LENGTH:
            end = gathered.rfind("\n", 0, _CODE_LENGTH) + 1 or _CODE_LENGTH
            yield gathered[:end].rstrip()
            gathered = gathered[end:]
    if gathered.strip():
        yield gathered


class Shelf:
    """Passages to search by their words: what stands beside the right one in a prompt.

    It asks no embedding model: examples are made of a part of the documents only, and what was
    indexed of all of them would find passages of other splits.
    """

    #: Of a question so many of its rarest terms are looked up.
    _TERMS = 40

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = passages
        self._places: defaultdict[str, list[int]] = defaultdict(list)
        for place, passage in enumerate(passages):
            said = f"{passage.title} {passage.heading} {passage.question} {passage.text}"
            for term in _terms(said):
                self._places[term].append(place)

    def nearest(self, text: str, count: int, *, without: Collection[str] = ()) -> list[Passage]:
        """The passages that share the most and rarest words with a text, one a document.

        Where too few share any, others fill them up: a search finds something to every question.

        Args:
            without: Keys of documents that are not wanted.
        """
        rare = sorted(
            (term for term in _terms(text) if term in self._places),
            key=lambda term: (len(self._places[term]), term),
        )[: self._TERMS]
        scores: defaultdict[int, float] = defaultdict(float)
        for term in rare:
            worth = math.log(1 + len(self._passages) / len(self._places[term]))
            for place in self._places[term]:
                scores[place] += worth
        best = (place for place, _ in sorted(scores.items(), key=lambda one: (-one[1], one[0])))
        size = len(self._passages)
        start = zlib.crc32(text.encode("utf-8", "replace")) % max(size, 1)
        found: dict[str, Passage] = {}
        for place in chain(best, ((start + step) % size for step in range(size))):
            if len(found) >= count:
                break
            key = key_of(self._passages[place])
            if key not in without and key not in found:
                found[key] = self._passages[place]
        return list(found.values())


def _terms(text: str) -> set[str]:
    folded = text.casefold()
    pairs = {folded[at : at + 2] for at in range(len(folded) - 1)}
    return {
        *re.findall(r"[a-z0-9]+", folded),
        *(pair for pair in pairs if _TERM.fullmatch(pair) and not pair.isascii()),
    }
