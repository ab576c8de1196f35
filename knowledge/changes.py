"""What a load changes: what the sources hold now is compared with what is in force."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kfbot.errors import DocumentUnreadable
from kfbot.knowledge_base import LoadReport
from kfbot.store.knowledge_rows import DocumentRow, FileRow
from knowledge.documents import SourceFile
from knowledge.freshness import Seen, SeenFile
from knowledge.reading import Ids, Parsed, ParsedDocument
from knowledge.vectors import Pending


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference between the sources and what is in force."""

    written: Sequence[Pending]
    removed: Collection[str]
    #: Ids of written documents that are in force in another form.
    changed: Collection[str]
    #: Files that are new or changed, and the paths of those that are gone.
    files: Sequence[FileRow]
    files_gone: Collection[str]
    report: LoadReport
    #: Ids of documents that stay as they are, but for the questions that they are found by.
    due: Collection[str] = ()


def compare(
    name: str,
    seen: Seen,
    parsed: Mapping[str, Parsed],
    stored: Mapping[str, DocumentRow],
    known_files: Mapping[str, FileRow],
    *,
    from_scratch: bool = False,
) -> Changes:
    """Find what a load changes; with `from_scratch`, all that was read is written.

    What came from a source that cannot be reached stays: more likely a disk is not mounted
    than everything on it meant to be forgotten.

    Args:
        name: The knowledge base.
        seen: The files that its sources hold.
        parsed: What those gave that were read anew, by path.
        stored: The documents in force, by id.
        known_files: The files of the last load, by path.
    """
    comparison = _Comparison(stored, from_scratch=from_scratch)
    for one in seen.files:
        fresh = parsed.get(one.row.path)
        if fresh is None:
            comparison.keep(one)
        else:
            comparison.take(one, fresh)
    paths = {one.row.path for one in seen.files}
    removed = {
        row.document_id
        for row in stored.values()
        if row.source == "file"
        and row.document_id not in comparison.present
        and not _is_below(row.path, seen.unreached)
    }
    return Changes(
        written=list(comparison.written.values()),
        removed=removed,
        changed=comparison.changed,
        files=comparison.files,
        files_gone={
            path for path in known_files.keys() - paths if not _is_below(path, seen.unreached)
        },
        report=_report(name, seen, comparison, stored, len(removed)),
    )


def _report(
    name: str,
    seen: Seen,
    comparison: _Comparison,
    stored: Mapping[str, DocumentRow],
    removed: int,
) -> LoadReport:
    return LoadReport(
        knowledge_base=name,
        added=len(comparison.written.keys() - stored.keys()),
        changed=len(comparison.changed),
        removed=removed,
        unchanged=len(stored) - len(comparison.changed) - removed,
        duplicates=comparison.duplicates,
        unreadable=(*seen.unreadable, *comparison.unreadable),
        counts=dict(comparison.counts),
    )


def _is_below(path: str, folders: Collection[str]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)


class _Comparison:
    """Goes through files in their order, and collects what is to be done."""

    def __init__(self, stored: Mapping[str, DocumentRow], *, from_scratch: bool) -> None:
        self._stored = stored
        self._from_scratch = from_scratch
        self._by_path: dict[str, list[DocumentRow]] = {}
        for row in stored.values():
            if row.source == "file":
                self._by_path.setdefault(row.path, []).append(row)
        self._ids = Ids()
        #: Ids of documents that some file has.
        self.present: set[str] = set()
        self.written: dict[str, Pending] = {}
        self.changed: set[str] = set()
        self.files: list[FileRow] = []
        self.unreadable: list[str] = []
        self.counts: Counter[str] = Counter()
        self.duplicates = 0

    def keep(self, one: SeenFile) -> None:
        """A file that is as it was, with what it gave then."""
        clashes = [
            self._claim(row.document_id, row.content_hash, one.file)
            for row in self._by_path.get(one.row.path, ())
        ]
        self._note(one.row, is_final=all(clashes), is_new=not one.is_known)

    def take(self, one: SeenFile, parsed: Parsed) -> None:
        """A file that was read anew."""
        is_final = parsed.is_complete
        for found in parsed.documents:
            document = found.document
            claimed = self._claim(document.id, document.content_hash, one.file, found.place)
            is_final = is_final and claimed
            if claimed and document.id not in self.written:
                self._write(found)
        row = replace(one.row, unreadable=parsed.unreadable, counts=parsed.counts)
        self._note(row, is_final=is_final, is_new=True)

    def _claim(
        self, document_id: str, content_hash: str, file: SourceFile, place: str = ""
    ) -> bool:
        """True if a document may have its id, or it is there already with the same content."""
        entry = self._stored.get(document_id)
        if entry is not None and entry.source != "file":
            reason = f"{place}id {document_id!r} is an approved entry's"
            self.unreadable.append(str(DocumentUnreadable(file.name, reason)))
            return False
        claimed = self._ids.claim(document_id, content_hash, file, place)
        if isinstance(claimed, DocumentUnreadable):
            self.unreadable.append(str(claimed))
            return False
        self.duplicates += not claimed
        self.present.add(document_id)
        return True

    def _write(self, found: ParsedDocument) -> None:
        row = _row(found)
        before = self._stored.get(row.document_id)
        # What was asked of it is known once its chunks are.
        is_new = before is None or replace(before, asked=row.asked) != row
        if before is not None and is_new:
            self.changed.add(row.document_id)
        if is_new or self._from_scratch:
            self.written[row.document_id] = Pending(row, found.chunks)

    def _note(self, row: FileRow, *, is_final: bool, is_new: bool) -> None:
        self.unreadable += row.unreadable
        self.counts.update(row.counts)
        if is_new or not is_final:
            # Without a key it is read again next time: what stood in its way may be gone.
            self.files.append(row if is_final else replace(row, read_key=""))


def _row(found: ParsedDocument) -> DocumentRow:
    document = found.document
    return DocumentRow(
        document_id=document.id,
        kind=document.kind,
        path=document.path,
        content_hash=document.content_hash,
        title=document.title,
        url=document.url,
        answer=document.answer,
        fields=dict(document.metadata),
        signature=found.signature,
    )
