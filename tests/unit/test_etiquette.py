"""When a thought is finished, and which messages make one turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfbot.etiquette import (
    BURST_LIMIT,
    BURST_PAUSE,
    Heard,
    answerable,
    burst,
    complete,
    needed,
    overhearable,
    within_limit,
)
from kfbot.messages import ConversationId, MessageReceived, Role, Sender

NINE = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def message(text: str, role: Role = "customer", *, addressed: bool = True) -> MessageReceived:
    return MessageReceived(
        event_id=text,
        conversation=ConversationId("shop", "chat"),
        message_id=text,
        sender=Sender("7", role),
        sent_at=NINE,
        text=text,
        addressed_to_bot=addressed,
    )


def after(milliseconds: int) -> datetime:
    return NINE + timedelta(milliseconds=milliseconds)


@pytest.mark.parametrize(
    ("role", "addressed", "answered"),
    [("customer", True, True), ("customer", False, False), ("agent", True, False),
     ("bot", True, False), ("bot", False, False)],
)  # fmt: skip
def test_only_a_customer_who_addresses_the_bot_is_answered(
    role: Role, addressed: bool, answered: bool
) -> None:
    assert answerable(message("hi?", role, addressed=addressed)) is answered


@pytest.mark.parametrize(
    "text",
    [
        "When will my refund arrive?", "how do I return it", "I want a refund.", "Thanks!", "done…",
        "what time do you open ", "(the red one)", "he said \"no\"", "could you check",
        "Where is my order 123456", "x" * 40, "HOW LONG DOES IT TAKE",
        "运费是多少？", "怎么退货", "可以退吗", "我要退货。", "好的！", "什么时候发货",
        "能不能便宜点", "多久到货", "在吗", "这个呢", "转人工", "人工", "有没有红色", "是否包邮",
        "这个商品我昨天收到之后发现外包装已经破损了里面的东西也有一些划痕不知道应该怎样处理才好请告诉我",
    ],
)  # fmt: skip
def test_a_whole_question_or_sentence_is_complete(text: str) -> None:
    assert complete(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "hi", "hello", "my refund", "order 123456", "I bought a kettle", "the red one",
     "showcase", "canned soup", "你好", "您好", "我昨天买的", "订单号 123456",
     "红色的那个", "我的快递"],
)  # fmt: skip
def test_the_beginning_of_a_thought_is_not_complete(text: str) -> None:
    assert not complete(text)


@pytest.mark.parametrize(
    ("said", "now", "count", "wait_ms"),
    [
        # (text, arrived after ms) …, looked at after ms, messages taken, still to wait
        ([("怎么退货？", 0)], 0, 1, 0),
        ([("你好", 0)], 0, 1, 700),
        ([("你好", 0)], 300, 1, 400),
        ([("你好", 0)], 700, 1, 0),
        ([("你好", 0)], 5000, 1, 0),
        ([("你好", 0), ("我昨天买的", 500)], 600, 2, 600),
        ([("你好", 0), ("我昨天买的", 500), ("怎么退货", 900)], 900, 3, 0),
        ([("怎么退货？", 0), ("你好", 100)], 100, 1, 0),
        ([("怎么退货？", 0), ("多久到账？", 100)], 100, 1, 0),
        ([("hi", 0), ("my refund", 100), ("when will it come", 200)], 200, 3, 0),
        ([("hi", 0), ("a", 600), ("b", 1200), ("c", 1800), ("d", 2400), ("e", 2900)], 2900, 6, 100),
        ([("hi", 0), ("a", 600), ("b", 1200), ("c", 1800), ("d", 2400), ("e", 2900)], 3000, 6, 0),
    ],
)
def test_a_burst_is_waited_for_until_the_question_is_complete(
    said: list[tuple[str, int]], now: int, count: int, wait_ms: int
) -> None:
    messages = [(message(text), after(at)) for text, at in said]
    assert burst(messages, after(now)) == (count, timedelta(milliseconds=wait_ms))


@given(
    st.lists(
        st.tuples(st.sampled_from(["hi", "你好", "怎么退货", "ok?"]), st.integers(0, 900)),
        min_size=1,
    ),
    st.integers(0, 5000),
)  # fmt: skip
def test_nobody_waits_longer_than_the_limits(gaps: list[tuple[str, int]], late: int) -> None:
    messages, at = [], 0
    for text, gap in gaps:
        at += gap
        messages.append((message(text), after(at)))
    now = after(at + late)
    count, wait = burst(messages, now)
    assert 1 <= count <= len(messages)
    assert timedelta() <= wait <= BURST_PAUSE
    assert not wait or now + wait <= NINE + timedelta(milliseconds=gaps[0][1]) + BURST_LIMIT
    assert all(not complete(one.text) for one, _ in messages[: count - 1])


# Groups


@pytest.mark.parametrize(
    ("text", "overheard"),
    [
        ("How do I return an item?", True), ("怎么退货", True), ("write to me@example.com?", True),
        ("@bob how do I return an item?", False), (" <@U123> how do I return it?", False),
        ("lovely", False), ("", False),
    ],
)  # fmt: skip
def test_only_whole_questions_to_nobody_in_particular_are_overheard(
    text: str, overheard: bool
) -> None:
    talk = message(text, addressed=False)
    assert overhearable(talk) is overheard
    assert not overhearable(replace(talk, in_reply_to="another"))
    assert not overhearable(replace(talk, sender=Sender("7", "bot")))
    assert not overhearable(replace(talk, addressed_to_bot=True))


def heard(*seconds: float, sender: str = "7") -> list[Heard]:
    """Messages so many seconds after nine, the newest first."""
    return [
        Heard(number, sender, NINE + timedelta(seconds=second))
        for number, second in reversed(list(enumerate(seconds)))
    ]


def verdicts(times: Sequence[float], *, per_minute: int = 2) -> str:
    """The first letter of what becomes of each message in a group, a turn each."""
    everything = heard(*times)
    made = (
        within_limit(everything[start:], {len(times) - 1 - start}, per_minute=per_minute,
                     in_group=True)
        for start in reversed(range(len(times)))
    )  # fmt: skip
    return "".join(verdict[0] for verdict in made)


def test_so_many_a_minute_are_answered_then_one_notice_and_silence() -> None:
    assert verdicts([0, 1, 2, 3, 4, 59]) == "aansss"


def test_there_is_no_second_notice_until_a_minute_has_passed_without_too_much() -> None:
    # The fourth is let in and the fifth is too much again: it was told so half a minute before.
    assert verdicts([0, 1, 40, 62, 63, 64]) == "aanass"
    assert verdicts([0, 1, 2, 120, 121, 122]) == "aanaan"


def test_a_message_is_too_much_until_a_whole_minute_lies_between() -> None:
    assert verdicts([0, 0, 59.9]) == "aan"
    assert verdicts([0, 0, 60]) == "aaa"


def test_a_burst_that_goes_over_the_limit_is_one_turn_with_one_notice() -> None:
    burst_of_five = heard(0, 1, 2, 3, 4)
    assert within_limit(burst_of_five, {1, 2, 3, 4}, per_minute=2, in_group=True) == "notice"
    later = heard(0, 1, 2, 3, 4, 5)
    assert within_limit(later, {5}, per_minute=2, in_group=True) == "silence"


def test_in_a_private_chat_only_the_share_of_the_chat_counts() -> None:
    made = [
        within_limit(heard(*range(count)), {count - 1}, per_minute=2, in_group=False)
        for count in range(1, 9)
    ]
    assert made == ["answer"] * 6 + ["notice", "silence"]


def test_of_a_group_that_is_silenced_no_person_gets_a_notice_of_their_own() -> None:
    others = [Heard(number, f"other {number}", NINE) for number in range(7)]
    mine = [Heard(10 + number, "7", NINE) for number in range(3)]
    everything = [*reversed(mine), *reversed(others)]
    assert within_limit(everything, {12}, per_minute=2, in_group=True) == "silence"


def test_who_was_refused_uses_up_nothing_of_what_the_others_get() -> None:
    flood = [Heard(number, "loud", NINE + timedelta(seconds=number)) for number in range(20)]
    other = Heard(20, "7", NINE + timedelta(seconds=20))
    assert within_limit([other, *reversed(flood)], {20}, per_minute=2, in_group=True) == "answer"


def test_three_who_ask_as_much_as_they_may_use_up_what_the_group_gets() -> None:
    asked = [Heard(number, f"other {number % 3}", NINE) for number in range(6)]
    mine = Heard(6, "7", NINE)
    assert within_limit([mine, *reversed(asked)], {6}, per_minute=2, in_group=True) == "notice"


def test_what_comes_late_is_not_counted_with_what_was_written_after_it() -> None:
    late = Heard(2, "7", NINE - timedelta(minutes=5))
    before = list(reversed([Heard(number, "7", NINE) for number in range(2)]))
    assert within_limit([late, *before], {2}, per_minute=2, in_group=True) == "answer"


@given(st.lists(st.floats(0, 200), max_size=60).map(sorted), st.integers(1, 4))
def test_what_was_long_ago_need_not_be_seen(times: list[float], per_minute: int) -> None:
    everything = heard(*times)
    for start in range(len(everything)):
        ours = {everything[start].inbox_id}
        seen = everything[start : start + needed(per_minute, 1)]
        by_all, by_seen = (
            within_limit(known, ours, per_minute=per_minute, in_group=True)
            for known in (everything[start:], seen)
        )
        assert by_all == by_seen
