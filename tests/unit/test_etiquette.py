"""When a thought is finished, and which messages make one turn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfbot.etiquette import BURST_LIMIT, BURST_PAUSE, answerable, burst, complete
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
