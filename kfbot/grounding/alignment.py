"""Where in a passage the parts of a sentence stand, and whether they are put together there in
the same way. Pure, no I/O.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from kfbot.grounding.statements import AND, Statement, Token
from kfbot.grounding.vocabulary import plain_chinese

#: As long as this beginnings of words are taken for the words.
_SAME_BEGINNING = 6
_ARTICLES = frozenset(("a", "an", "the", "our", "your"))
#: What is behind these is done by somebody, or to somebody: it is not to be left out or put in.
_ROLES = frozenset(
    ("by", "to", "from", "than", "against", "由", "被", "向", "给", "从", "比", "对")
)
#: Behind a subject: stems of English verbs, the first characters of Chinese ones.
_VERBS = frozenset(
    {"is", "are", "was", "were", "has", "have", "had", "can", "may", "need", "will", "should"}
    | {"would", "could", "do", "does", "cost", "take", "come", "includ", "contain", "requir"}
    | {"arriv", "weigh", "last", *"是为可能会需有售支提含包重由"}
)
_PERSONS = frozenset(("you", "we", "i", "custom"))
#: Costs: to go back, and to put together what the passage does not.
_BACK = 50
_NEVER = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """A word, a number or a run of Han characters of a sentence."""

    norm: str
    clause: int
    kind: str
    #: Tokens of the passage at which it begins; none: the passage lacks it.
    places: Sequence[int]
    #: So many tokens are the same from there on.
    length: int = 1
    #: The word before it, but for articles; "" at the beginning of a clause.
    lead: str = ""


def is_verb(token: Token) -> bool:
    """Whether a word behind a subject begins what is said of it."""
    return token.norm in _VERBS


def parts(sentence: Statement, passage: Statement) -> list[Part]:
    """What a sentence states, each with its places in a passage."""
    found: list[Part] = []
    at = 0
    while at < len(sentence.tokens):
        token = sentence.tokens[at]
        if token.kind == "han":
            part, length = _han(sentence, at, passage)
            at += length
            if part is not None:
                found.append(part)
            continue
        at += 1
        if token.is_content:
            found.append(_part(sentence, at - 1, passage))
    return found


def _part(sentence: Statement, at: int, passage: Statement) -> Part:
    token = sentence.tokens[at]
    places = _places(token.norm, token.kind, passage)
    return Part(token.norm, token.clause, token.kind, places, lead=_lead(sentence, at))


def _lead(text: Statement, at: int) -> str:
    """The word before a token, but for articles; "" at the beginning of a clause."""
    while at > 0 and text.tokens[at - 1].norm in _ARTICLES:
        at -= 1
    before = text.tokens[at - 1] if at else None
    return "" if before is None or before.kind == "sep" else before.norm


def _places(norm: str, kind: str, passage: Statement) -> Sequence[int]:
    if norm in passage.index:
        return passage.index[norm]
    if kind != "word" or len(norm) < _SAME_BEGINNING:
        return ()
    return [
        place
        for other, places in passage.index.items()
        if other[:_SAME_BEGINNING] == norm[:_SAME_BEGINNING]
        and abs(len(other) - len(norm)) <= 4
        and not _is_other_degree(norm, other)
        and passage.tokens[places[0]].kind == "word"
        for place in places
    ]


def _is_other_degree(one: str, other: str) -> bool:
    """Whether words that begin alike compare differently: strong, stronger, strongest."""
    short, long = sorted((one, other), key=len)
    return long.removesuffix("er") == short or one.endswith("est") != other.endswith("est")


def _han(sentence: Statement, at: int, passage: Statement) -> tuple[Part | None, int]:
    """The longest run of characters from here that the passage has too, and its length."""
    end = at
    while end < len(sentence.han) and sentence.han[end] != "\0":
        end += 1
    run = sentence.han[at:end]
    length = 0
    while length < len(run) and run[: length + 1] in passage.han:
        length += 1
    plain = max((n for n in range(1, 5) if run[:n] in plain_chinese()), default=0)
    if plain >= length and plain:
        return None, plain
    clause = sentence.tokens[at].clause
    if not length:
        return Part(run[0], clause, "han", ()), 1
    lead = _lead(sentence, at)
    norm = run[:length]
    if all(one in plain_chinese() for one in norm):
        return None, length
    places = []
    place = passage.han.find(norm)
    while place >= 0:
        places.append(place)
        place = passage.han.find(norm, place + 1)
    return Part(norm, clause, "han", places, length, lead), length


@dataclass(frozen=True, slots=True)
class Path:
    """The place of each part, as near together as can be."""

    #: Parts that the passage has, each with its place.
    steps: Sequence[tuple[Part, int]]
    #: Whether the passage puts them together in another way.
    torn: bool


def path(
    found: Sequence[Part], passage: Statement, known: frozenset[str], said: frozenset[str]
) -> Path:
    """Find the places of the parts of a sentence.

    Args:
        known: What the sentence has, and what its part of the passage is about.
        said: What came before the sentence: only what it is about can be left out for that.
    """
    placed = [part for part in found if part.places]
    if not placed:
        return Path((), False)
    ways: list[tuple[int, tuple[int, ...]]] = [
        (_entry(place, passage, known | said), (place,)) for place in placed[0].places
    ]
    for before, part in pairwise(placed):
        ways = [
            min(
                (
                    (cost + _step(before, way[-1], part, place, passage, known), (*way, place))
                    for cost, way in ways
                ),
                key=lambda one: one[0],
            )
            for place in part.places
        ]
    cost, places = min(ways, key=lambda one: one[0])
    steps = list(zip(placed, places, strict=True))
    return Path(steps, cost >= _NEVER or _is_torn(found, steps, passage))


def _is_torn(found: Sequence[Part], steps: Sequence[tuple[Part, int]], passage: Statement) -> bool:
    """Whether the parts stand in another order: one may be moved to the front, or to the end.

    Two names that change places, and a name in another's place, are more than that.
    """
    named = Counter(part.norm for part in found if part.kind == "name" or part.length > 1)
    if any(0 < len(passage.index.get(norm, ())) < count for norm, count in named.items()):
        return True
    if any(_is_recast(part, place, passage) for part, place in steps):
        return True
    places = [place for _, place in steps]
    return not (
        _is_turned(steps, passage)
        or any(
            _ascends([*places[:at], *places[at + 1 :]]) and _is_free(part, places[at], passage)
            for at, (part, _) in enumerate(steps)
        )
    )


def _ascends(places: Sequence[int]) -> bool:
    return all(one <= other for one, other in pairwise(places))


def _is_recast(part: Part, place: int, passage: Statement) -> bool:
    """Whether somebody has another role here than there."""
    lead = _lead(passage, place)
    return lead != part.lead and (
        part.lead in _ROLES or (lead in _ROLES and part.kind in ("name", "han"))
    )


def _is_turned(steps: Sequence[tuple[Part, int]], passage: Statement) -> bool:
    """Whether the parts ascend, but for two neighbouring clauses or halves in the other order."""
    places = [place for _, place in steps]
    falls = [at for at, (one, other) in enumerate(pairwise(places), 1) if other < one]
    if len(falls) != 1:
        return not falls
    moved, rest = places[: falls[0]], places[falls[0] :]
    if max(rest) < min(moved):
        return True
    start = next((at for at, place in enumerate(moved) if place > max(rest)), 0)
    halves = start > 0 and _ascends(moved[:start] + rest) and _begins(_lead(passage, moved[start]))
    return halves and _begins(steps[falls[0]][0].lead)


def _begins(lead: str) -> bool:
    return lead in ("", "and", "和", "且")


def _is_free(part: Part, place: int, passage: Statement) -> bool:
    """Whether a part may stand anywhere in its clause: the only number, what "you" can do."""
    clause = [one for one in passage.tokens if one.clause == passage.tokens[place].clause]
    if part.kind == "quantity":
        return sum(one.kind == "quantity" for one in clause) == 1
    words = [one.norm for one in clause if one.kind != "sep"]
    return part.kind == "word" and words[0] in _PERSONS


def _entry(place: int, passage: Statement, known: frozenset[str]) -> int:
    """What it costs to begin inside of a clause: what stands before must be said elsewhere."""
    return _NEVER if _lost(_clause_start(place, passage), place, passage, known) else 1


def _clause_start(place: int, passage: Statement) -> int:
    while place > 0 and passage.tokens[place - 1].kind != "sep":
        place -= 1
    return place


def _clause_end(place: int, passage: Statement) -> int:
    while place < len(passage.tokens) and passage.tokens[place].kind != "sep":
        place += 1
    return place


def _lost(start: int, end: int, passage: Statement, known: frozenset[str]) -> list[int]:
    """Tokens between two places that state something that is said nowhere else."""
    return [
        at
        for at in range(start, end)
        if passage.tokens[at].is_content and passage.tokens[at].norm not in known
    ]


def _step(
    before: Part, was: int, part: Part, place: int, passage: Statement, known: frozenset[str]
) -> int:
    """What it costs to go on from one place to another."""
    left = was + before.length
    if passage.breaks(place, was):
        return _NEVER
    back = _BACK if place < was else 0
    same_clause = before.clause == part.clause
    if left <= place and passage.tokens[was].clause == passage.tokens[place].clause:
        if not same_clause:
            return 0
        if (
            left < place
            and left in _lost(left, place, passage, known)
            and _is_other_subject(was, left, passage)
        ):
            return _NEVER
        return _skip(left, place, passage, known)
    if not same_clause:
        return back + _entry(place, passage, known)
    if _is_its_subject(before, was, place, passage):
        return _NEVER if _lost(_clause_start(place, passage), place, passage, known) else 2
    lost = _lost(left, _clause_end(was, passage), passage, known)
    if lost or _lost(_clause_start(place, passage), place, passage, known):
        return _NEVER
    return back + 3


def _is_its_subject(before: Part, was: int, place: int, passage: Statement) -> bool:
    """Whether a part is the subject of the second half of a sentence: "and can be returned"."""
    start = _clause_start(place, passage)
    if not start or passage.tokens[start - 1].norm != AND:
        return False
    while start > 0 and passage.tokens[start - 1].kind == "sep":
        start -= 1
    first, left = _clause_start(start, passage), was + before.length
    if not first <= was < left < start or passage.tokens[left].norm not in _VERBS:
        return False
    return all(one.is_content or one.norm in _ARTICLES for one in passage.tokens[first:was])


def _is_other_subject(was: int, left: int, passage: Statement) -> bool:
    """Whether what follows a subject makes another thing of it: "A chair cover costs 80 euros"."""
    follows = passage.tokens[left]
    start = _clause_start(was, passage)
    return (
        follows.kind == "word"
        and follows.is_content
        and follows.norm not in _VERBS
        and all(one.norm in _ARTICLES for one in passage.tokens[start:was])
    )


def _skip(left: int, place: int, passage: Statement, known: frozenset[str]) -> int:
    """To leave out what stands between: no name, no number, nothing that is said twice."""
    if left == place:
        return 0
    between = passage.tokens[left:place]
    lost = _lost(left, place, passage, known)
    if any(passage.tokens[at].kind in ("name", "code", "quantity") for at in lost):
        return _NEVER
    if lost and any(one.is_content and one.norm in known for one in between if one.kind != "han"):
        return _NEVER
    return 1
