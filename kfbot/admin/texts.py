"""What admins are told: status, passages, loads, counts, reasons; pure, as CommonMark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any

from kfbot import confidence
from kfbot.answer import label
from kfbot.calibration import Correction
from kfbot.knowledge_base import KnowledgeStatus, Passage, PassageKind, Retrieval
from kfbot.markup import plain
from kfbot.store.accounts import COUNTED, Stats, TurnAccount
from kfbot.texts import CommandTexts

#: Of a passage so many characters are shown.
SHOWN_LENGTH = 160
#: Signals that are named.
SIGNALS = 3


def status(bases: Sequence[KnowledgeStatus], says: CommandTexts) -> str:
    """A line for each knowledge base, and one for what could not be read of it."""
    lines = [line for one in bases for line in _status(one, says)]
    return "\n".join(lines) or says.status_empty


def _status(one: KnowledgeStatus, says: CommandTexts) -> list[str]:
    when = f"{one.loaded_at:%Y-%m-%d %H:%M} UTC" if one.loaded_at else says.never
    line = says.status.format(
        name=one.name,
        documents=one.documents,
        chunks=one.chunks,
        generation=one.generation,
        when=when,
    )
    return [f"- {line}", *(f"  {text}" for text in _unreadable(one.unreadable, says))]


def _unreadable(names: Sequence[str], says: CommandTexts) -> list[str]:
    return [says.unreadable.format(count=len(names), first=names[0])] if names else []


def passages(found: Retrieval, most: int, says: CommandTexts) -> str:
    """The first passages, with their scores."""
    lines = [
        _passage(place, passage, says)
        for place, passage in enumerate(found.passages[:most], start=1)
    ]
    return "\n".join(lines) or says.found_nothing


def _passage(place: int, passage: Passage, says: CommandTexts) -> str:
    return says.found.format(
        place=place,
        label=label(passage) or passage.document_id,
        score=f"{passage.score:.3f}",
        name=passage.knowledge_base,
        text=_short(passage.quote or passage.text),
    )


def _short(text: str) -> str:
    words = " ".join(text.split())
    # `shorten` cuts at spaces alone, of which Chinese has none.
    cut = shorten(words, SHOWN_LENGTH, placeholder="…")
    return cut if len(cut) > 1 else f"{words[:SHOWN_LENGTH]}…"


def loaded(reports: Sequence[Mapping[str, Any]], says: CommandTexts) -> str:
    """What a load did, a line for each knowledge base."""
    lines: list[str] = []
    for report in reports:
        counts = {name: report[name] for name in ("added", "changed", "removed", "unchanged")}
        lines.append(says.reload_done.format(name=report["knowledge_base"], **counts))
        lines += _unreadable(report["unreadable"], says)
    return "\n".join(lines) or says.status_empty


def stats(found: Stats, days: int, says: CommandTexts) -> str:
    """Turns by decision and handoffs by reason, the most frequent first."""
    lines = [says.stats.format(days=days, total=sum(found.turns.values()))]
    lines += [f"- {line}" for line in _counts(found.turns, says)]
    if found.tokens:
        answers = found.turns.get("answer", 0)
        lines.append(
            says.stats_model.format(written=found.written, answers=answers, tokens=found.tokens)
        )
    reasons = ", ".join(_counts(found.handoffs, says)) or "–"
    total = sum(found.handoffs.values())
    lines += ["", says.stats_handoffs.format(total=total, reasons=reasons, open=found.open)]
    if not found.is_complete:
        lines.append(says.stats_partial.format(most=COUNTED))
    return "\n".join(lines)


def _counts(counts: Mapping[str, int], says: CommandTexts) -> list[str]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [f"{says.names.get(name, name)}: {count}" for name, count in ranked]


def why(
    turn: TurnAccount,
    found: Retrieval | None,
    max_wrong_percent: float,
    most: int,
    says: CommandTexts,
) -> str:
    """How a turn came about; `found` is what its question finds now, None if that failed."""
    parts = [
        says.why.format(
            question=_short(turn.question),
            decision=says.names.get(turn.decision, turn.decision),
            probability=f"{turn.confidence:.2f}",
        )
    ]
    parts += [told for told in (_of_model(turn, says), _of_action(turn, says)) if told is not None]
    if (kind := _kind(turn, found)) is not None:
        correction = _correction(kind, turn.evidence[kind], found)
        parts.append(_signals(kind, turn.evidence[kind], correction, says))
        least = confidence.threshold(kind, max_wrong_percent, correction)
        parts.append(says.why_threshold.format(threshold=f"{least:.2f}"))
    shown = says.search_fails if found is None else passages(found, most, says)
    parts.append(f"{says.why_passages}\n{shown}")
    return "\n\n".join(parts)


def _of_action(turn: TurnAccount, says: CommandTexts) -> str | None:
    """What was offered, or called, with what, and what came back; None: nothing was."""
    if (offered := turn.usage.get("offered")) is not None:
        name, slots = plain(offered["name"]), _pairs(offered["slots"])
        return says.why_offered[offered["by"]].format(name=name, slots=slots)
    action = turn.usage.get("action")
    if action is None:
        return None
    told = says.why_action.format(
        name=plain(action["name"]),
        slots=_pairs(action["slots"]),
        came=plain(action["came"]),
        status=action["status"] or "–",
        fields=_pairs(action["fields"]),
    )
    # What an older version has kept does not say who thought of it.
    return f"{told} {says.why_action_by.get(action.get('by'), '')}".strip()


def _pairs(values: Mapping[str, str]) -> str:
    return ", ".join(f"{plain(name)}: {plain(value)}" for name, value in values.items()) or "–"


def _of_model(turn: TurnAccount, says: CommandTexts) -> str | None:
    """What came of what a chat model wrote, on one line; None: it was not asked to."""
    told = says.why_model.get(turn.usage.get("outcome", ""))
    dropped = turn.usage.get("dropped")
    if told is None or not dropped:
        return told
    counts = Counter(says.why_lacked.get(verdict, verdict) for verdict in dropped)
    reasons = ", ".join(f"{name}: {count}" for name, count in counts.most_common())
    return f"{told} {says.why_dropped.format(count=len(dropped), reasons=reasons)}"


def _kind(turn: TurnAccount, found: Retrieval | None) -> PassageKind | None:
    """Of the passage that was judged: the turn keeps the evidence on each kind."""
    first = found.passages[0].kind if found is not None and found.passages else None
    if first in turn.evidence:
        return first
    return next(iter(turn.evidence), None)


def _signals(
    kind: PassageKind,
    evidence: Mapping[str, float],
    correction: Correction | None,
    says: CommandTexts,
) -> str:
    counted = confidence.explain(kind, evidence, correction)
    lines = [
        f"- {'+' if added >= 0 else '−'} {says.signals.get(name, name)} ({abs(added):.1f})"
        for name, added in counted[:SIGNALS]
    ]
    if (score := evidence.get(confidence.RERANK)) is not None:
        counts = confidence.RERANK in dict(counted)
        told = says.why_reranker if counts else says.why_reranker_only_orders
        lines.append(told.format(score=f"{score:.3f}"))
    return "\n".join([says.why_signals, *lines])


def _correction(
    kind: PassageKind, evidence: Mapping[str, float], found: Retrieval | None
) -> Correction | None:
    """What the knowledge base of the first passage needs for such evidence."""
    if found is None or not found.passages:
        return None
    calibration = found.calibrations.get(found.passages[0].knowledge_base)
    adjustment = calibration.adjustments.get(kind) if calibration else None
    return adjustment.by(evidence) if adjustment else None
