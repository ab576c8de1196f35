"""Which texts say the same as one before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kfbot.model.tuning.near import Seen

LONG = "How can I return a jacket that I bought in your shop at the station last week"


def new(*texts: str) -> list[bool]:
    seen = Seen()
    return [seen.is_new(text) for text in texts]


def test_case_spaces_and_signs_make_no_difference() -> None:
    assert new("How do I return it?", "how do I  RETURN it", "怎么退货？", "怎么退货") == [
        True, False, True, False,
    ]  # fmt: skip


def test_a_letter_more_makes_no_difference_in_a_long_text() -> None:
    assert new(f"{LONG}?", f"{LONG}s!") == [True, False]


def test_another_number_makes_a_difference() -> None:
    assert new(f"{LONG} for 20 euros", f"{LONG} for 30 euros") == [True, True]


def test_another_question_is_new() -> None:
    assert new(LONG, "Where is the parcel that I ordered on Monday?", "运费多少？") == [True] * 3


@given(st.lists(st.text(), max_size=20))
def test_what_was_seen_is_never_new_again(texts: list[str]) -> None:
    seen = Seen()
    for text in texts:
        seen.is_new(text)
    assert not any(seen.is_new(text) for text in texts)
