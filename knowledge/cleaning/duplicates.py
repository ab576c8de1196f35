"""Finds documents that say the same: exactly, or but for line breaks, commas and a typo.

MinHash over runs of words (Chinese: of characters), searched by locality-sensitive hashing: a
dozen lines of numpy; datasketch would need scipy and hold each signature as a Python object.
Two documents may look alike and still differ where it matters, so a signature also carries what
must be the same: numbers, codes, names in Latin letters, negations, language, metadata.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from kfbot.language import language_of
from knowledge.documents import Document

#: Raise it when the same document gives another signature: stored ones are of no use then.
VERSION = 1

_HASHES = 128
_BANDS = 32
_ROWS = _HASHES // _BANDS
# Found by the bands at .70 in 99.98 of 100 cases; a typo in a text of 100 words leaves .91.
_LEAST_ALIKE = 0.8
_RUN_WORDS = 3
# In a shorter text one word is more than a typo.
_LEAST_RUNS = 40
_SALIENT = 32
# Of a word that stands so often a heading and a typo leave one that is still repeated.
_OFTEN = 4
_MOST_OFTEN = 16
_DIGEST_BYTES = 16
_BLOCK = 8192
_MOST_LEADERS = 4

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WRAPPED = re.compile(rf"(?<=[{_CJK}])[ \t]*\n\s*(?=[{_CJK}])")
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")
# What must not differ. A sign or a unit makes another number of one.
_NUMBER = re.compile(r"(?:(?<![\w.-])[-−])?\d+(?:[.,:/-]\d+)*|[%‰°℃℉$€£¥<>≤≥±]")
_CHINESE_NUMBER = re.compile("[〇零一二三四五六七八九十百千万亿两半双倍]+")
_LATIN_WORD = re.compile(
    r"[A-Za-z\u00c0-\u024f][A-Za-z0-9\u00c0-\u024f]*(?:[-_./+#&][A-Za-z0-9]+)*[+#]*"
)
_NUMBER_WORDS_LIST = (
    "zero one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty"
    " sixty hundred thousand million billion half double twice once first second third fourth"
    " daily weekly monthly yearly annually day days week weeks month months year years hour hours"
    " minute minutes percent"
)
_NUMBER_WORDS = frozenset(_NUMBER_WORDS_LIST.split())
_NEGATIONS_LIST = (
    "not no never none neither nor without cannot except unless unable excluding excluded only"
    " before after until above below over under more less least most free all any every must may"
    " mandatory optional allowed forbidden prohibited"
)
_NEGATIONS = frozenset(_NEGATIONS_LIST.split())
_CONTRACTED = re.compile(r"n['’]t\b", re.IGNORECASE)
_CHINESE_NEGATION = re.compile(
    "不|没|無|无|未|非|勿|莫|别|除|仅|僅|只|必须|禁|免|可|应|以上|以下|以内|之前|之后|前|后|至少|最多|日|天|周|月|年|时|分"
)
_COPY_MARK = re.compile(
    r"[\s_-]*(?:\(\d{1,2}\)|（\d{1,2}）|[-_ ]?(?:copy|副本|复制|拷贝|final|最终版?|定稿)"
    r"(?:\s?\d{1,2})?)",
    re.IGNORECASE,
)

_Signature = np.dtype(
    [
        ("version", "u1"),
        ("is_faq", "u1"),
        ("exact", f"V{_DIGEST_BYTES}"),
        ("guard", f"V{_DIGEST_BYTES}"),
        ("runs", "<u4"),
        ("often", "u1"),
        ("salient", "<u4", _SALIENT),
        ("minima", "<u4", _HASHES),
    ]
)


@dataclass(frozen=True, slots=True)
class Signed:
    """A document with its signature, as it is compared with the others of its knowledge base."""

    id: str
    path: str
    signature: bytes


def signature(document: Document) -> bytes:
    """What tells whether a document says the same as another; the same on every machine.

    Of an FAQ entry `exact` is over question, variants and answer, `guard` over the question.
    """
    signed = np.zeros((), _Signature)
    signed["version"] = VERSION
    if document.kind == "faq":
        _sign_faq(signed, document)
    else:
        _sign_document(signed, document)
    return signed.tobytes()


#: Where a signature has the mark of what is asked, and how long it is.
QUESTION_START = 2 + _DIGEST_BYTES


def same_question(signed: bytes) -> bytes:
    """The mark of what an FAQ entry asks, also of its fields; b"" where there is none.

    Entries with one mark ask the same, but for case and layout.
    """
    if len(signed) != _Signature.itemsize or signed[0] != VERSION or not signed[1]:
        return b""
    return signed[QUESTION_START : QUESTION_START + _DIGEST_BYTES]


def _sign_faq(signed: NDArray[np.void], entry: Document) -> None:
    signed["is_faq"] = 1
    metadata = sorted(entry.metadata.items())
    question = _normal(entry.question)
    variants = sorted({_normal(variant) for variant in entry.variants})
    signed["exact"] = _digest([question, *variants, "\0", _normal(entry.answer), metadata])
    signed["guard"] = _digest([question, metadata])


def _sign_document(signed: NDArray[np.void], document: Document) -> None:
    body = unicodedata.normalize(
        "NFKC", "\n".join(f"{section.heading}\n{section.text}" for section in document.sections)
    )
    body = _WRAPPED.sub("", body)
    words = _WORD.findall(body.lower())
    title = _title_alone(document.title, frozenset(words))
    metadata = sorted(document.metadata.items())
    signed["exact"] = _digest([_normal(body), title, metadata])
    signed["guard"] = _digest([_fixed(body), title, metadata, language_of(body)])
    numbers = _numbers(words)
    hashes = np.unique(_runs(numbers))
    signed["runs"] = len(hashes)
    signed["minima"] = _minima(hashes)
    signed["salient"], signed["often"] = _salient(words, numbers)


def _digest(parts: Iterable[object]) -> bytes:
    return blake2b(repr(list(parts)).encode(), digest_size=_DIGEST_BYTES).digest()


def _normal(text: str) -> str:
    """The words and numbers of a text, without layout and case."""
    folded = unicodedata.normalize("NFKC", text).lower()
    return " ".join(re.findall(rf"{_NUMBER.pattern}|{_WORD.pattern}", folded))


def _title_alone(title: str, body: frozenset[str]) -> list[str]:
    """The words of a title that its text does not have: they may be all that tells two apart."""
    folded = _COPY_MARK.sub(" ", unicodedata.normalize("NFKC", title)).lower()
    return sorted({word for word in _WORD.findall(folded) if word not in body})


def _fixed(body: str) -> list[tuple[str, int]]:
    """What two texts must share to the letter, and how often each has it."""
    latin = _LATIN_WORD.findall(body)
    small = {word for word in latin if word.islower()}
    counted = Counter(_NUMBER.findall(body))
    counted.update(_CHINESE_NUMBER.findall(body))
    counted.update(_CHINESE_NEGATION.findall(body))
    counted["not"] += len(_CONTRACTED.findall(body))
    chinese = language_of(body) == "zh"
    for word in latin:
        lowered = word.lower()
        fixed = lowered in _NEGATIONS or lowered in _NUMBER_WORDS or lowered.startswith("un")
        # In Chinese text a Latin word is a name; in English, what is never written small.
        is_name = chinese or not word.isalpha() or (word != lowered and lowered not in small)
        counted[lowered] += fixed or is_name
    return sorted((+counted).items())


def _numbers(words: Sequence[str]) -> NDArray[np.uint64]:
    return np.fromiter((zlib.crc32(word.encode()) for word in words), np.uint64, len(words))


def _runs(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A 64-bit number for each run of words."""
    length = max(1, len(numbers) - _RUN_WORDS + 1)
    mixed: NDArray[np.uint64] = np.zeros(length, np.uint64)
    for place in range(min(_RUN_WORDS, len(numbers))):
        mixed = _scramble(mixed + numbers[place : place + length])
    return mixed


def _scramble(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64: every bit in changes every bit out."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


_SEEDS = _scramble(np.arange(1, _HASHES + 1, dtype=np.uint64))[:, None] | np.uint64(1)


def _minima(hashes: NDArray[np.uint64]) -> NDArray[np.uint32]:
    minima = np.full(_HASHES, np.iinfo(np.uint32).max, np.uint32)
    for start in range(0, len(hashes), _BLOCK):
        block = (hashes[None, start : start + _BLOCK] * _SEEDS) >> np.uint64(32)
        minima = np.minimum(minima, block.min(axis=1).astype(np.uint32))
    return minima


def _salient(words: Sequence[str], numbers: NDArray[np.uint64]) -> tuple[NDArray[np.uint32], int]:
    """The commonest words of three letters or more and pairs of Chinese characters.

    A product's name that was changed throughout is not among the other text's.

    Returns:
        Those that are repeated, commonest first, filled up with 0; and how many must be in a
        text that says the same.
    """
    sizes = np.fromiter(map(len, words), np.int64, len(words))
    pair = (sizes[:-1] == 1) & (sizes[1:] == 1)
    pairs = _scramble(numbers[:-1][pair] ^ (numbers[1:][pair] << np.uint64(32)))
    values, counts = np.unique(np.concatenate([numbers[sizes > 2], pairs]), return_counts=True)
    order = np.lexsort((values, -counts))[:_SALIENT]
    order = order[counts[order] > 1]
    chosen: NDArray[np.uint32] = np.zeros(_SALIENT, np.uint32)
    chosen[: len(order)] = values[order].astype(np.uint32)
    return chosen, min(int(np.sum(counts[order] >= _OFTEN)), _MOST_OFTEN)


def find_duplicates(items: Sequence[Signed]) -> Mapping[str, str]:
    """The ids of documents that another one makes superfluous, each with the id of that one.

    Kept is the document with the shortest path, of those the first by path and id. The order of
    the items makes no difference. Each duplicate is like the kept one itself, never only like
    another duplicate of it. FAQ entries must be the same word by word.
    """
    ordered = sorted(items, key=lambda item: (len(item.path), item.path, item.id))
    signed = _signatures(ordered)
    kept_of: dict[int, int] = {}
    for one, other in sorted({*_exact_pairs(signed), *_near_pairs(signed)}):
        # `one` is before `other`; who is a duplicate itself keeps nothing.
        if one not in kept_of and other not in kept_of:
            kept_of[other] = one
    return {ordered[other].id: ordered[one].id for other, one in kept_of.items()}


def find_conflicts(items: Sequence[Signed]) -> list[tuple[str, str]]:
    """Pairs of FAQ entries with one question and different answers or variants, by id.

    Each later entry is paired with the first, in the order of `find_duplicates`.
    """
    ordered = sorted(items, key=lambda item: (len(item.path), item.path, item.id))
    signed = _signatures(ordered)
    first: dict[bytes, int] = {}
    pairs: list[tuple[str, str]] = []
    for number in np.flatnonzero(signed["is_faq"]).tolist():
        earlier = first.setdefault(signed["guard"][number].tobytes(), number)
        if signed["exact"][number] != signed["exact"][earlier]:
            pairs.append((ordered[earlier].id, ordered[number].id))
    return pairs


def _signatures(items: Sequence[Signed]) -> NDArray[np.void]:
    """The signatures as one table; those of another version are like no other."""
    table = np.zeros(len(items), _Signature)
    for number, item in enumerate(items):
        if len(item.signature) == _Signature.itemsize and item.signature[0] == VERSION:
            table[number] = np.frombuffer(item.signature, _Signature)[0]
        else:
            table["exact"][number] = blake2b(
                item.id.encode(), digest_size=_DIGEST_BYTES, key=b"unsigned"
            ).digest()
    return table


def _exact_pairs(signed: NDArray[np.void]) -> Iterator[tuple[int, int]]:
    first: dict[tuple[int, bytes], int] = {}
    for number, (is_faq, exact) in enumerate(
        zip(signed["is_faq"].tolist(), signed["exact"], strict=True)
    ):
        earlier = first.setdefault((is_faq, exact.tobytes()), number)
        if earlier != number:
            yield earlier, number


def _near_pairs(signed: NDArray[np.void]) -> Iterator[tuple[int, int]]:
    """Pairs with one guard that share a band and are alike enough."""
    rows = np.flatnonzero((signed["is_faq"] == 0) & (signed["runs"] >= _LEAST_RUNS))
    groups: defaultdict[bytes, list[int]] = defaultdict(list)
    for row in rows.tolist():
        groups[signed["guard"][row].tobytes()].append(row)
    for members in groups.values():
        if len(members) > 1:
            yield from _alike(signed, np.array(members))


def _alike(signed: NDArray[np.void], members: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    chosen = signed[members]
    seen: set[tuple[int, int]] = set()
    for band in range(_BANDS):
        buckets: dict[bytes, list[int]] = {}
        for place, key in enumerate(chosen["minima"][:, band * _ROWS : (band + 1) * _ROWS]):
            bucket = buckets.setdefault(key.tobytes(), [])
            for earlier in bucket:
                if (earlier, place) not in seen:
                    seen.add((earlier, place))
                    if _are_alike(chosen[earlier], chosen[place]):
                        yield int(members[earlier]), int(members[place])
            # All of a crowd are like its first ones, which are kept before the others.
            if len(bucket) < _MOST_LEADERS:
                bucket.append(place)


def _are_alike(one: np.void, other: np.void) -> bool:
    if np.mean(one["minima"] == other["minima"]) < _LEAST_ALIKE:
        return False
    return _has(one["salient"], other) and _has(other["salient"], one)


def _has(salient: NDArray[np.uint32], other: np.void) -> bool:
    """Whether what another text says often is repeated in this one."""
    wanted = other["salient"][: int(other["often"])]
    return set(wanted.tolist()) <= set(salient.tolist())
