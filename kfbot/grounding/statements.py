"""Texts taken apart for the proof: words, names and numbers in their clauses. Pure, no I/O."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from kfbot.grounding.quantities import Quantity, quantities
from kfbot.grounding.vocabulary import (
    folded,
    innocent,
    plain_chinese,
    plain_english,
    same_chinese,
    same_english,
    stem,
)

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"

_TOKEN = re.compile(
    rf"""
    (?P<code>https?://[^\s{HAN}，。；]+|www\.[^\s{HAN}，。；]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+
        |(?<![A-Za-z\d])(?:[A-Za-z]+[-/]?\d|\d+[-/]?[A-Za-z])[A-Za-z\d]*(?:[-/.][A-Za-z\d]+)*
        |(?<![A-Za-z\d])[a-z\d-]+(?:\.[a-z\d-]+)+(?:/[\w./-]*)?(?=\W|$))
    |(?P<word>[A-Za-zÀ-ɏ]+(?:'(?!s\b)[A-Za-z]+)?)(?:'s\b)?
    |(?P<han>[{HAN}])
    |(?P<sep>[,，;；:：。.!！?？()（）\[\]—|\n]|\s[-–]\s|(?<![\w'])(?:but|while|whereas|although
        |though|because|however)(?![\w']))
    """,
    re.VERBOSE,
)
_CHINESE_TURN = re.compile("但是|但|而且|并且|然而")
#: Behind these a sentence says more of the same subject: "It costs 5 euros and can be returned."
_AND = re.compile(
    r"(?<![\w'])and(?=\s+(?:also\s+)?(?:can|may|must|will|should|could|would|is|are|was|were|has"
    r"|have|had|does|takes|comes|includes|contains|requires|arrives|weighs|lasts|costs\s+[\d$€£])"
    r"(?![\w']))|(?:而且|并且|并|且)(?=可|能|会|应|支持|提供|包含)",
    re.IGNORECASE,
)
#: Of a token that begins the second half of a coordinated sentence.
AND = "&"
_MARKDOWN = re.compile(r"\*\*|__|`|^\s*(?:#+|>|[-*•+]|\d{1,2}[.)、])\s+", re.MULTILINE)
_QUOTED = re.compile("《([^》]+)》|「([^」]+)」|『([^』]+)』|“([^”]+)”")


_SHORT = re.compile(
    r"\b(ca|wo|sha|is|are|was|were|do|does|did|has|have|had|could|would|should|must|need)n't\b"
    r"|\b(can)not\b|(?<=[A-Za-z])'(?:ll|re|ve|d|m)\b",
    re.IGNORECASE,
)
_VERBS = {"ca": "can", "wo": "will", "sha": "shall"}
_LONGEST_PLAIN = 4


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a Han character, a name or a number."""

    kind: Literal["word", "name", "code", "han", "quantity", "sep"]
    #: As it is compared: words by stem, names in lower case.
    norm: str
    clause: int
    quantity: Quantity | None = None
    #: Part of a Chinese word that states nothing.
    plain: bool = False

    @property
    def is_content(self) -> bool:
        """Whether it states anything of its own."""
        if self.kind == "word":
            return self.norm not in plain_english()
        if self.kind == "han":
            return not self.plain
        return self.kind != "sep"


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence or several, taken apart."""

    text: str
    tokens: Sequence[Token]
    #: The words of each clause, without numbers and without words that only look like markers.
    clauses: Sequence[str]
    #: What stands in quotation marks.
    quoted: Sequence[str]
    #: One character for each token: Han characters as they are.
    han: str
    #: Where the tokens of a norm stand.
    index: Mapping[str, Sequence[int]] = field(repr=False)

    @property
    def is_question(self) -> bool:
        """Whether it asks."""
        return self.text.rstrip(' "”\n').endswith(("?", "？"))

    def breaks(self, start: int, end: int) -> bool:
        """Whether a sentence ends between two tokens, the first before the second."""
        return any(token.norm == "\n" for token in self.tokens[start:end])

    def content(self) -> frozenset[str]:
        """What it states, as a set: to see quickly what has anything in common with it."""
        return frozenset(token.norm for token in self.tokens if token.is_content)


@lru_cache(maxsize=4096)
def statement(text: str) -> Statement:
    """Take a text apart. Markdown is not part of it."""
    plain = _SHORT.sub(_spelled_out, folded(_MARKDOWN.sub("", text)))
    pattern, same = same_chinese()
    plain = pattern.sub(lambda match: same[match[0]], plain)
    tokens = _without_plain(_tokens(plain))
    index: defaultdict[str, list[int]] = defaultdict(list)
    for at, token in enumerate(tokens):
        index[token.norm].append(at)
    return Statement(
        text=plain,
        tokens=tokens,
        clauses=_clauses(plain, tokens),
        quoted=[next(filter(None, one)) for one in _QUOTED.findall(plain)],
        han="".join(token.norm if token.kind == "han" else "\0" for token in tokens),
        index=index,
    )


def _spelled_out(match: re.Match[str]) -> str:
    """don't as do not, cannot as can not; what stands for will, are, have is left out."""
    verb = match[1] or match[2]
    return f"{_VERBS.get(verb.lower(), verb)} not" if verb else ""


def _spans(text: str) -> list[tuple[int, int, re.Match[str] | Quantity]]:
    """Tokens and numbers in their order; what is part of a number is no token."""
    found: list[tuple[int, int, re.Match[str] | Quantity]] = []
    codes = [match for match in _TOKEN.finditer(text) if match["code"]]
    for one in quantities(text):
        if not any(code.start() < one.end and one.start < code.end() for code in codes):
            found.append((one.start, one.end, one))
    taken = [(start, end) for start, end, _ in found]
    for match in _TOKEN.finditer(text):
        if not any(start < match.end() and match.start() < end for start, end in taken):
            found.append((match.start(), match.end(), match))
    return sorted(found, key=lambda one: one[0])


def _tokens(text: str) -> list[Token]:
    turns = _turns(text)
    tokens: list[Token] = []
    clause, leads = 0, True
    for start, _, found in _spans(text):
        if isinstance(found, Quantity):
            tokens.append(Token("quantity", _written(found), clause, found))
            leads = False
            continue
        if found["sep"] is not None:
            clause += 1
            leads = leads or found["sep"].strip() not in (",", "，", ")", "）", "、", "-", "—", "–")
            tokens.append(Token("sep", "\n" if found["sep"] == "\n" else "\0", clause))
            continue
        if start in turns:
            clause += 1
            tokens.append(Token("sep", turns[start], clause))
        tokens.append(_token(found, clause, leads))
        leads = False
    return tokens


def _turns(text: str) -> dict[int, str]:
    """Where a clause begins with a word, and the norm of the token that parts it."""
    turns = {match.start(): "\0" for match in _CHINESE_TURN.finditer(text)}
    return turns | {match.start(): AND for match in _AND.finditer(text)}


def _without_plain(tokens: list[Token]) -> list[Token]:
    """With the characters marked that are part of words that state nothing."""
    at = 0
    while at < len(tokens):
        length = 0
        word = ""
        for ahead in range(at, min(at + _LONGEST_PLAIN, len(tokens))):
            if tokens[ahead].kind != "han":
                break
            word += tokens[ahead].norm
            length = len(word) if word in plain_chinese() else length
        for one in range(at, at + length):
            tokens[one] = replace(tokens[one], plain=True)
        at += length or 1
    return tokens


def _written(one: Quantity) -> str:
    return f"{'–'.join(map(str, one.values))} {one.unit} {one.bound}"


def _token(found: re.Match[str], clause: int, leads: bool) -> Token:
    written = found["code"] or found["word"] or found["han"]
    lower = written.lower()
    if found["code"]:
        return Token("code", lower.rstrip("./"), clause)
    if found["han"]:
        return Token("han", written, clause)
    norm = stem(lower)
    norm = same_english().get(norm, norm)
    capital = written[0].isupper() and lower != "i"
    plain = norm in plain_english()
    return Token("name" if capital and not leads and not plain else "word", norm, clause)


def _clauses(text: str, tokens: Sequence[Token]) -> list[str]:
    parts: list[list[str]] = [[]]
    clause = 0
    turns = _turns(text)
    end = 0
    for start, stop, found in _spans(text):
        parts[-1].append(text[end:start])
        end = stop
        if isinstance(found, Quantity):
            parts[-1].append(" \0 ")
        elif found["sep"] is not None:
            parts.append([])
            clause += 1
        else:
            if start in turns:
                parts.append([])
            parts[-1].append(text[start:stop])
    return [innocent().sub("\0", "".join(part)) for part in parts]
