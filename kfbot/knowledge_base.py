"""KnowledgeBase: the contract with the place that finds passages for a question."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from kfbot.calibration import Calibration
from kfbot.knowledge_settings import PrivateKinds

PassageKind = Literal["faq", "document"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A chunk found for a question; of each document only the best chunk is listed."""

    knowledge_base: str
    #: The operator's id of the document or FAQ entry, unique inside its knowledge base.
    document_id: str
    chunk_id: str
    kind: PassageKind
    title: str
    heading: str = ""
    url: str = ""
    #: FAQ: the answer. Document: the chunk.
    text: str
    #: The page that the chunk begins on; 0: its format has no pages.
    page: int = 0
    #: The part of the text that answers, as shown to the customer.
    quote: str = ""
    #: FAQ: the entry's question, which names it as a choice. Document: "".
    question: str = ""
    #: Ids of documents that say the same, and are found through this one.
    duplicates: tuple[str, ...] = ()
    #: Rank score; comparable inside one retrieval only.
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """What was found for one question, best first, at most one passage a document."""

    query: str
    passages: tuple[Passage, ...] = ()
    #: For each kind that was found, named evidence on whether its first passage answers.
    evidence: Mapping[PassageKind, Mapping[str, float]] = field(default_factory=dict)
    #: Of the knowledge bases that were calibrated, by name.
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    #: Time spent, by stage ("embed", "search", "rank"), in milliseconds.
    timings_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What loading one knowledge base did. Counts are documents and FAQ entries."""

    knowledge_base: str
    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    #: Left out without fault: duplicates.
    duplicates: int = 0
    #: One line for each source that could not be read: "name: reason".
    unreadable: tuple[str, ...] = ()
    #: How often each step of reading and cleaning did something, in all that is loaded.
    counts: Mapping[str, int] = field(default_factory=dict)
    #: One line for each pair of FAQ entries that answer one question differently.
    conflicts: tuple[str, ...] = ()
    #: "theirs by mine": FAQ entries that one added by hand comes before, since it asks the same.
    overridden: tuple[str, ...] = ()
    #: One line for each thing that it went on without, and that a later load makes up for.
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeStatus:
    """The state of one knowledge base."""

    name: str
    documents: int
    chunks: int
    #: That a chat model wrote, and that chunks are found by.
    questions: int = 0
    generation: int
    loaded_at: datetime | None
    unreadable: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    #: True: it was taken back, and is loaded again only by hand.
    rolled_back: bool = False
    #: Why the last load by this process failed; "": it did not.
    fault: str = ""
    #: Entries by hand, among the documents; see `LoadReport.overridden`.
    added: int = 0
    overridden: tuple[str, ...] = ()
    #: What was measured of it last, if anything …
    calibration: Calibration | None = None
    #: … and that it holds no more: the model or the signals are others now.
    calibration_is_stale: bool = False


#: Called with (stage, done, total) while a long load goes on; from any thread.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Scope:
    """What customers may be answered from. Nothing else is searched, offered or named."""

    #: Knowledge bases; None: all of them.
    names: tuple[str, ...] | None = None
    #: Fields with the value that documents must have, if they have the field.
    where: Mapping[str, str] = field(default_factory=dict)

    def only(self, name: str) -> Scope:
        """Of this scope what lies in one knowledge base."""
        is_open = self.names is None or name in self.names
        return Scope((name,) if is_open else (), self.where)


EVERYTHING = Scope()
NOTHING = Scope(names=())


#: approved: by a person at the desk; chat: by an admin's command.
EntrySource = Literal["approved", "chat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A question and its answer that somebody added beside the sources."""

    id: str
    question: str
    answer: str
    #: Other ways to ask the same.
    variants: tuple[str, ...] = ()


class KnowledgeBase(Protocol):
    """Finds passages; loads sources. Knows nothing of conversations or decisions."""

    async def search(
        self,
        query: str,
        *,
        names: Collection[str] | None = None,
        where: Mapping[str, str] | None = None,
        limit: int = 10,
        earlier: Sequence[str] = (),
        standalone: bool = False,
    ) -> Retrieval:
        """Find passages for a question in the named knowledge bases (None: in all).

        Other knowledge bases have no influence on what is found, nor on its scores. Documents
        that `where` leaves out are never ranked; they count only for how rare a word is. See
        `Scope` for `where`.

        Args:
            earlier: Messages before the question, oldest first, of which the last few are read:
                what the question leaves out is taken from them, the nearer the sooner. A passage
                that one of them says in full is not found again.
            standalone: The question leaves nothing out: nothing is taken from `earlier`.

        Raises:
            KnowledgeBaseUnavailable: It cannot be asked now.
        """

    async def load(
        self, names: Collection[str] | None = None, *, progress: Progress | None = None
    ) -> tuple[LoadReport, ...]:
        """Bring the named knowledge bases (None: all) up to date with their sources.

        Questions asked meanwhile see the old state or the new one, never a mixture.

        Raises:
            KnowledgeBaseUnavailable: Nothing was changed.
        """

    async def roll_back(self, name: str) -> int:
        """Put the generation before the last load in force again, and return its number.

        Raises:
            KnowledgeBaseUnavailable: There is none.
            StoreUnavailable: Nothing was changed.
        """

    async def calibrate(self, name: str, calibration: Calibration | None) -> None:
        """Correct what is estimated for a knowledge base like this from now on; None: not at all.

        Raises:
            KnowledgeBaseUnavailable: It was never loaded; nothing was changed.
            StoreUnavailable: Nothing was changed.
        """

    async def add_entry(self, name: str, entry: Entry, *, source: EntrySource) -> None:
        """Answer with this entry from now on, also after every load and in every process.

        An entry that was added under the same id is replaced. It is cleaned as documents are:
        private data is masked before anything is stored.

        Raises:
            EntryRejected: It cannot be stored like this: nothing is left of its question or its
                answer, or a document of the sources has this id.
            KnowledgeBaseUnavailable: There is no such knowledge base, or it cannot be changed
                now; nothing was changed.
            StoreUnavailable: Nothing was changed.
        """

    async def remove_entry(self, name: str, entry_id: str) -> bool:
        """Forget an entry that was added; False where there is none of this id.

        Raises:
            KnowledgeBaseUnavailable: It cannot be changed now; nothing was changed.
            StoreUnavailable: Nothing was changed.
        """

    async def added(self, name: str) -> tuple[Entry, ...]:
        """What was added by hand and approval, by id.

        Raises:
            StoreUnavailable: It cannot be read.
        """

    async def alike(self, questions: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Group questions that mean the same, also across languages: places in `questions`.

        Each question is in one group; the largest group comes first, and in each the question
        that stands for it best.

        Raises:
            KnowledgeBaseUnavailable: They cannot be embedded now.
        """

    async def masked(
        self, texts: Sequence[str], kinds: PrivateKinds | None = None
    ) -> tuple[str, ...]:
        """The texts with private data masked: of these kinds, or of every kind there is."""

    async def fingerprint(self, name: str) -> str:
        """Differs once a file of its local sources does; files are not opened for it."""

    async def refresh(self) -> None:
        """Take up what another process has loaded; until then the state before is asked.

        What cannot be taken up is logged, and stays as it is.

        Raises:
            StoreUnavailable: Nobody knows what was loaded: the database cannot be read.
        """

    async def examples(
        self,
        language: str,
        limit: int,
        *,
        names: Collection[str] | None = None,
        where: Mapping[str, str] | None = None,
    ) -> tuple[str, ...]:
        """Some questions in a language ("zh" or "en") that it can answer, for a greeting."""

    async def document_ids(self) -> frozenset[str]:
        """The operator's ids of all documents and FAQ entries that are loaded."""

    async def status(self) -> tuple[KnowledgeStatus, ...]:
        """The state of every configured knowledge base."""
