"""Sentences that a passage says, and ones made of them by rule that it does not say."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence

_HAN = re.compile("[\u4e00-\u9fff]")
_SENTENCE = re.compile(r"[^。！？!?\n]+[。！？]|(?:[^.!?\n]|\.(?!\s))+[.!?](?=\s|$)")
_NUMBER = re.compile(
    r"(?<![\w.,-])\d+(?:[.,]\d+)*(?![\w.,-])|(?<=[\u4e00-\u9fff])\d+(?=[\u4e00-\u9fff])"
)
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{2,}(?: [A-Z][a-z]{2,})*")
_CHINESE_NAME = re.compile("《[^》]{2,12}》|[\u4e00-\u9fff]{1,4}·[\u4e00-\u9fff]{1,4}")
_VERB = re.compile(
    r"\b(is|are|was|were|can|could|would|will|has been|have been|did|does)\b(?! not)"
)
_CHINESE_VERBS = ("是", "可以", "能", "会", "属于", "位于")
_UNITS = (
    ("days", "hours"), ("years", "months"), ("million", "billion"), ("percent", "points"),
    ("miles", "feet"), ("weeks", "days"), ("%", " dollars"), ("kilometers", "meters"),
    ("months", "days"), ("hours", "minutes"), ("天", "小时"), ("米", "公里"), ("人", "家"),
    ("万", "亿"), ("元", "美元"), ("公里", "米"), ("小时", "分钟"), ("个月", "年"), ("%", "元"),
)  # fmt: skip


def true_sentences(passage: str) -> Iterator[tuple[str, str]]:
    """The kind and the words of what a passage says: sentences, and ones with a clause less."""
    for match in _SENTENCE.finditer(passage):
        sentence = match[0].strip()
        is_chinese = _HAN.search(sentence) is not None
        if not (8 if is_chinese else 30) <= len(sentence) <= (90 if is_chinese else 260):
            continue
        yield "whole", sentence
        clauses = re.split("，" if is_chinese else r",\s", sentence.rstrip("。."))
        if len(clauses) == 3 and all(len(one) > (4 if is_chinese else 12) for one in clauses):
            stop = "。" if is_chinese else "."
            yield "shortened", clauses[0] + ("，" if is_chinese else ", ") + clauses[1] + stop


def untrue_sentences(
    sentence: str, passage: str, chance: random.Random
) -> Iterator[tuple[str, str]]:
    """The kind and the words of what the passage does not say."""
    made = {
        "number": _numbered(sentence, chance),
        "name": _renamed(sentence, passage, chance),
        "names exchanged": _exchanged(sentence, chance),
        "negation": _negated(sentence),
        "negation removed": _affirmed(sentence),
        "unit": _measured(sentence),
    }
    for kind, changed in made.items():
        if changed and changed != sentence and changed not in passage:
            yield kind, changed


def _numbered(sentence: str, chance: random.Random) -> str | None:
    found = list(_NUMBER.finditer(sentence))
    if not found:
        return None
    match = chance.choice(found)
    digits = match[0]
    at = chance.randrange(len(digits))
    while not digits[at].isdigit():
        at = chance.randrange(len(digits))
    other = chance.choice([one for one in "123456789" if one != digits[at]])
    return (
        sentence[: match.start()] + digits[:at] + other + digits[at + 1 :] + sentence[match.end() :]
    )


def _names(text: str) -> Sequence[re.Match[str]]:
    return list((_CHINESE_NAME if _HAN.search(text) else _NAME).finditer(text))


def _renamed(sentence: str, passage: str, chance: random.Random) -> str | None:
    here = _names(sentence)
    if not here:
        return None
    match = chance.choice(here)
    others = sorted({one[0] for one in _names(passage)})
    fit = [
        one
        for one in others
        if one not in match[0] and match[0] not in one and (one[0] == "《") == (match[0][0] == "《")
    ]
    if not fit:
        return None
    return sentence[: match.start()] + chance.choice(fit) + sentence[match.end() :]


def _exchanged(sentence: str, chance: random.Random) -> str | None:
    """Two names of a sentence in each other's place; not those of a list, which may stand so."""
    pairs = [
        (one, other)
        for one in _names(sentence)
        for other in _names(sentence)
        if one.end() < other.start()
        and (one[0][0] == "《") == (other[0][0] == "《")
        and one[0] not in other[0]
        and other[0] not in one[0]
        and not re.fullmatch(
            r"\s*(?:,|and|or|、|和|与|及|以及|或|,\s*and|,\s*or)\s*",
            sentence[one.end() : other.start()],
        )
    ]
    if not pairs:
        return None
    one, other = chance.choice(pairs)
    between = sentence[one.end() : other.start()]
    if re.fullmatch(r"(?:[\s,、和与及]|and|or|[A-Z]\w+|[\u4e00-\u9fff·《》]{2,8}(?=、))*", between):
        return None
    return sentence[: one.start()] + other[0] + between + one[0] + sentence[other.end() :]


def _negated(sentence: str) -> str | None:
    if _HAN.search(sentence):
        for verb in _CHINESE_VERBS:
            at = sentence.find(verb)
            if (
                at > 0
                and sentence[at - 1] not in "不没还于但可只就算若凡总"
                and "不" not in sentence
            ):
                return sentence[:at] + "不" + sentence[at:]
        return None
    match = _VERB.search(sentence)
    return match and sentence[: match.end()] + " not" + sentence[match.end() :]


def _affirmed(sentence: str) -> str | None:
    if _HAN.search(sentence):
        match = re.search(r"不(?=能|会|可以|是|再|支持|允许)|没有(?=任何)?|并未|从未", sentence)
    else:
        match = re.search(r" not\b(?! only)| never\b|\bno longer ", sentence)
    return match and sentence[: match.start()] + sentence[match.end() :]


def _measured(sentence: str) -> str | None:
    for one, other in _UNITS:
        match = re.search(rf"(?<=\d)\s?{one}(?![a-z美])", sentence)
        if match is not None:
            return (
                sentence[: match.start()] + match[0].replace(one, other) + sentence[match.end() :]
            )
    return None
