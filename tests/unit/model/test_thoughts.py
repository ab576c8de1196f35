"""What a reasoning model thinks never reaches us as text, however it is cut into pieces."""

from __future__ import annotations

import pytest

from kfbot.model.thoughts import Thoughts


def said(pieces: list[str], *, thinks_first: bool = False) -> str:
    thoughts = Thoughts(thinks_first=thinks_first)
    return "".join(thoughts.feed(piece) for piece in pieces) + thoughts.close()


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("<think>secret</think>Two days.", "Two days."),
        ("\n<THINKING>\nsecret\n</THINKING>\nTwo days.", "\n\nTwo days."),
        ("A<think>secret</think>B<think>secret</think>C", "ABC"),
        ("2 < 3 and <b>bold</b> </p> <thin", "2 < 3 and <b>bold</b> </p> <thin"),
        ("Two days.<think>secret", "Two days."),
    ],
)
def test_thoughts_are_left_out_wherever_the_pieces_are_cut(text: str, rest: str) -> None:
    assert said([text]) == rest
    assert said(list(text)) == rest
    for place in range(len(text)):
        assert said([text[:place], text[place:]]) == rest


def test_text_without_tags_is_not_held_back() -> None:
    assert [Thoughts().feed(piece) for piece in ("Two", " days", ". 3 > 2")] == [
        "Two",
        " days",
        ". 3 > 2",
    ]


def test_a_thought_that_no_tag_opened_is_noticed() -> None:
    thoughts = Thoughts()
    assert thoughts.feed("secret ") + thoughts.feed("more</think>Two days.") == "secret Two days."
    assert thoughts.unopened


def test_a_model_that_thinks_first_is_heard_from_where_it_stops_thinking() -> None:
    assert said(list("secret</think>Two days."), thinks_first=True) == "Two days."
    assert said(list("Two days."), thinks_first=True) == "Two days."


def test_long_thoughts_are_not_kept() -> None:
    thoughts = Thoughts()
    thoughts.feed("<think>")
    for _ in range(1000):
        thoughts.feed("so many words ")
    assert len(thoughts._rest) < 100
