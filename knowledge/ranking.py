"""Orders the documents that a search found: numpy only.

Meaning and words are added up, words as a share of what the question could reach at most: where
question and passages differ in language, or the words are unknown, that share is about zero and
meaning decides alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kfbot.knowledge_base import PassageKind
from knowledge import terms
from knowledge.answer_share import LEXICAL_SHARE, answer_share
from knowledge.geometry import LANGUAGES, language_number, survey, unit
from knowledge.habits import usual_words
from knowledge.index import Arrays, DocumentEntry
from knowledge.labels import language_label, names_of
from knowledge.points import KINDS, Abroad, Found
from knowledge.sentences import split_sentences
from knowledge.variants_head import nearness, train
from knowledge.word_match import answer_terms, answers, lexical, ranges

#: What a full match of words is worth beside a cosine of 1.
_LEXICAL_SHARE: Mapping[PassageKind, float] = {"faq": LEXICAL_SHARE, "document": 0.4}
#: What words give to a wrong text in the question's language, as a share of a full match: texts in
#: the other language are given it, where there are both.
_USUAL_LEXICAL = 0.45
#: The least share of texts that makes a language one of the knowledge base's.
SPOKEN = 0.05
#: Documents that are so little behind the first run a close race, so many at most.
_CLOSE = 0.05
_RACERS = 5
#: What it is worth there that one sentence carries all of the question's words.
_SENTENCE_SHARE = 0.1
#: From this cosine on, each measured from the centre of its language, two texts say the same. Of
#: the sample shop's entries 95 % of the translations reach it, and 1 % of other pairs.
_TRANSLATION = {"faq": 0.28, "document": 0.5}
#: With fewer documents, cosines from their centre say little.
_ENOUGH = 40
#: So far behind, a text in the customer's language still is the better one to show.
_NO_WORSE = 0.25
#: Documents among which translations are looked for.
_COMPARED = 20
#: By how much the cosine to a question is greater than to a passage that answers.
FAQ_IS_NEARER = 0.03
#: What a difference of scores comes to as a difference of plain cosines.
_SPREAD = 0.2


@dataclass(frozen=True, slots=True)
class Question:
    """A question as ranking sees it."""

    text: str
    #: L2-normalised.
    vector: NDArray[np.float32]
    terms: tuple[str, ...]
    #: The distinct terms' numbers, ascending.
    term_ids: NDArray[np.uint32]
    #: Its place in `geometry.LANGUAGES`.
    language: int
    #: So many times as much as usually words count beside meaning.
    words_count: float = 1.0

    @classmethod
    def of(cls, text: str, vector: NDArray[np.float32]) -> Question:
        """A question from its text and its vector."""
        found = tuple(terms.tokenise(text))
        ids = np.unique(np.array([terms.term_id(term) for term in found], np.uint32))
        return cls(text, vector, found, ids, language_number(text))


@dataclass(frozen=True, slots=True)
class Ranked:
    """Documents of one kind, best first, each with its best point."""

    kind: PassageKind
    documents: NDArray[np.int64]
    points: NDArray[np.int64]
    scores: NDArray[np.float32]
    #: Cosine, and BM25 as a share of what the question could reach, of the document.
    dense: NDArray[np.float32]
    lexical: NDArray[np.float32]
    #: The greatest plain cosine of any point.
    nearest: float

    def compatriots(self, languages: NDArray[np.uint8], language: int) -> Self:
        """Only those in a language (`languages`: of each point), if the first one is."""
        own = languages[self.points] == language
        return self.only(own) if len(own) and own[0] else self

    def only(self, kept: NDArray[np.bool_ | np.int64]) -> Self:
        """The same of some of the documents: a mask, or their places."""
        return replace(
            self,
            documents=self.documents[kept],
            points=self.points[kept],
            scores=self.scores[kept],
            dense=self.dense[kept],
            lexical=self.lexical[kept],
        )

    def led_by(self, place: int) -> Self:
        """The same with the document of a place in front: what it leads by is negative."""
        places = np.arange(len(self.documents))
        return self.only(np.concatenate([places[[place]], np.delete(places, place)]))

    def comparable(self) -> NDArray[np.float32]:
        """Scores that can be set beside those of other kinds and knowledge bases.

        Plain cosines compare, scores do not. Questions lie nearer to questions than to
        passages that answer them, which is made up for.
        """
        if not len(self.scores):
            return self.scores
        lead = self.nearest - (FAQ_IS_NEARER if self.kind == "faq" else 0.0)
        return np.asarray(lead + _SPREAD * (self.scores - self.scores[0]), np.float32)


def prepare(
    arrays: Arrays,
    documents: Sequence[DocumentEntry],
    texts: Sequence[str],
    generic: NDArray[np.float32],
) -> dict[str, NDArray[Any]]:
    """What ranking keeps beside an index, made once where the index is built."""
    said = answer_terms(documents)
    habits = usual_words(arrays, said["answer_starts"], said["answer_ids"])
    surveyed = survey(arrays, texts, generic)
    counts = np.bincount(surveyed["languages"], minlength=len(LANGUAGES))
    spoken = np.asarray(counts / max(len(texts), 1), np.float32)
    fields = np.array(names_of(entry.fields for entry in documents), np.str_)
    prepared = surveyed | said | {"usual_words": habits, "spoken": spoken, "fields": fields}
    share = np.array([answer_share(arrays, prepared)], np.float32)
    return prepared | {"corrections": _corrections(arrays, surveyed), "answer_share": share}


def _corrections(arrays: Arrays, surveyed: Mapping[str, NDArray[Any]]) -> NDArray[np.float16]:
    """What `variants_head` learned of FAQ entries: a row for each document."""
    corrections = np.zeros_like(surveyed["centroids"])
    is_faq = arrays.kinds == KINDS.index("faq")
    points = is_faq[arrays.owner]
    number = np.cumsum(is_faq) - 1
    corrections[is_faq] = train(
        surveyed["shifted"][points].astype(np.float32), number[arrays.owner[points]],
        surveyed["languages"][points], surveyed["centroids"][is_faq].astype(np.float32),
    )  # fmt: skip
    return corrections


def rank(
    arrays: Arrays,
    prepared: Mapping[str, NDArray[Any]],
    question: Question,
    kind: PassageKind,
    found: Found,
) -> Ranked:
    """Order the documents of the points that were found of one kind."""
    documents = np.unique(arrays.owner[found.points()]).astype(np.int64)
    nearest = float(found.dense.scores[0]) if len(found.dense.scores) else 0.0
    if not len(documents):
        empty, none = np.zeros(0, np.int64), np.zeros(0, np.float32)
        return Ranked(kind, empty, empty, none, none, none, nearest)
    points = points_of(arrays, documents)
    group = np.searchsorted(documents, arrays.owner[points])
    asked = shifted_question(prepared, question, kind)
    near = prepared["shifted"][points].astype(np.float32) @ asked
    words = lexical(arrays, points, question.term_ids, kind)
    share = np.float32(_LEXICAL_SHARE[kind] * question.words_count)
    credit = _credited(prepared, points, question, words)
    best = np.lexsort((-(near + share * credit), group))
    # The first of each group in this order is the document's best point.
    chosen = points[best[np.searchsorted(group[best], np.arange(len(documents)))]]
    first = np.searchsorted(group, np.arange(len(documents)))
    dense, worded, credited = (np.maximum.reduceat(of, first) for of in (near, words, credit))
    scores = dense + share * credited
    if kind == "faq":
        dense, meaning = _of_variants(arrays, prepared, documents, asked, dense)
        said = answers(prepared, documents, question.term_ids)
        scores = meaning + share * credited + prepared["answer_share"][0] * said
    order = np.argsort(-scores, kind="stable")
    if prepared["spoken"].all() and len(arrays.kinds) >= _ENOUGH:
        # What stands for a document: its best passage, or the middle of an entry's variants.
        stands = prepared["centroids"][documents] if kind == "faq" else prepared["shifted"][chosen]
        foreign = prepared["languages"][chosen] != question.language
        order = _without_translations(kind, stands, foreign, scores, order)
    return Ranked(
        kind, documents[order], chosen[order], scores[order].astype(np.float32),
        dense[order], worded[order], nearest,
    )  # fmt: skip


def abroad(
    arrays: Arrays, prepared: Mapping[str, NDArray[Any]], question: Question
) -> Abroad | None:
    """How to look for texts in the other language; None where there are none.

    Among texts in the question's own language they would hardly come up: what a language adds
    to a vector weighs more than what is asked.
    """
    other = 1 - question.language
    if not prepared["spoken"].all():
        return None
    vectors = {
        kind: question.vector - prepared[f"{kind}_asked"][question.language]
        for kind, count in zip(KINDS, arrays.points, strict=True)
        if count
    }
    return Abroad(language_label(other), vectors)


def close_race(ranked: Ranked) -> int:
    """How many of the first documents lie so close that their sentences decide; 0: none do."""
    if ranked.kind == "faq" or len(ranked.scores) < 2:
        return 0
    near = ranked.scores[:_RACERS] >= ranked.scores[0] - _CLOSE
    return int(near.sum()) if near[1] else 0


def settle(
    arrays: Arrays,
    prepared: Mapping[str, NDArray[Any]],
    question: Question,
    ranked: Ranked,
    texts: Sequence[str],
) -> Ranked:
    """Order documents that lie close by how much of the question one sentence carries.

    Scores stay with their places: a race that was close stays one.

    Args:
        texts: Of the best points of the first documents, as many as `close_race` says.
    """
    close = len(texts)
    idf = arrays.idf(ranked.kind, question.term_ids)
    shares = np.array([_in_one_sentence(question, idf, text) for text in texts])
    # A text in the other language cannot carry the words: it loses nothing by that.
    foreign = prepared["languages"][ranked.points[:close]] != question.language
    shares[foreign] = shares.max()
    order = np.arange(len(ranked.documents))
    better = ranked.scores[:close] + _SENTENCE_SHARE * shares
    order[:close] = np.argsort(-better, kind="stable")
    return replace(
        ranked,
        documents=ranked.documents[order],
        points=ranked.points[order],
        dense=ranked.dense[order],
        lexical=ranked.lexical[order],
    )


def _in_one_sentence(question: Question, idf: NDArray[np.float32], text: str) -> float:
    """The greatest share of the question's words, by their IDF, in one sentence of a text."""
    asked, mass = question.term_ids.tolist(), max(float(idf.sum()), 1e-6)
    held = ({terms.term_id(term) for term in terms.tokenise(one)} for one in split_sentences(text))
    return max(
        (float(idf[[number in ids for number in asked]].sum()) / mass for ids in held), default=0.0
    )


def points_of(arrays: Arrays, documents: NDArray[np.int64]) -> NDArray[np.int64]:
    """All points of documents, in order."""
    starts, ends = arrays.starts[documents], arrays.starts[documents + 1]
    return ranges(starts, ends - starts)


def shifted_question(
    prepared: Mapping[str, NDArray[Any]], question: Question, kind: PassageKind
) -> NDArray[np.float32]:
    """The question as `shifted` points are: from the centre, whitened, of length one."""
    return unit(white_question(prepared, question, kind))


def white_question(
    prepared: Mapping[str, NDArray[Any]], question: Question, kind: PassageKind
) -> NDArray[np.float32]:
    """The question from the centre of its language, whitened."""
    shifted = question.vector - prepared[f"{kind}_asked"][question.language]
    return np.asarray(shifted @ prepared[f"{kind}_whiten"], np.float32)


def _of_variants(
    arrays: Arrays,
    prepared: Mapping[str, NDArray[Any]],
    documents: NDArray[np.int64],
    asked: NDArray[np.float32],
    nearest: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How near FAQ entries are, by their nearest variant and all: plainly, and as it ranks."""
    to_centre = prepared["centroids"][documents].astype(np.float32) @ asked
    corrected = prepared["corrections"][documents].astype(np.float32) @ asked
    counts = arrays.starts[documents + 1] - arrays.starts[documents]
    ranks = nearness(nearest, to_centre, corrected, counts)
    return np.asarray((nearest + to_centre) / 2, np.float32), ranks


def _credited(
    prepared: Mapping[str, NDArray[Any]],
    points: NDArray[np.int64],
    question: Question,
    words: NDArray[np.float32],
) -> NDArray[np.float32]:
    """What words count for: in the other language no less than they usually do in its own."""
    if prepared["spoken"][question.language] < SPOKEN:
        return words
    foreign = prepared["languages"][points] != question.language
    return np.where(foreign, np.maximum(words, np.float32(_USUAL_LEXICAL)), words)


def _without_translations(
    kind: PassageKind,
    stands: NDArray[np.float16],
    foreign: NDArray[np.bool_],
    scores: NDArray[np.float32],
    order: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The order without foreign texts that the customer's language has about as near.

    Args:
        stands: A row for each document, by which those are known that say the same.
        foreign: Which documents are in the other language.
    """
    first = order[:_COMPARED]
    if foreign[first].all() or not foreign[first].any():
        return order
    vectors = stands[first].astype(np.float32)
    says_the_same = vectors @ vectors.T >= _TRANSLATION[kind]
    is_near = scores[first][None, :] >= scores[first][:, None] - _NO_WORSE
    again = foreign[first] & (says_the_same & is_near & ~foreign[first][None, :]).any(1)
    return np.concatenate([first[~again], order[_COMPARED:]])
