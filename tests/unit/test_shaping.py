"""Long texts in parts, and choices as text where there are no buttons."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfbot.adapter import Capabilities
from kfbot.shaping import shape, split
from kfbot.turn import NewButton, Reply

CHOICES = (
    NewButton("怎么退货", "choice", "faq-1"),
    NewButton("怎么换货", "choice", "faq-2"),
    NewButton("都不是，转人工", "person"),
)


def letters(text: str) -> str:
    return "".join(text.split())


@given(
    st.one_of(st.text(max_size=300), st.text("ab \n\n。！，.,;", max_size=300)),
    st.integers(min_value=1, max_value=60),
)
def test_no_part_is_too_long_or_empty_and_nothing_but_white_space_is_lost(
    text: str, limit: int
) -> None:
    parts = split(text, limit)
    assert all(len(part) <= limit for part in parts)
    assert letters("".join(parts)) == letters(text)
    assert parts
    assert all(parts) or parts == ("",)


@given(st.text(max_size=60))
def test_a_text_that_fits_stays_as_it_is(text: str) -> None:
    assert split(text, 60) == (text,)


@pytest.mark.parametrize(
    ("text", "limit", "parts"),
    [
        ("One.\n\nTwo two.\n\nThree.", 16, ("One.\n\nTwo two.", "Three.")),
        ("first line\nsecond line", 15, ("first line", "second line")),
        ("One sentence. Another one.", 20, ("One sentence.", "Another one.")),
        ("退货要十五天。退款要两天。", 8, ("退货要十五天。", "退款要两天。")),
        ("苹果，香蕉，橙子，西瓜", 7, ("苹果，香蕉，", "橙子，西瓜")),
        ("no boundaryinsideatall", 10, ("no", "boundaryin", "sideatall")),
        ("abcdefghij", 4, ("abcd", "efgh", "ij")),
        # A stump is worse than a lesser boundary.
        ("A.\n\nlong words follow here", 20, ("A.\n\nlong words", "follow here")),
        (" " * 30 + "late", 10, ("late",)),
        (" " * 30, 10, ("",)),
        ("", 10, ("",)),
    ],
)
def test_a_text_is_cut_where_it_makes_sense(text: str, limit: int, parts: tuple[str, ...]) -> None:
    assert split(text, limit) == parts


def test_choices_are_numbered_where_there_are_no_buttons() -> None:
    reply = Reply(text="您想问的是？", buttons=CHOICES)
    assert shape(reply, Capabilities()) == ("您想问的是？\n1. 怎么退货\n2. 怎么换货",)
    assert shape(reply, Capabilities(buttons=True)) == ("您想问的是？",)


def test_other_buttons_are_not_written_out() -> None:
    reply = Reply(text="Yes.", buttons=(NewButton("Helpful", "helpful"),))
    assert shape(reply, Capabilities()) == ("Yes.",)


def test_numbered_choices_count_for_the_limit() -> None:
    reply = Reply(text="您想问的是？", buttons=CHOICES)
    assert shape(reply, Capabilities(text_length=10)) == (
        "您想问的是？",
        "1. 怎么退货",
        "2. 怎么换货",
    )
