"""The checker finds every fault that there can be, and none where there is none."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.checker import (
    Fault,
    Got,
    Question,
    Verdict,
    came_early,
    check,
    recovery_seconds,
    unheard,
)

CHATS = ("one", "two")
TEXTS = ("A", "B", "C", "D")
#: Asked at second 0, 1, 2, 3 in each chat; acknowledged and replied to within the second.
QUESTIONS = [
    Question(chat, f"{text}?", text, asked_at=at, accepted_at=at + 0.2)
    for at, text in enumerate(TEXTS)
    for chat in CHATS
]
GOT = [
    Got(chat, f"{chat}-{text}", text, at=at + 0.5)
    for at, text in enumerate(TEXTS)
    for chat in CHATS
]
KINDS = ("lost", "reordered", "doubled", "repeated", "unexplained", "strange")


def counts(verdict: Verdict) -> dict[str, int]:
    """What was found, without the kinds of which there is nothing."""
    found = {kind: len(getattr(verdict, kind)) for kind in KINDS}
    return {kind: count for kind, count in found.items() if count}


def place(chat: str, text: str) -> int:
    return next(n for n, one in enumerate(GOT) if (one.chat, one.text) == (chat, text))


def without(chat: str, text: str) -> list[Got]:
    return [one for one in GOT if (one.chat, one.text) != (chat, text)]


def inserted(one: Got) -> list[Got]:
    """One request more, where its time puts it."""
    return sorted([*GOT, one], key=lambda got: got.at)


def test_what_went_well_is_found_faultless() -> None:
    verdict = check(QUESTIONS, GOT)
    assert verdict.faultless
    assert counts(verdict) == {}
    assert verdict.questions == 8


@given(st.sampled_from(CHATS), st.sampled_from(TEXTS))
def test_a_question_without_a_reply_is_lost(chat: str, text: str) -> None:
    verdict = check(QUESTIONS, without(chat, text))
    assert counts(verdict) == {"lost": 1}
    assert verdict.lost == (f"{chat}: {text}?",)
    assert not verdict.faultless


def test_a_conversation_without_any_reply_is_lost_as_a_whole() -> None:
    assert counts(check(QUESTIONS, [one for one in GOT if one.chat == "one"])) == {"lost": 4}
    assert counts(check(QUESTIONS, [])) == {"lost": 8}


def test_a_question_that_was_never_acknowledged_may_stay_without_a_reply() -> None:
    questions = [*QUESTIONS[:-1], replace(QUESTIONS[-1], accepted_at=None)]
    assert counts(check(questions, without("two", "D"))) == {}


def test_a_message_that_the_platform_refused_was_not_delivered() -> None:
    got = [replace(one, end="refused") if one.message_id == "one-B" else one for one in GOT]
    assert counts(check(QUESTIONS, got)) == {"lost": 1}


@given(st.sampled_from(CHATS), st.integers(0, 2))
def test_replies_in_another_order_are_reordered(chat: str, first: int) -> None:
    got = list(GOT)
    one, other = place(chat, TEXTS[first]), place(chat, TEXTS[first + 1])
    got[one], got[other] = got[other], got[one]
    verdict = check(QUESTIONS, got)
    assert counts(verdict) == {"reordered": 1}
    assert not verdict.faultless


def test_conversations_may_overtake_each_other() -> None:
    got = [one for chat in reversed(CHATS) for one in GOT if one.chat == chat]
    assert counts(check(QUESTIONS, got)) == {}


@given(st.sampled_from(CHATS), st.sampled_from(TEXTS), st.floats(0, 9))
def test_a_second_reply_under_another_id_is_seen_twice_by_everybody(
    chat: str, text: str, later: float
) -> None:
    at = GOT[place(chat, text)].at + later
    got = inserted(Got(chat, "another", text, at))
    verdict = check(QUESTIONS, got, [Fault(0, 99)])
    assert len(verdict.doubled) == len(verdict.repeated) == 1
    assert not verdict.faultless


def test_a_repeat_under_the_same_id_is_seen_only_where_every_request_is_shown() -> None:
    verdict = check(QUESTIONS, inserted(replace(GOT[0], at=1.2)), [Fault(1, 1.1)])
    assert counts(verdict) == {"repeated": 1}
    assert verdict.faultless


def test_a_repeat_without_a_fault_in_between_is_unexplained() -> None:
    again = inserted(replace(GOT[0], at=1.2))
    for faults in ([], [Fault(0, 0.4)], [Fault(1.3, 2)]):
        assert counts(check(QUESTIONS, again, faults)) == {"repeated": 1, "unexplained": 1}


def test_a_fault_explains_one_repeat_a_conversation() -> None:
    twice = [*GOT[:2], GOT[0], GOT[0], *GOT[2:]]
    assert counts(check(QUESTIONS, twice, [Fault(0, 9)])) == {"repeated": 2, "unexplained": 1}
    both = [*GOT[:2], *GOT[:2], *GOT[2:]]
    assert counts(check(QUESTIONS, both, [Fault(0, 9)])) == {"repeated": 2}


def test_a_repeat_behind_a_newer_message_is_unexplained() -> None:
    late = inserted(replace(GOT[0], at=1.7))
    assert counts(check(QUESTIONS, late, [Fault(0, 9)])) == {"repeated": 1, "unexplained": 1}


def test_a_message_that_the_platform_took_in_silence_may_come_again() -> None:
    silent = [replace(GOT[0], end="silent"), GOT[1], GOT[0], *GOT[2:]]
    assert counts(check(QUESTIONS, silent)) == {"repeated": 1}


def test_an_answer_that_came_too_late_for_the_sender_explains_one_repeat() -> None:
    again = inserted(replace(GOT[0], at=1.2))
    late = Counter({GOT[0].message_id: 1})
    assert counts(check(QUESTIONS, unheard(again, late))) == {"repeated": 1}
    thrice = [*again, replace(GOT[0], at=9)]
    assert counts(check(QUESTIONS, unheard(thrice, late))) == {"repeated": 2, "unexplained": 1}


def test_a_timeout_of_what_the_platform_left_in_silence_explains_nothing_else() -> None:
    silent = [replace(GOT[0], end="silent"), GOT[1], GOT[0], *GOT[2:]]
    assert unheard(silent, Counter({GOT[0].message_id: 1})) == silent


def test_a_reply_to_nothing_that_was_asked_is_strange() -> None:
    strange = inserted(Got("one", "x", "A colleague will take over.", at=1.2))
    assert counts(check(QUESTIONS, strange)) == {"strange": 1}
    assert counts(check(QUESTIONS, inserted(Got("three", "x", "A", at=1.2)))) == {"strange": 1}
    assert not check(QUESTIONS, strange).faultless


@pytest.mark.parametrize(
    ("at", "seconds"),
    [(0.1, 0.4), (2.3, 0.2), (0.6, None), (9.0, None)],
    ids=["asked", "acknowledged", "all done", "later"],
)
def test_recovery_ends_with_the_last_reply_that_was_under_way(
    at: float, seconds: float | None
) -> None:
    found = recovery_seconds(QUESTIONS, GOT, Fault(at, at))
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_recovery_waits_for_the_acknowledgement_too() -> None:
    late = [*QUESTIONS[:-1], replace(QUESTIONS[-1], accepted_at=8.0)]
    assert recovery_seconds(late, GOT, Fault(3.1, 3.1)) == pytest.approx(4.9)


def test_recovery_leaves_out_whom_the_platform_told_to_wait() -> None:
    got = [*GOT[:-2], replace(GOT[-1], end="refused"), GOT[-2], replace(GOT[-1], at=60.0)]
    assert recovery_seconds(QUESTIONS, got, Fault(3.1, 3.1)) == pytest.approx(0.4)


def test_a_message_that_comes_again_too_soon_is_named() -> None:
    told = replace(GOT[0], end="refused", retry_after_seconds=2.0)
    assert came_early([told, replace(GOT[0], at=told.at + 1.0)]) == ["one: A"]
    assert came_early([told, replace(GOT[0], at=told.at + 2.1)]) == []
    assert came_early([told, GOT[1]]) == []
