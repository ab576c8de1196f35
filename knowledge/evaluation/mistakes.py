"""The confusion list: wrong answers and missed questions by the entries that were mixed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kfbot.knowledge_base import KnowledgeBase
from kfbot.store.knowledge_rows import StoredDocument
from knowledge.evaluation.asking import Asked
from knowledge.evaluation.reasons import REASONS, Entry, Nearest, entry_of, reason_of, signals_of

#: Reads stored documents of a knowledge base by their ids.
ReadStored = Callable[[str, Collection[str]], AsyncIterator[StoredDocument]]

#: Groups that the report lists, of each sort, and questions that a group lists.
GROUPS = 200
QUESTIONS = 10
_SHOWN_LENGTH = 400
#: Right entries that a group shows, those that were found before others.
_RIGHTS = 2
#: Among so many found first for its own question, an entry is itself with its nearest two.
_NEAREST = 3


@dataclass(frozen=True, slots=True)
class Known:
    """What the knowledge holds of the right entries of all mistakes."""

    #: By id; in several knowledge bases an id may be twice.
    entries: Mapping[str, Sequence[Entry]]
    nearest: Nearest


async def look_up(
    asked: Sequence[Asked], base: KnowledgeBase, names: Collection[str], read: ReadStored
) -> Known:
    """Find the right entries of all mistakes, and which others answer to their questions.

    Raises:
        KnowledgeBaseUnavailable: It cannot be searched now.
    """
    wanted = {one for each in asked if _is_mistake(each) for one in each.scored.gold_ids}
    found: dict[str, list[Entry]] = {}
    for name in names if wanted else ():
        async for stored in read(name, wanted):
            found.setdefault(stored.document.document_id, []).append(_entry(name, stored))
    nearest = {}
    for entry in (one for same in found.values() for one in same if one.kind == "faq"):
        passages = (await base.search(entry.name, names=[entry.knowledge_base])).passages
        others = [(one.knowledge_base, one.document_id) for one in passages]
        nearest[entry.key] = frozenset(one for one in others if one != entry.key).intersection(
            others[:_NEAREST]
        )
    return Known(found, nearest)


def mistakes_of(asked: Sequence[Asked], known: Known) -> dict[str, Any]:
    """Wrong answers and missed questions as JSON: the worst first, and how often each reason."""
    groups: dict[str, dict[Any, dict[str, Any]]] = {"wrong": {}, "missed": {}}
    reasons: dict[str, Counter[str]] = {"wrong": Counter(), "missed": Counter()}
    for each in asked:
        if not _is_mistake(each):
            continue
        sort = "wrong" if each.scored.is_wrong_answer else "missed"
        name = _add(groups[sort], each, known)
        reasons[sort][name] += 1
    names = sorted(REASONS, key=lambda name: -reasons["wrong"][name] - reasons["missed"][name])
    return {
        "reasons": [
            {"reason": name, "title": REASONS[name].title, "advice": REASONS[name].advice}
            | {sort: counts[name] for sort, counts in reasons.items()}
            for name in names
            if any(counts[name] for counts in reasons.values())
        ],
        **{sort: _worst(list(found.values())) for sort, found in groups.items()},
        **{f"{sort}_groups": len(found) for sort, found in groups.items()},
    }


def _is_mistake(each: Asked) -> bool:
    return each.scored.is_wrong_answer or each.scored.is_missed


def _add(groups: dict[Any, dict[str, Any]], each: Asked, known: Known) -> str:
    """Put a mistake into its group, and return its reason."""
    one = each.scored
    first = entry_of(each.found.passages[0]) if each.found else None
    gold = _right(each, known.entries) if one.has_gold else []
    reason, detail = reason_of(each, gold, first, known.nearest)
    key = (
        first.key if first else None,
        tuple(one.gold_ids) if one.has_gold else one.in_scope,
        reason,
    )
    group = groups.setdefault(
        key,
        {
            "answered" if one.is_wrong_answer else "nearest": _shown(first),
            "right": [_shown(entry) for entry in gold[:_RIGHTS]],
            "in_scope": one.in_scope,
            "reason": reason,
            "title": REASONS[reason].title,
            "advice": REASONS[reason].advice,
            "questions": [],
        },
    )
    group["questions"].append(
        {
            "text": one.text,
            "decision": one.decision,
            "confidence": one.confidence,
            "place": one.place if one.has_gold else None,
            "detail": detail,
            "signals": signals_of(each),
        }
    )
    return reason


def _right(each: Asked, entries: Mapping[str, Sequence[Entry]]) -> list[Entry]:
    """The right entries: of a document the chunk that was found, else how it begins."""
    passages = each.found.passages if each.found else ()
    found = {(one.knowledge_base, one.document_id): entry_of(one) for one in passages}
    rights = [entry for id in each.scored.gold_ids for entry in entries.get(id, ())]
    rights.sort(key=lambda entry: entry.key not in found)
    return [found.get(entry.key, entry) for entry in rights]


def _worst(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Often and surely mixed up comes first."""

    def weight(group: Mapping[str, Any]) -> float:
        sure = [float(one["confidence"]) for one in group["questions"]]
        return -(sum(sure) if "answered" in group else len(sure) + max(sure))

    return [
        group
        | {
            "count": len(group["questions"]),
            "questions": sorted(group["questions"], key=lambda one: -one["confidence"])[:QUESTIONS],
        }
        for group in sorted(groups, key=weight)[:GROUPS]
    ]


def _entry(name: str, stored: StoredDocument) -> Entry:
    document = stored.document
    text = document.answer or " ".join(chunk.text for chunk in stored.chunks[:1])
    asked = stored.chunks[0].text if document.kind == "faq" and stored.chunks else ""
    return Entry(document.document_id, name, document.kind, document.title or asked, text)


def _shown(entry: Entry | None) -> dict[str, str] | None:
    if entry is None:
        return None
    text = entry.text if len(entry.text) <= _SHOWN_LENGTH else entry.text[:_SHOWN_LENGTH] + "…"
    return asdict(entry) | {"text": text}
