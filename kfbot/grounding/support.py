"""Whether a passage says what a sentence says: numbers, names, negation, words. Pure, no I/O."""

from __future__ import annotations

import re
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, get_args

from kfbot.conversation import Language
from kfbot.grounding.alignment import Part, Path, is_verb, parts, path
from kfbot.grounding.languages import is_in, languages_of
from kfbot.grounding.passages import PRONOUN, Sentence, is_disputing, sentences_of
from kfbot.grounding.persons import is_by_another
from kfbot.grounding.statements import AND, Statement, statement
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

#: So many sentences of a passage are compared closely, those that have most in common with it.
_CANDIDATES = 4
#: Of the clauses that a sentence is taken from, so much must be said.
_SAID = 0.5
_PARTICLES = frozenset(("out", "off", "down", "away", "up"))
#: From one to the other the verdicts come nearer to a proof.
_BY_DEPTH = ("words", "name", "number", "order", "negation", "condition")


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
    denies = is_disputing(stated.text)
    found = [one for one in sentences_of(passage) if denies or not one.is_doubted]
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
    found = sentences_of(passage)
    for at, one in enumerate(found):
        statement(one.about)
        statement(one.context)
        for length in (1, 2, 3):
            statement("\n".join(each.text for each in found[at : at + length]))
        for name in get_args(Language):
            is_in(one.text, name)


def states_nothing(sentence: str) -> bool:
    """Whether a sentence is a greeting or a phrase that leads on, and states nothing."""
    parts_of_it = re.split(r"[。．.!！?？:：~\n]+|(?<=\w)[,，](?=\s*(?:i|we|很|请|有)\b)", sentence)
    words = [part.strip(" ,，*#-") for part in parts_of_it]
    return all(nothing().fullmatch(part) for part in words if part)


def _common(stated: Statement, one: Sentence) -> int:
    return len(stated.content() & statement(one.text).content())


def _proved(
    stated: Statement, found: Sequence[Sentence], own: frozenset[int], said: Statement
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
        verdict = _compare(stated, statement(text), found[start], said)
        if verdict == "supported":
            return verdict
        verdicts.append(verdict)
    return max(verdicts, key=lambda one: _BY_DEPTH.index(one), default="words")


def _compare(stated: Statement, known: Statement, first: Sentence, said: Statement) -> Verdict:
    """What one part of a passage, that begins with a sentence, lacks first."""
    about = statement(first.context)
    # A number is one of this sentence, not of the one that "it" points to.
    if (verdict := _facts(stated, known, about, statement(first.about))) is not None:
        return verdict
    found = parts(stated, known)
    if (fault := _lacking(found, known, about)) is not None:
        return fault
    named = frozenset(stated.content() | about.content())
    way = path(found, known, named, said.content())
    if way.torn or not way.steps:
        return "order" if way.steps else "words"
    if (fault := _marked(stated, known, way, named)) is not None:
        return fault
    if is_by_another(stated, known, way) or _is_only_asked(way, known) or _is_patched(way, known):
        return "order"
    if _is_cut_off(way, known, named):
        return "order"
    own = stated.content() | said.content()
    return "supported" if _said_enough(way, known, named | own, own) else "condition"


def _facts(
    stated: Statement, known: Statement, about: Statement, titles: Statement
) -> Verdict | None:
    """Numbers, names, addresses, titles."""
    latin_is_a_name = language_of(stated.text) == "zh"
    for token in stated.tokens:
        around = titles if token.kind == "quantity" else about
        if token.norm in known.index or token.norm in around.index:
            continue
        if token.kind == "quantity":
            return "number"
        is_word = token.kind == "word" and token.is_content
        if token.kind in ("name", "code") or (latin_is_a_name and is_word):
            return "name"
    quoted = Counter(stated.quoted) - Counter(known.quoted)
    return "name" if any(title not in about.text for title in quoted) else None


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


def _marked(
    stated: Statement, known: Statement, way: Path, named: frozenset[str]
) -> Verdict | None:
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
    lenders = _lenders(way, known)
    if mine["must"] and not any(_marks(known.clauses[at])["must"] for at in mains - lenders):
        return "condition"
    if mine["can"] and _is_let(taken, way, known, named):
        return "condition"
    done = _all_marks([known.clauses[place] for place in taken if place not in lenders])
    others["must"] = done["must"]
    return _conditions(mine, others, _all_marks(known.clauses))


def _lenders(way: Path, known: Statement) -> set[int]:
    """Clauses of which only the subject is taken, for what the half behind them says of it.

    "Items must be ordered and can be returned": what must be done there is another matter.
    """
    verbs: dict[int, int] = {}
    for at, token in enumerate(known.tokens):
        if is_verb(token):
            verbs.setdefault(token.clause, at)
    starts = {token.clause for token in known.tokens if token.norm == AND}
    used: dict[int, set[int]] = {}
    for part, place in way.steps:
        used.setdefault(known.tokens[place].clause, set()).add(part.clause)
    last = {known.tokens[place].clause: place for _, place in sorted(way.steps, key=_place)}
    return {
        clause
        for clause, mine in used.items()
        if clause + 1 in starts
        and mine & used.get(clause + 1, set())
        and last[clause] < verbs.get(clause, 0)
    }


def _place(step: tuple[Part, int]) -> int:
    return step[1]


def _is_let(taken: Sequence[int], way: Path, known: Statement, named: frozenset[str]) -> bool:
    """Whether a sentence says that something can be done of which the passage says another thing.

    Payment in cash "is possible", or it "was discontinued": where nothing there says that it can
    be done, nothing that is said of it may be left out.
    """
    marks = _all_marks([known.clauses[place] for place in taken])
    if marks["can"] or marks["open"]:
        return False
    covered = {place + at for part, place in way.steps for at in range(part.length)}
    return any(
        at not in covered and one.clause in taken and one.is_content and one.norm not in named
        for at, one in enumerate(known.tokens)
    )


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


def _is_cut_off(way: Path, known: Statement, named: frozenset[str]) -> bool:
    """Whether a verb is taken without what makes another one of it: "sold out"."""
    ends = {place + part.length for part, place in way.steps if part.kind == "word"}
    return any(
        at < len(known.tokens)
        and known.tokens[at].norm in _PARTICLES
        and known.tokens[at].norm not in named
        for at in ends
    )


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
        first[one] not in covered and not (one and PRONOUN.match(lines[one])) for one in touched
    )


def _foreign(stated: Statement, found: Sequence[Sentence]) -> Verdict:
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
