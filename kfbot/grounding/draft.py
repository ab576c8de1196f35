"""What of a completion is good: sentences with their passages, and whether the rest still holds."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from kfbot.conversation import Language
from kfbot.errors import CompletionUnsupported
from kfbot.grounding.languages import is_in
from kfbot.grounding.prompting import as_it_was
from kfbot.grounding.refusals import is_apology, is_refusal
from kfbot.grounding.sentences import sentences
from kfbot.grounding.support import Verdict, check, prepare, states_nothing
from kfbot.knowledge_base import Passage

_NUMBERS = r"\d{1,3}(?:\s*[,，、;–-]\s*\d{1,3})*"
#: As models write it: [1], [1, 2], 【1】, ［1］, [^1], [Passage 1], [段落1].
_MARK = re.compile(
    rf"[^\S\n]*[\[【［]\s*(?:\^|passages?\s*|段落\s*)?({_NUMBERS})\s*[\]】］]", re.IGNORECASE
)
_END = re.compile(r"[.!?。！？…:：;；|）)\"”’」』*]\s*$")
_FULL_STOP = re.compile(r"[.!?。！？][)\"”’」』*]*\s*$")
_ITEM = re.compile(r"\s*(?:[-*+•·]\s|\(?\d{1,3}[.)、）]|[①-⑳])")
_ONLY_A_BULLET = re.compile(r"\s*(?:[-*+•·]|\(?\d{1,3}[.)、）]|#{1,6}|\*{2,3})\s*")
#: Leans on the sentence before it, or takes some of it back.
_LEANS = re.compile(
    r"[\s*_-]*(?:(?:however|but|otherwise|yet|though|instead|in that case|if so|if not|unless"
    r"|except|therefore|thus|so|then|also|it|its|they|their|this|that|these|those)\b"
    r"|但|不过|然而|否则|除非|因此|所以|那么|它|该|这|此|其|否)",
    re.IGNORECASE,
)
_TAKES_BACK = re.compile(
    r"[\s*_-]*(?:(?:however|but|otherwise|yet|though|unless|except)\b|但|不过|然而|否则|除非)",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r",? (?:and|while|whereas) |[;；，]\s*|并且|而且")
_WORD = re.compile(r"[^\W_㐀-鿿]+|[㐀-鿿]")
#: A list of sources below the answer: the marks say it.
_SOURCES = re.compile(
    r"[\s*#_]*(?:sources?|references?|citations?|来源|参考|出处|引用)[\s*_:：]*", re.I
)

#: Told a sentence, the passage and the verdict so far; returns the verdict.
Judge = Callable[[str, str, Verdict], Awaitable[Verdict]]

#: Chinese puts no space behind a mark.
_WIDE = re.compile(r"[　-〿㐀-鿿＀-￯]")


@dataclass
class Draft:
    """An answer as it grows; its text holds nothing that no passage says."""

    passages: Sequence[Passage]
    #: Of the customer: a sentence in another one is taken out.
    language: Language
    question: str = ""
    #: Has the last word on a verdict, told the sentence and the passage; None: there is none.
    judge: Judge | None = None
    text: str = ""
    #: The model says that the passages do not answer.
    refused: bool = False
    #: Sentences that were taken out, by what their passage lacked.
    dropped: list[Verdict] = field(default_factory=list)
    #: Places of the passages in the order of their numbers, with the sentences that cite them.
    _cited: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    _kept: int = 0
    #: A sentence has come with a full stop.
    _is_punctuated: bool = False
    #: The rest would say something else without what was taken out.
    _misleads: bool = False
    _after_gap: bool = False
    #: A bullet whose item comes next.
    _ahead: str = ""
    #: Line ends that stood before what was taken out.
    _lines: int = 0

    def prepare(self) -> None:
        """Take the passages apart: much more work than to check a sentence against them."""
        for place in range(len(self.passages)):
            prepare(self._whole(place))

    async def add(self, sentence: str, *, is_last: bool = False, is_full: bool = False) -> bool:
        """Take a sentence in if a passage says it; True where the text to be shown has grown.

        Args:
            is_last: No more comes: without the end that the others have this is half a sentence,
                unless it is an item of a list.
            is_full: The model could write no more: then an item may be half of one too.
        """
        self.refused = self.refused or is_refusal(sentence)
        if self.refused:
            return False
        sentence = self._ahead + as_it_was(sentence)
        self._ahead = ""
        words = _MARK.sub("", sentence)
        if _SOURCES.fullmatch(words):
            return False
        if _ONLY_A_BULLET.fullmatch(sentence) or not words.strip():
            self._ahead = words
            return False
        is_ended = words != sentence or _END.search(words) is not None
        is_half = is_full or (self._is_punctuated and not _ITEM.match(words))
        if is_last and is_half and not is_ended:
            return False
        self._is_punctuated |= _FULL_STOP.search(words) is not None and not _ITEM.match(words)
        return await self._judged(sentence)

    def check_whole(self) -> None:
        """Make sure that what is left can be shown.

        Raises:
            CompletionUnsupported: Nothing is left, or too little to say what was meant.
        """
        gone = len(self.dropped)
        if not self._kept or self._misleads or gone > self._kept:
            raise CompletionUnsupported(
                f"{gone} of {gone + self._kept} sentences are not in the passages",
                dropped=tuple(self.dropped),
            )

    def cited(self) -> tuple[Passage, ...]:
        """The passages that are cited, each with the sentences that the answer rests on."""
        return tuple(
            replace(self.passages[first], quote=self._quote(said))
            for first, said in self._cited.items()
        )

    def _quote(self, said: Sequence[tuple[int, str]]) -> str:
        places = dict.fromkeys(place for place, _ in said)
        quotes = (
            quoted(self.passages[place], [words for one, words in said if one == place])
            for place in places
        )
        return " … ".join(dict.fromkeys(quotes))

    async def _judged(self, sentence: str) -> bool:
        words = _MARK.sub("", sentence)
        if states_nothing(words) and not is_in(words, self.language):
            return False
        verdict, marked = await self._proved(sentence, words)
        if verdict not in ("supported", "nothing"):
            if is_apology(words):
                self.refused = True
                return False
            self._take_out(words, verdict)
            return False
        if verdict == "supported":
            # "It" or "however" behind a gap speaks of what is gone.
            self._misleads |= self._after_gap and bool(_LEANS.match(words))
            self._kept, self._after_gap = self._kept + 1, False
        self._append(marked)
        return not self._misleads and bool(self._kept)

    def _take_out(self, words: str, verdict: Verdict) -> None:
        is_first = not self._kept and not self.dropped
        if is_first or _ITEM.match(words) or _TAKES_BACK.match(words):
            self._misleads = True
        self.dropped.append(verdict)
        self._after_gap = True
        self._lines = max(self._lines, _line_ends(words))

    async def _proved(self, sentence: str, words: str) -> tuple[Verdict, str]:
        """The verdict on a sentence, and the sentence with the marks of what says it."""
        if not is_in(words, self.language):
            return "language", ""
        named = [place for numbers in _MARK.findall(sentence) for place in self._places(numbers)]
        places = list(dict.fromkeys(named)) or range(len(self.passages))
        verdict: Verdict = "words"
        for place in places:
            # Without a mark the judge would be asked about every passage.
            verdict = await self._verdict(words, place, is_final=not named and place > 0)
            if verdict == "nothing":
                return verdict, words.rstrip()
            if verdict == "supported":
                return verdict, f"{words.rstrip()}{self._marks({place: words})}"
        if len(places) > 1 and named and (said := await self._by_clauses(words, places)):
            return "supported", f"{words.rstrip()}{self._marks(said)}"
        return verdict, ""

    async def _by_clauses(self, words: str, places: Sequence[int]) -> dict[int, str]:
        """Which of several passages says which clause of a sentence; empty: not all are said."""
        said: dict[int, str] = {}
        clauses = [clause for clause in _CLAUSE.split(words) if clause.strip()]
        for clause in clauses if len(clauses) > 1 else ():
            for place in places:
                if await self._verdict(clause, place) == "supported":
                    said[place] = f"{said.get(place, '')} {clause}"
                    break
            else:
                return {}
        return said

    async def _verdict(self, words: str, place: int, *, is_final: bool = False) -> Verdict:
        """What the rules say of a sentence and a passage, then the judge.

        Args:
            is_final: The judge is not asked whether one language says what another does.
        """
        whole = self._whole(place)
        verdict = check(words.strip(), whole, said=f"{self.question}\n{self.text}")
        if verdict == "supported" and self._is_only_named(words, place):
            verdict = "words"
        if self.judge is None or (is_final and verdict == "foreign"):
            return verdict
        return await self.judge(words, whole, verdict)

    def _is_only_named(self, words: str, place: int) -> bool:
        """Whether the title or a heading says it, and the text does not.

        They name what is spoken of; a title may be no more than the name of a file.
        """
        passage, said = self.passages[place], f"{self.question}\n{self.text}"
        name = "\n".join(part for part in (passage.title, passage.heading) if part)
        if check(words.strip(), name, said=said) != "supported":
            return False
        return check(words.strip(), passage.text, said=said) != "supported"

    def _whole(self, place: int) -> str:
        passage = self.passages[place]
        parts = (passage.title, passage.heading, passage.text)
        return "\n".join(part for part in parts if part)

    def _places(self, numbers: str) -> list[int]:
        places = [int(number) - 1 for number in re.findall(r"\d+", numbers)]
        return [place for place in places if 0 <= place < len(self.passages)]

    def _marks(self, said: dict[int, str]) -> str:
        for place, words in said.items():
            self._cited.setdefault(self._source(place), []).append((place, words))
        order = list(self._cited)
        numbers = dict.fromkeys(order.index(self._source(place)) + 1 for place in said)
        return "".join(f"[{number}]" for number in numbers)

    def _source(self, place: int) -> int:
        """The first of the passages that the same source is named for."""
        return [_named(one) for one in self.passages].index(_named(self.passages[place]))

    def _append(self, marked: str) -> None:
        """Put a sentence behind the text, with the space that belongs there."""
        body = marked.lstrip()
        lines, self._lines = max(self._lines, _line_ends(marked)), 0
        words, mark = re.fullmatch(r"(.*?)((?:\[\d+\])*)", body, re.DOTALL).groups()  # type: ignore[union-attr]
        if mark:
            body = words if _WIDE.match(words[-1:]) else f"{words} "
            body += mark
        if not self.text:
            self.text = body
        elif lines:
            indent = marked[: len(marked) - len(marked.lstrip())].rpartition("\n")[2]
            self.text += "\n" * min(lines, 2) + indent + body
        else:
            # "[1](" would begin a link.
            tight = _WIDE.match(body) or _WIDE.match(self.text.rstrip("[]0123456789")[-1:])
            self.text += body if tight and body[0] not in "([:" else f" {body}"


def _line_ends(text: str) -> int:
    return text[: len(text) - len(text.lstrip())].count("\n")


def _named(passage: Passage) -> tuple[str, str, str, int]:
    return passage.knowledge_base, passage.document_id, passage.heading, passage.page


def quoted(passage: Passage, said: Sequence[str]) -> str:
    """The sentences of a passage that have most in common with what was said."""
    pieces = sentences(passage.text)
    words = [set(_WORD.findall(piece.casefold())) for piece in pieces]
    places: set[int] = set()
    for one in said:
        wanted = set(_WORD.findall(one.casefold()))
        common = [len(wanted & had) for had in words]
        if any(common):
            places.add(common.index(max(common)))
    return " … ".join(
        "".join(pieces[start:end]).strip() for start, end in _runs(sorted(places))
    ) or (passage.quote or passage.text)  # fmt: skip


def _runs(places: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for place in places:
        if runs and runs[-1][1] == place:
            runs[-1] = (runs[-1][0], place + 1)
        else:
            runs.append((place, place + 1))
    return runs
