"""Questions that a passage is about and does not answer, made by rule from ones it answers.

As people wrote them for SQuAD 2.0 (Rajpurkar et al. 2018): a name, a number or another word is
replaced by one of the same sort from the passage or its neighbours, a word by its opposite, or
the question is negated. English and Chinese.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from knowledge.contrasts import opposites
from knowledge.terms import STOP_WORDS, simplify

Piece = tuple[int, int, str]

_CHINESE = re.compile("[\u4e00-\u9fff]")
_ENGLISH_PIECE = re.compile(r"(?:[A-Z][A-Za-z'’.-]+(?: (?=[A-Z]))?)+|\d+|[a-z][a-z-]{3,}")
_SENTENCE_START = re.compile(r"(?:^|[.?!] )$")
#: Words that ask stay, so that it remains the same question of something else.
_ASKING = frozenset(
    ("what", "which", "who", "whom", "whose", "when", "where", "why", "how", "many", "much", "year")
)
#: Endings tell verbs, adverbs and nouns apart well enough for a question to stay one.
_ENDINGS = ("tion", "ment", "ing", "ed", "ly", "ies", "al", "ous", "ity", "er", "ive", "s")
_CHINESE_NAMES = frozenset(("nr", "ns", "nt", "nz", "nrt", "nrfg"))
_CHINESE_WORDS = frozenset(("n", "v", "a", "vn", "b", "s"))
_AUXILIARY = re.compile(
    r"\b(did|does|do|is|are|was|were|can|could|would|has|had|have|should)\b(?! not)", re.IGNORECASE
)
_CHINESE_VERBS = ("是", "有", "可以", "能", "会", "属于", "用")


def adversarial(
    question: str, passage: str, neighbours: Sequence[str], chance: random.Random
) -> str | None:
    """A question like this one that the passage does not answer; None if no rule fits."""
    rules: list[Callable[[], str | None]] = [
        *[lambda: _swap(question, [passage], chance)] * 3,
        lambda: _swap(question, neighbours, chance),
        lambda: _negate(question),
        lambda: _turn_round(question, chance),
    ]
    chance.shuffle(rules)
    return next((made for rule in rules if (made := rule()) and made != question), None)


def _swap(question: str, texts: Sequence[str], chance: random.Random) -> str | None:
    """With a word replaced by one of the same sort; half the time names and numbers first."""
    sources = _by_sort(texts)
    pieces = list(_pieces(question))
    chance.shuffle(pieces)
    if chance.random() < 0.5:
        pieces.sort(key=lambda piece: not piece[2].startswith(("name", "number")))
    for start, end, sort in pieces:
        word = question[start:end]
        others = [one for one in sources.get(sort, ()) if _is_another(one, word, question)]
        if others:
            return question[:start] + chance.choice(others) + question[end:]
    return None


def _is_another(other: str, word: str, question: str) -> bool:
    return other.lower() not in question.lower() and word not in other


def _by_sort(texts: Sequence[str]) -> Mapping[str, Sequence[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for text in texts:
        for start, end, sort in _pieces(text):
            found[sort].append(text[start:end])
    return found


def _pieces(text: str) -> Iterator[Piece]:
    """Words that bear meaning: start, end, and what may stand in their place."""
    return _chinese_pieces(text) if _CHINESE.search(text) else _english_pieces(text)


def _english_pieces(text: str) -> Iterator[Piece]:
    for match in _ENGLISH_PIECE.finditer(text):
        word, start = match.group().strip(), match.start()
        if word.isdigit():
            sort = f"number{len(word)}"
        elif word[0].isupper():
            sort = "" if _SENTENCE_START.search(text[:start]) else "name"
        elif word in STOP_WORDS or word in _ASKING:
            sort = ""
        else:
            sort = "word" + next((one for one in _ENDINGS if word.endswith(one)), "")
        if sort:
            yield start, start + len(word), sort


def _chinese_pieces(text: str) -> Iterator[Piece]:
    import rjieba

    end = 0
    for word, tag in rjieba.tag(text):
        start = text.find(word, end)
        if start < 0:
            continue
        end = start + len(word)
        if word.isdigit():
            yield start, end, f"number{len(word)}"
        elif word in STOP_WORDS:
            continue
        elif tag in _CHINESE_NAMES:
            yield start, end, f"name{tag}"
        elif len(word) > 1 and (tag in _CHINESE_WORDS or tag == "eng"):
            yield start, end, f"{tag}{min(len(word), 3)}"


def _negate(question: str) -> str | None:
    if _CHINESE.search(question):
        for verb in _CHINESE_VERBS:
            at = question.rfind(verb)
            if at > 0 and question[at - 1] not in "不没还":
                return question[:at] + ("没" if verb == "有" else "不") + question[at:]
        return None
    match = _AUXILIARY.search(question)
    if match is None:
        return None
    negation = " not" if match.group().lower() in {"is", "are", "was", "were", "can"} else "n't"
    return question[: match.end()] + negation + question[match.end() :]


def _turn_round(question: str, chance: random.Random) -> str | None:
    """With a word replaced by its opposite."""
    simple = simplify(question)
    is_chinese = _CHINESE.search(simple) is not None
    found = []
    for word in opposites():
        if word.isascii() == is_chinese:
            continue
        pattern = word if is_chinese else rf"\b{word}\b"
        found += [(match, word) for match in re.finditer(pattern, simple, re.IGNORECASE)]
    if not found:
        return None
    match, word = chance.choice(found)
    other = chance.choice(sorted(opposites()[word]))
    return simple[: match.start()] + other + simple[match.end() :]
