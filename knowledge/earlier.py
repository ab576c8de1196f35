"""What a question leaves out, taken from what was said before it: the nearer, the more it counts.

Figures were chosen on three public sets of conversations (`multiturn_*`); each lies in the middle
of a wide range that does as well on all three.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfbot.knowledge_base import PassageKind
from knowledge import terms
from knowledge.geometry import unit
from knowledge.index import Arrays
from knowledge.ranking import Question
from knowledge.word_match import in_sorted

#: Messages that are looked back on, and how much is read of each.
MESSAGES = 6
READ_LENGTH = 600
#: What the last message weighs in meaning beside the question, and each one before it.
_SHARE = 0.7
_FADES = 0.6
#: How fast words lose against those of the message after theirs.
_WORDS_FADE = 0.6
#: What is talked about has a name: beside meaning, words count so many times as much.
_WORDS_COUNT = 2.0
#: Shorter texts stand inside others by chance.
_TELLING = 20
#: Words are carried until they weigh as much as so many of the rarest.
_CARRIED = 10

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Earlier:
    """Messages before a question, oldest first, with their vectors as queries (a row each)."""

    #: As they are read, without what follows.
    texts: tuple[str, ...]
    vectors: Vectors
    #: All that they say, without white space.
    said: tuple[str, ...] = ()

    def mixed_into(self, vector: Vectors) -> Vectors:
        """The question's vector with what was said before, of length one."""
        if not self.texts:
            return vector
        shares = _SHARE * _FADES ** np.arange(len(self.texts), dtype=np.float32)[::-1]
        return unit(np.asarray(vector + shares @ self.vectors, np.float32))

    def has(self, text: str) -> bool:
        """True where one of the messages says a text in full."""
        wanted = _squeezed(text)
        if len(wanted) < _TELLING:
            return bool(wanted) and wanted in self.said
        return any(wanted in said for said in self.said)


NOTHING_EARLIER = Earlier((), np.zeros((0, 0), np.float32))


async def embedded(
    query: str,
    earlier: Sequence[str],
    embed: Callable[[str], Awaitable[Vectors]],
    *,
    standalone: bool = False,
) -> tuple[Vectors, Earlier]:
    """The vector of a question, and the last messages before it with theirs.

    Args:
        standalone: The question leaves nothing out: of the messages it only counts what they say.

    Raises:
        KnowledgeBaseUnavailable: The model does not answer.
    """
    last = [text for text in earlier[-MESSAGES:] if text.strip()]
    texts = () if standalone else tuple(text[:READ_LENGTH] for text in last)
    said = tuple(_squeezed(text) for text in last)
    vector, *before = await asyncio.gather(
        *(embed(terms.simplify(text)) for text in (query, *texts))
    )
    if not before:
        return vector, replace(NOTHING_EARLIER, said=said) if said else NOTHING_EARLIER
    return vector, Earlier(texts, np.stack(before), said)


def completed(
    question: Question, arrays: Arrays, prepared: Mapping[str, NDArray[Any]], earlier: Earlier
) -> Question:
    """The question with words of the messages that the knowledge base knows.

    Its own words, numbers and names stay apart (`text`, `terms`): quotes go by them.
    """
    if not earlier.texts:
        return question
    kind: PassageKind = "document" if arrays.points[1] > arrays.points[0] else "faq"
    known = (arrays.faq_terms, arrays.document_terms, prepared["answer_terms"])
    worth: dict[int, float] = {}
    weighs: dict[int, float] = {}
    for distance, text in enumerate(reversed(earlier.texts)):
        ids = np.unique([terms.term_id(term) for term in terms.tokenise(text)]).astype(np.uint32)
        ids = ids[np.any([in_sorted(ids, one) for one in known], axis=0)]
        idf = arrays.idf(kind, ids)
        for number, weight in zip(ids.tolist(), idf.tolist(), strict=True):
            weighs.setdefault(number, weight)
            worth.setdefault(number, weight * _WORDS_FADE**distance)
    left = _CARRIED * float(arrays.idf(kind, np.zeros(1, np.uint32))[0])
    carried = []
    for number in sorted(worth, key=lambda one: -worth[one]):
        if left <= 0:
            break
        carried.append(number)
        left -= weighs[number]
    both = np.union1d(question.term_ids, np.array(carried, np.uint32)).astype(np.uint32)
    return replace(question, term_ids=both, words_count=_WORDS_COUNT)


def _squeezed(text: str) -> str:
    return "".join(text.split())
