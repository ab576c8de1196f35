"""Whether a passage says what a sentence says: numbers, names, negation, words. Pure, no I/O."""

from __future__ import annotations

import re
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from kfbot.conversation import Language
from kfbot.grounding.alignment import Part, Path, parts, path
from kfbot.grounding.languages import is_in, languages_of
from kfbot.grounding.sentences import sentences
from kfbot.grounding.statements import Statement, statement
from kfbot.grounding.vocabulary import markers, nothing, opposites
from kfbot.language import language_of

#: supported, or the first thing that the passage lacks. order: it has the words, and puts them
#: together in another way. condition: the sentence leaves a condition or a doubt out, or adds a
#: promise. nothing: the sentence states nothing, as a greeting. foreign: nothing speaks against
#: it, but the two are in different languages, and their words cannot be compared. language: the
#: customer does not read it; `check` does not say so.
Verdict = Literal[
    "supported",
    "nothing",
    "number",
    "name",
    "negation",
    "condition",
    "order",
    "words",
    "foreign",
    "language",
]

_PRONOUN = re.compile(
    r"\s*(?:it|they|this|that|these|those|he|she|its|their|his|her|the (?:former|latter|same)"
    r"|该|此|这|那|其|它|他|她|同时|此外|另外)",
    re.IGNORECASE,
)
_ITEM = re.compile(r"(?:[-*+•·]|\d{1,2}[.)、])\s*")
_WHO = {
    "us": re.compile(r"\b(?:we|us|i|me)\b|(?:我们?|本店|我司|我方)(?!的)", re.IGNORECASE),
    "you": re.compile(r"\byou\b|[你您](?!的)", re.IGNORECASE),
}
#: So many sentences of a passage are compared closely, those that have most in common with it.
_CANDIDATES = 4
#: Of the clauses that a sentence is taken from, so much must be said.
_SAID = 0.5
_HEADING_LENGTH = 60
#: From one to the other the verdicts come nearer to a proof.
_BY_DEPTH = ("words", "name", "number", "order", "negation", "condition")


@dataclass(frozen=True, slots=True)
class _Sentence:
    """One sentence of a passage."""

    text: str
    #: What it is about, where it does not say so: title, heading, what a pronoun stands for.
    about: str
    is_heading: bool = False


def check(sentence: str, passage: str, *, said: str = "") -> Verdict:
    """Compare a sentence, without the marks of its citations, with the text of a passage.

    Everything that the sentence states must stand in one sentence of the passage, or in
    neighbouring ones, put together in the same way. In doubt it is not supported.

    Args:
        passage: Its first lines may be a title and headings.
        said: The question, and the answer so far: what these name need not be named again.
    """
    if states_nothing(sentence):
        return "nothing"
    stated = statement(sentence.strip())
    if not any(token.is_content for token in stated.tokens):
        return "words"
    if stated.is_question:
        return "words"
    found = _passage(passage)
    if not found:
        return "words"
    mine = languages_of(stated.text)
    own = frozenset(
        at for at, one in enumerate(found) if any(is_in(one.text, name) for name in mine)
    )
    # A title in the language of the customer proves nothing.
    if len(own) < len(found) and not any(
        _common(stated, found[at]) for at in own if not found[at].is_heading
    ):
        return _foreign(stated, found)
    return _proved(stated, found, own, statement(said))


def prepare(passage: str) -> None:
    """Take a passage apart, so that `check` has no more to do with it than to compare."""
    found = _passage(passage)
    for at, one in enumerate(found):
        statement(one.about)
        for length in (1, 2, 3):
            statement("\n".join(each.text for each in found[at : at + length]))
        for name in get_args(Language):
            is_in(one.text, name)


def states_nothing(sentence: str) -> bool:
    """Whether a sentence is a greeting or a phrase that leads on, and states nothing."""
    parts_of_it = re.split(r"[。．.!！?？:：~\n]+|(?<=\w)[,，](?=\s*(?:i|we|很|请|有)\b)", sentence)
    words = [part.strip(" ,，*#-") for part in parts_of_it]
    return all(nothing().fullmatch(part) for part in words if part)


@lru_cache(maxsize=256)
def _passage(text: str) -> Sequence[_Sentence]:
    """The sentences of a passage; list items also together, with the line that leads to them."""
    found: list[_Sentence] = []
    items: list[str] = []
    title, heading, lead, before = "", "", "", ""
    for number, line in enumerate([*text.split("\n"), ""]):
        words = line.strip()
        if not _ITEM.match(words) and items:
            found.append(_Sentence(f"{lead.rstrip(':：')} {', '.join(items)}", title))
            items = []
        if not words:
            continue
        is_heading = _is_heading(words, number)
        if is_heading:
            title, heading, lead = (title, words, "") if number else (words, "", "")
        elif lead and (item := _ITEM.match(words)):
            items.append(words[item.end() :])
        for one in sentences(words):
            leant = before if _PRONOUN.match(one) else ""
            found.append(_Sentence(one, "\n".join((title, heading, lead, leant)), is_heading))
            before = one
        lead = _leading(words, lead)
    return found


def _leading(line: str, lead: str) -> str:
    """The line that leads to the next one: "We accept:", the head of a table."""
    in_table = line.startswith("|")
    if line[-1] in ":：" or (in_table and not lead.startswith("|")):
        return line
    return lead if in_table or _ITEM.match(line) else ""


def _is_heading(line: str, number: int) -> bool:
    ends = line[-1] in "。.!！?？;；:：|,，"
    return line.startswith("#") or (len(line) < _HEADING_LENGTH and not ends and number < 2)


def _common(stated: Statement, one: _Sentence) -> int:
    return len(stated.content() & statement(one.text).content())


def _proved(
    stated: Statement, found: Sequence[_Sentence], own: frozenset[int], said: Statement
) -> Verdict:
    """The verdict on the part of the passage that comes nearest.

    Args:
        own: Places of the sentences that can be compared with this one.
    """
    ranked = sorted(own, key=lambda at: (-_common(stated, found[at]), at))[:_CANDIDATES]
    spans = [(at, at + 1) for at in ranked]
    spans += [(at - 1, at + 1) for at in ranked[:2]] + [(at, at + 2) for at in ranked[:2]]
    spans += [(max(0, at - 1), min(len(found), at + 2)) for at in ranked[:1]]
    verdicts: list[Verdict] = []
    for start, end in dict.fromkeys(spans):
        if not own.issuperset(range(start, end)):
            continue
        text = "\n".join(one.text for one in found[start:end])
        verdict = _compare(stated, statement(text), statement(found[start].about), said)
        if verdict == "supported":
            return verdict
        verdicts.append(verdict)
    return max(verdicts, key=lambda one: _BY_DEPTH.index(one), default="words")


def _compare(stated: Statement, known: Statement, about: Statement, said: Statement) -> Verdict:
    """What one part of a passage lacks first."""
    if (verdict := _facts(stated, known, about)) is not None:
        return verdict
    found = parts(stated, known)
    if (fault := _lacking(found, known, about)) is not None:
        return fault
    named = stated.content() | about.content()
    way = path(found, known, frozenset(named), said.content())
    if way.torn or not way.steps:
        return "order" if way.steps else "words"
    if (fault := _marked(stated, known, way)) is not None:
        return fault
    if _is_by_another(stated, known, way) or _is_only_asked(way, known) or _is_patched(way, known):
        return "order"
    own = stated.content() | said.content()
    return "supported" if _said_enough(way, known, named | own, own) else "condition"


def _facts(stated: Statement, known: Statement, about: Statement) -> Verdict | None:
    """Numbers, names, addresses, titles."""
    latin_is_a_name = language_of(stated.text) == "zh"
    for token in stated.tokens:
        if token.norm in known.index or token.norm in about.index:
            continue
        if token.kind == "quantity":
            return "number"
        is_word = token.kind == "word" and token.is_content
        if token.kind in ("name", "code") or (latin_is_a_name and is_word):
            return "name"
    titles = Counter(stated.quoted) - Counter(known.quoted)
    return "name" if any(title not in about.text for title in titles) else None


def _lacking(found: Sequence[Part], known: Statement, about: Statement) -> Verdict | None:
    """The verdict on words that the passage does not have."""
    single = False
    for part in found:
        if part.places:
            # Characters that only stand apart in the passage are no word of it.
            lone = part.kind == "han" and part.length == 1
            if lone and single:
                return "words"
            single = lone
            continue
        single = part.kind == "han" and part.length == 1
        if part.norm in about.index and not single:
            continue
        if single and part.norm in about.han:
            continue
        return "negation" if _is_opposed(part.norm, known) else "words"
    return None


def _is_opposed(norm: str, known: Statement) -> bool:
    return any(
        norm in one and any(word in known.index for word in other) for one, other in opposites()
    )


def _marked(stated: Statement, known: Statement, way: Path) -> Verdict | None:
    """Negations, conditions, doubts and promises: clause by clause the same."""
    used: dict[int, Counter[int]] = {}
    mains: set[int] = set()
    for part, place in way.steps:
        used.setdefault(part.clause, Counter())[known.tokens[place].clause] += 1
    for clause, places in used.items():
        least = min(2, max(places.values()))
        main = [place for place, count in places.items() if count >= least]
        mains.update(main)
        theirs = sum(_marks(known.clauses[place])["negation"] for place in main)
        if _marks(stated.clauses[clause])["negation"] != theirs:
            return "negation"
    mine = _all_marks(stated.clauses)
    taken = sorted({place for places in used.values() for place in places})
    others = _all_marks([known.clauses[place] for place in taken])
    if (mine["negation"] > 0) != (others["negation"] > 0):
        return "negation"
    if mine["must"] and not any(_marks(known.clauses[place])["must"] for place in mains):
        return "condition"
    return _conditions(mine, others, _all_marks(known.clauses))


def _all_marks(clauses: Iterable[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for clause in clauses:
        found.update(_marks(clause))
    return found


def _conditions(
    mine: Counter[str], theirs: Counter[str], everything: Counter[str]
) -> Verdict | None:
    for kind in ("only", "except", "hedge", "part", "group"):
        if theirs[kind] and not mine[kind]:
            return "condition"
    if theirs["must"] and mine["can"] and not mine["must"]:
        return "condition"
    if any(mine[kind] and not theirs[kind] for kind in ("only", "except", "all", "must", "group")):
        return "condition"
    if any(mine[kind] and not everything[kind] for kind in ("before", "after")):
        return "condition"
    for kind in ("condition", "except"):
        if everything[kind] and not (mine["condition"] or mine["except"]):
            return "condition"
    return None


@lru_cache(maxsize=8192)
def _marks(clause: str) -> Counter[str]:
    return Counter({kind: len(pattern.findall(clause)) for kind, pattern in markers().items()})


def _said_enough(way: Path, known: Statement, named: frozenset[str], own: frozenset[str]) -> bool:
    """Whether the clauses that a sentence is taken from are said, but for little."""
    clauses = {known.tokens[place].clause for _, place in way.steps}
    stated = [one for one in known.tokens if one.clause in clauses and one.is_content]
    # A limit or a place that is left out makes the rest untrue.
    places = [place for _, place in way.steps]
    between = known.tokens[min(places) : max(places)]
    if any(
        one.norm not in own and (one.kind == "name" or (one.quantity and one.quantity.bound))
        for one in (*stated, *between)
    ):
        return False
    return sum(one.norm in named for one in stated) >= _SAID * len(stated)


def _is_by_another(stated: Statement, known: Statement, way: Path) -> bool:
    """Whether the customer does what the company does there, or the other way round."""
    taken = {known.tokens[place].clause for _, place in way.steps}
    mine = _persons(" ".join(stated.clauses))
    theirs = _persons(" ".join(known.clauses[place] for place in sorted(taken)))
    if not mine or not theirs:
        return False
    is_turned = len(taken) == 1 and mine[0] != theirs[0]
    return is_turned or not set(mine) & set(theirs)


def _persons(words: str) -> Sequence[str]:
    """Who of us and you is named, in their order; what is ours or yours names nobody."""
    found = ((pattern.search(words), name) for name, pattern in _WHO.items())
    return [name for _, name in sorted((one.start(), name) for one, name in found if one)]


def _is_only_asked(way: Path, known: Statement) -> bool:
    """Whether the passage does not say it, but asks: "Are dogs welcome? No." """
    lines = known.text.split("\n")
    breaks = [at for at, token in enumerate(known.tokens) if token.norm == "\n"]
    touched = {bisect(breaks, place) for _, place in way.steps}
    return all(lines[line].rstrip(' "”)').endswith("?") for line in touched)


def _is_patched(way: Path, known: Statement) -> bool:
    """Whether it takes from several sentences, and not what each of them is about."""
    covered = {place + at for part, place in way.steps for at in range(part.length)}
    first: dict[int, int] = {}
    line = 0
    touched, clauses = set(), set()
    content = [at for at, token in enumerate(known.tokens) if token.is_content]
    for at, token in enumerate(known.tokens):
        line += token.norm == "\n"
        if token.is_content:
            first.setdefault(line, at)
        if at in covered:
            touched.add(line)
            clauses.add(token.clause)
    if len(touched) < 2:
        return False
    for clause in clauses:
        stated = [at for at in content if known.tokens[at].clause == clause]
        if sum(at in covered for at in stated) < _SAID * len(stated):
            return True
    lines = known.text.split("\n")
    return any(
        first[one] not in covered and not (one and _PRONOUN.match(lines[one])) for one in touched
    )


def _foreign(stated: Statement, found: Sequence[_Sentence]) -> Verdict:
    """What can be compared across languages: numbers, Latin names, negation."""
    every = [statement(one.text) for one in found]
    numbers = [token.quantity for token in stated.tokens if token.quantity]
    holding = [
        one
        for one in every
        if all(
            any(token.quantity and number.says(token.quantity) for token in one.tokens)
            for number in numbers
        )
    ]
    if not holding:
        return "number"
    names = {token.norm for token in stated.tokens if token.kind in ("name", "code")}
    if language_of(stated.text) == "zh":
        names |= {
            token.norm for token in stated.tokens if token.kind == "word" and token.is_content
        }
        if not all(any(name in one.index for one in every) for name in names):
            return "name"
    elif any(
        token.kind == "code" and token.norm not in {n for o in every for n in o.index}
        for token in stated.tokens
    ):
        return "name"
    negative = any(_marks(words)["negation"] for words in stated.clauses)
    agree = any(
        negative == any(_marks(words)["negation"] for words in one.clauses) for one in holding
    )
    return "foreign" if agree else "negation"
