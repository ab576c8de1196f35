"""Who does something and to whom it is done, as far as a text says "we" and "you". Pure, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from kfbot.grounding.alignment import Path
from kfbot.grounding.statements import Statement

#: The one who does it, or the other one; None: the place of the word does not tell.
Role = Literal["giver", "taker"] | None

_NAMES = {"we": "us", "us": "us", "i": "us", "me": "us", "我": "us", "you": "you"}
_NAMES |= {"你": "you", "您": "you"}
#: Where the company names itself: 本店, 本公司, 我司, 我方.
_COMPANY = ("本店", "本司", "本公司", "我司", "我方", "我店")
#: Behind these stands who does it.
_BY = frozenset(("by", "由", "被"))
#: Behind these stands who gets it.
_TO = frozenset(("to", "for", "from", "with", "向", "给", "对", "为", "替", "帮", "跟", "与"))


def is_by_another(stated: Statement, known: Statement, way: Path) -> bool:
    """Whether the customer does what the company does in a passage, or the other way round.

    Each clause is compared with those that it is taken from.
    """
    used: dict[int, set[int]] = {}
    for part, place in way.steps:
        used.setdefault(part.clause, set()).add(known.tokens[place].clause)
    return any(
        _differ(roles(stated, {clause}), roles(known, theirs), is_one=len(theirs) == 1)
        for clause, theirs in used.items()
    )


def roles(text: Statement, clauses: set[int]) -> Mapping[str, Role]:
    """Who of "us" and "you" is named in clauses, in their order, and what they have to do there.

    What is ours or yours names nobody.
    """
    found: dict[str, Role] = {}
    for clause in sorted(clauses):
        places = [at for at, token in enumerate(text.tokens) if token.clause == clause]
        for at in places:
            name = _NAMES.get(text.tokens[at].norm) or _company(text, at)
            if name is not None and not _owns(text, at):
                found.setdefault(name, _role(text, places, at))
    return found


def _company(text: Statement, at: int) -> str | None:
    return "us" if text.han.startswith(_COMPANY, at) else None


def _owns(text: Statement, at: int) -> bool:
    """Whether 的 follows: 我们的, 您的, 本店的."""
    behind = text.han[at + 1 : at + 4].lstrip("们店司方公")
    return behind.startswith("的")


def _role(text: Statement, places: list[int], at: int) -> Role:
    before = text.tokens[at - 1].norm if at > places[0] else ""
    if before in _BY:
        return "giver"
    if before in _TO or all(text.tokens[one].kind == "sep" for one in places if one > at):
        return "taker"
    ahead = [text.tokens[one] for one in places if one < at]
    return None if any(one.is_content or one.norm in _NAMES for one in ahead) else "giver"


def _differ(mine: Mapping[str, Role], theirs: Mapping[str, Role], *, is_one: bool) -> bool:
    if not mine or not theirs:
        return False
    if not mine.keys() & theirs.keys():
        return True
    if is_one and next(iter(mine)) != next(iter(theirs)):
        return True
    return is_one and any(
        role and theirs.get(name) and role != theirs[name] for name, role in mine.items()
    )
