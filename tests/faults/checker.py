"""Compares what a platform sent with what it received; pure functions over records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar


@dataclass(slots=True)
class Question:
    """What a customer asked; within a conversation no two questions have the same reply."""

    chat: str
    text: str
    reply: str
    #: When it was posted first, and when that was acknowledged; seconds of the monotonic clock.
    asked_at: float
    accepted_at: float | None = None


@dataclass(frozen=True, slots=True)
class Got:
    """A request as the platform got it."""

    chat: str
    message_id: str
    text: str
    at: float
    #: refused: not taken, and the sender was told so. silent: taken, and the sender was not told.
    end: Literal["taken", "refused", "silent"] = "taken"
    #: The server that sent it.
    via: str = ""
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """The time in which a server may have been broken off."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What went wrong, each a line for a person."""

    questions: int
    #: Acknowledged, and never replied to.
    lost: tuple[str, ...]
    #: Seen by a customer behind a later reply, or asked for behind one.
    reordered: tuple[str, ...]
    #: Seen twice by a customer, although the platform drops repeats of an id.
    doubled: tuple[str, ...]
    #: Seen twice by a customer if the platform shows every request.
    repeated: tuple[str, ...]
    #: Of those, the ones that no fault between a send and its commit explains.
    unexplained: tuple[str, ...]
    #: No reply to any question of the conversation.
    strange: tuple[str, ...]

    @property
    def faultless(self) -> bool:
        """Nothing is wrong that a platform with idempotency keys can show."""
        return not (self.lost or self.reordered or self.doubled or self.strange)

    def __str__(self) -> str:
        kinds = ("lost", "reordered", "doubled", "repeated", "unexplained", "strange")
        lines = [f"{self.questions} questions"]
        for kind in kinds:
            found: tuple[str, ...] = getattr(self, kind)
            lines += [f"{kind}: {len(found)}", *(f"  {line}" for line in found[:10])]
        return "\n".join(lines)


def check(
    questions: Sequence[Question], got: Sequence[Got], faults: Sequence[Fault] = ()
) -> Verdict:
    """Compare; `questions` in the order of asking, `got` in the order of arrival."""
    asked, taken = _by_chat(questions), _by_chat(one for one in got if one.end != "refused")
    found: dict[str, list[str]] = defaultdict(list)
    for chat in asked.keys() | taken.keys():
        for kind, line in _check_chat(asked.get(chat, []), taken.get(chat, []), faults):
            found[kind].append(f"{chat}: {line}")
    return Verdict(
        questions=len(questions),
        lost=tuple(found["lost"]),
        reordered=tuple(found["reordered"]),
        doubled=tuple(found["doubled"]),
        repeated=tuple(found["repeated"]),
        unexplained=tuple(found["unexplained"]),
        strange=tuple(found["strange"]),
    )


def recovery_seconds(
    questions: Sequence[Question], got: Sequence[Got], fault: Fault
) -> float | None:
    """How long after the fault all that was under way then was acknowledged and replied to.

    None: nothing was under way. Conversations whose messages the platform refused are left out:
    they wait as long as it asked for.
    """
    refused = {one.chat for one in got if one.end == "refused"}
    replied: dict[tuple[str, str], float] = {}
    for one in got:
        if one.end != "refused":
            replied.setdefault((one.chat, one.text), one.at)
    latest = None
    for question in questions:
        at = replied.get((question.chat, question.reply))
        if question.chat in refused or question.accepted_at is None or at is None:
            continue
        done = max(at, question.accepted_at)
        if question.asked_at <= fault.start < done:
            latest = max(done, latest or done)
    return None if latest is None else latest - fault.start


def came_early(got: Sequence[Got], *, slack_seconds: float = 0.05) -> list[str]:
    """Messages that came again sooner than the platform had asked for."""
    due: dict[str, float] = {}
    early = []
    for one in got:
        if one.at < due.get(one.message_id, 0.0) - slack_seconds:
            early.append(f"{one.chat}: {one.text}")
        if one.retry_after_seconds is not None:
            due[one.message_id] = one.at + one.retry_after_seconds
    return early


def unheard(got: Sequence[Got], timeouts: Mapping[str, int]) -> list[Got]:
    """What was got, with the answers that came too late for their sender as `silent`.

    Args:
        timeouts: How often the senders gave up waiting for the answer to each message id.
    """
    left = dict(timeouts)
    for one in got:
        if one.end == "silent":
            left[one.message_id] = left.get(one.message_id, 0) - 1
    marked = []
    for one in got:
        if one.end == "taken" and left.get(one.message_id, 0) > 0:
            left[one.message_id] -= 1
            one = replace(one, end="silent")
        marked.append(one)
    return marked


Record = TypeVar("Record", Question, Got)
Finding = tuple[str, str]


def _by_chat(records: Iterable[Record]) -> Mapping[str, list[Record]]:
    chats: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        chats[record.chat].append(record)
    return chats


def _check_chat(
    questions: Sequence[Question], taken: Sequence[Got], faults: Sequence[Fault]
) -> Iterator[Finding]:
    replies = {one.text for one in taken}
    for question in questions:
        if question.accepted_at is not None and question.reply not in replies:
            yield "lost", question.text
    yield from _check_seen([question.reply for question in questions], taken)
    yield from _check_repeats(taken, faults)


def _check_seen(expected: Sequence[str], taken: Sequence[Got]) -> Iterator[Finding]:
    """What a customer sees of a platform that drops repeats of an id."""
    ids: set[str] = set()
    seen: set[str] = set()
    highest = -1
    for one in taken:
        if one.message_id in ids:
            continue
        ids.add(one.message_id)
        if one.text not in expected:
            yield "strange", one.text
        elif one.text in seen:
            yield "doubled", one.text
        elif (place := expected.index(one.text)) < highest:
            yield "reordered", one.text
        else:
            highest = place
        seen.add(one.text)


def _check_repeats(taken: Sequence[Got], faults: Sequence[Fault]) -> Iterator[Finding]:
    """What a customer sees more of on a platform that shows every request.

    A message that was on its way when its sender was broken off comes again, once, and before
    anything else of its conversation.
    """
    unused = set(faults)
    last: dict[str, int] = {}
    for number, one in enumerate(taken):
        before = last.get(one.text)
        last[one.text] = number
        if before is None:
            continue
        yield "repeated", one.text
        cause = _cause(taken[before], one, unused)
        if cause is not None:
            unused.remove(cause)
        broken_off = cause is not None or taken[before].end == "silent"
        if before != number - 1 or not broken_off:
            yield "unexplained", one.text


def _cause(first: Got, again: Got, faults: Iterable[Fault]) -> Fault | None:
    """The first fault that fell between two requests."""
    fell = [fault for fault in faults if first.at <= fault.end and fault.start <= again.at]
    return min(fell, key=lambda fault: fault.start, default=None)
