"""Names what speaks for and against the first document's answering the question.

Every signal is a plain number with a name; `kfbot.confidence` weighs them. Those ending in
`_z` are standard deviations from what near misses of the same knowledge base reach.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowledge import terms
from knowledge.geometry import unit
from knowledge.index import Arrays
from knowledge.ranking import SPOKEN, Question, Ranked, points_of, white_question
from knowledge.sentences import split_sentences
from knowledge.unsaid import content_terms, unsaid
from knowledge.word_match import in_sorted

_NAME = re.compile(r"(?<=\S )[A-Z][A-Za-z0-9'’-]+|[A-Z]{2,}")
_QUOTED = re.compile(r"[《“\"「]([^》”\"」]{2,30})[》”\"」]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_ASKS_NUMBER = re.compile(
    r"\b(when|how (many|much|long|old|far|often|tall|large|big)"
    r"|(what|which) (year|percent\w*|date|century|decade))\b"
    r"|多少|几|何时|哪一?年|什么时候|多久|多大|多长|时间",
    re.IGNORECASE,
)
_HAS_NUMBER = re.compile(
    r"\d|\b(one|two|three|four|five|six|seven|eight|nine|ten|hundred|thousand|million|billion"
    r"|dozen|century|half|third|day|week|month|year)s?\b|[一二三四五六七八九十百千万亿两]",
    re.IGNORECASE,
)
#: Wider margins and better words say nothing more.
_MOST_LEXICAL = 1.5


def evidence(
    arrays: Arrays,
    prepared: Mapping[str, NDArray[Any]],
    question: Question,
    ranked: Ranked,
    text: str,
) -> dict[str, float]:
    """The signals on the first of the ranked documents; `text` is its best point's."""
    # What says the same in another language is no rival.
    ranked = ranked.compatriots(prepared["languages"], question.language)
    is_faq = ranked.kind == "faq"
    sentences = [text] if is_faq else split_sentences(terms.simplify(text)) or [text]
    said = [terms.tokenise(sentence) for sentence in sentences]
    window = _window(arrays, question, ranked, sentences, said)
    signals = (
        _standing(ranked)
        | _words(arrays, prepared, question, ranked, text, window)
        | _place(arrays, prepared, question, ranked)
    )
    if not is_faq:
        signals |= _unsaid(arrays, question, ranked, sentences, said)
    asks_number = bool(_ASKS_NUMBER.search(question.text))
    signals["no_answer_type"] = float(asks_number and not _HAS_NUMBER.search(window))
    return {name: float(value) for name, value in signals.items()}


def _standing(ranked: Ranked) -> dict[str, float]:
    """How far the first document is ahead of the others."""
    scores, dense, lexical = ranked.scores, ranked.dense, ranked.lexical
    pack = scores[1:10] if len(scores) > 1 else np.zeros(1, np.float32)
    second = scores[1] if len(scores) > 1 else 0.0
    rivals = np.exp((scores[1:6] - scores[0]) / 0.05).sum()
    return {
        "fused": scores[0],
        "dense": dense[0],
        "fused_margin": scores[0] - second,
        "dense_margin": dense[0] - (dense[1:].max() if len(dense) > 1 else 0.0),
        "above_pack": scores[0] - pack.mean(),
        "pack_spread": pack.std(),
        "rivals": np.log1p(rivals),
        "lexical": min(float(lexical[0]), _MOST_LEXICAL),
        "lexical_margin": lexical[0] - (lexical[1:].max() if len(lexical) > 1 else 0.0),
    }


def _words(
    arrays: Arrays,
    prepared: Mapping[str, NDArray[Any]],
    question: Question,
    ranked: Ranked,
    text: str,
    window: str,
) -> dict[str, float]:
    """Which of the question's words, numbers and names the document carries."""
    asked = question.term_ids
    weight = arrays.idf(ranked.kind, asked)
    mass = max(float(weight.sum()), 1e-6)
    known = (arrays.faq_terms, arrays.document_terms, prepared["answer_terms"])
    unknown = ~np.any([in_sorted(asked, one) for one in known], axis=0)
    carried = _among(asked, set(_document_terms(arrays, prepared, ranked).tolist()))
    within = _among(asked, _term_ids(window))
    body = text.lower()
    share_unknown, share_covered = weight[unknown].sum() / mass, weight[carried].sum() / mass
    usual, usual_sd, cover, cover_sd = prepared["usual_words"].tolist()
    return {
        "covered": share_covered,
        "covered_window": weight[within].sum() / mass,
        "covered_z": (share_covered - cover) / max(cover_sd, 0.1),
        "unknown": share_unknown,
        "unknown_z": (share_unknown - usual) / max(usual_sd, 0.1),
        "missing_numbers": _missing(_NUMBER.findall(question.text), body),
        "missing_names": _missing(_names(question.text), body),
        "length": np.log1p(len(question.terms)),
    }


def _place(
    arrays: Arrays,
    prepared: Mapping[str, NDArray[Any]],
    question: Question,
    ranked: Ranked,
) -> dict[str, float]:
    """Where the question lies in the knowledge base's corner of the vector space."""
    kind, best = ranked.kind, ranked.documents[0]
    white = white_question(prepared, question, kind)
    away = white - prepared["means"][best].astype(np.float32)
    distance = float(away @ away)
    own, own_sd, other, other_sd, plain, plain_sd = prepared[f"{kind}_misses"].tolist()
    languages = prepared["languages"]
    # Where the knowledge base speaks the question's language, an answer should be in it.
    speaks = prepared["spoken"][question.language] >= SPOKEN
    foreign = languages[ranked.points[0]] != question.language and not speaks
    generic = prepared["generic"][question.language]
    return {
        "near_miss_z": (ranked.dense[0] - other) / max(other_sd, 0.03),
        "own_z": (ranked.dense[0] - own) / max(own_sd, 0.03),
        "raw_z": (ranked.nearest - plain) / max(plain_sd, 0.015),
        "norm": white @ white,
        "distance": -distance,
        "background_distance": white @ prepared[f"{kind}_background"] @ white - distance,
        "domain": unit(question.vector - generic) @ prepared[f"{kind}_domain"][question.language],
        "foreign": foreign,
        "many": np.log1p(arrays.starts[best + 1] - arrays.starts[best]),
    }


def _document_terms(
    arrays: Arrays, prepared: Mapping[str, NDArray[Any]], ranked: Ranked
) -> NDArray[np.uint32]:
    best = ranked.documents[0]
    points = points_of(arrays, ranked.documents[:1])
    start, end = arrays.term_starts[points[0]], arrays.term_starts[points[-1] + 1]
    first, last = prepared["answer_starts"][best : best + 2]
    return np.concatenate([arrays.term_ids[start:end], prepared["answer_ids"][first:last]])


def _window(
    arrays: Arrays,
    question: Question,
    ranked: Ranked,
    sentences: Sequence[str],
    said: Sequence[Sequence[str]],
) -> str:
    """The question or variant that was hit; of a passage, the two sentences that carry most."""
    weight = arrays.idf(ranked.kind, question.term_ids)
    asked = question.term_ids
    held = [weight * _among(asked, {terms.term_id(term) for term in words}) for words in said]
    pairs = [
        np.maximum(one, other).sum() for one, other in zip(held, [*held[1:], held[-1]], strict=True)
    ]
    at = int(np.argmax(pairs))
    return "".join(sentences[at : at + 2])


def _unsaid(
    arrays: Arrays,
    question: Question,
    ranked: Ranked,
    sentences: Sequence[str],
    said: Sequence[Sequence[str]],
) -> dict[str, float]:
    """What the question asks for and the passage does not say."""
    wanted = content_terms(question.terms)
    numbers = np.array([terms.term_id(term) for term in wanted], np.uint32)
    point = ranked.points[0]
    start, end = arrays.term_starts[point], arrays.term_starts[point + 1]
    carried = _among(numbers, set(arrays.term_ids[start:end].tolist()))
    in_text = {term for words in said for term in words}
    around = {term for term, has in zip(wanted, carried, strict=True) if has} - in_text
    weight = arrays.idf(ranked.kind, numbers)
    return unsaid(terms.simplify(question.text), wanted, weight, sentences, said, around)


def _term_ids(text: str) -> set[int]:
    return {terms.term_id(term) for term in terms.tokenise(text)}


def _among(asked: NDArray[np.uint32], ids: set[int]) -> NDArray[np.bool_]:
    return np.array([number in ids for number in asked.tolist()], np.bool_)


def _names(text: str) -> list[str]:
    names = [match.group() for match in _NAME.finditer(text)]
    names = [name for name in names if name.lower() not in terms.STOP_WORDS]
    return names + _QUOTED.findall(text)


def _missing(wanted: list[str], body: str) -> float:
    distinct = {one.lower() for one in wanted}
    return sum(one not in body for one in distinct) / len(distinct) if distinct else 0.0
