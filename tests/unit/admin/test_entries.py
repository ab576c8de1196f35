"""How what stands behind `/kb add` is read."""

from __future__ import annotations

import pytest

from kfbot.admin.entries import Asked, entry_id, read

NAMES = ("faq", "shop-faq", "our shop", "our shop: old")


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("How long? | Two years.", Asked("", ("How long?",), "Two years.")),
        ("保修多久？｜两年。", Asked("", ("保修多久？",), "两年。")),
        ("faq: How long? | Two years.", Asked("faq", ("How long?",), "Two years.")),
        ("shop-faq：保修多久？｜两年。", Asked("shop-faq", ("保修多久？",), "两年。")),
        ("our shop: How long? | 2", Asked("our shop", ("How long?",), "2")),
        ("our shop: old: How long? | 2", Asked("our shop: old", ("How long?",), "2")),
        ("our shop how long? | 2", Asked("", ("our shop how long?",), "2")),
        ("Shop: how long? | 2", Asked("", ("Shop: how long?",), "2")),
        ("How long / What term | 2", Asked("", ("How long", "What term"), "2")),
        ("保修多久／质保几年 | 2", Asked("", ("保修多久", "质保几年"), "2")),
        ("With and/or without? | 2", Asked("", ("With and/or without?",), "2")),
        ("How\nlong? |\n- a | b\n\n- c\n", Asked("", ("How long?",), "- a | b\n\n- c")),
        ("How long?", Asked("", ("How long?",), "")),
        ("| Two years.", Asked("", (), "Two years.")),
        ("faq: | Two years.", Asked("faq", (), "Two years.")),
        ("", Asked("", (), "")),
    ],
)
def test_name_questions_and_answer_are_told_apart(written: str, asked: Asked) -> None:
    assert read(written, NAMES) == asked


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Is 1.5 m enough?", "Is 15 m enough?"), ("Do you teach C++?", "Do you teach C#?"),
        ("Is -5 °C fine?", "Is 5 °C fine?"), ("Over > 5 kg?", "Over < 5 kg?"),
        ("满1-2件？", "满12件？"), ("Can I pay in $?", "Can I pay in €?"),
    ],
)  # fmt: skip
def test_signs_that_make_another_question_make_another_id(one: str, other: str) -> None:
    assert entry_id(one) != entry_id(other)


def test_the_same_question_has_the_same_id_however_it_is_written() -> None:
    assert entry_id("How long is it?") == entry_id("  how LONG is it ")
    assert entry_id("保修多久？") == entry_id("保修多久")
    assert entry_id("ＡＢＣ") == entry_id("abc")
    assert entry_id("How long is it?") != entry_id("How long was it?")
