"""How what stands behind `/kb add` is read."""

from __future__ import annotations

import pytest

from kfbot.admin_entries import Asked, entry_id, read

NAMES = ("faq", "shop-faq")


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("How long? | Two years.", Asked("", ("How long?",), "Two years.")),
        ("保修多久？｜两年。", Asked("", ("保修多久？",), "两年。")),
        ("faq: How long? | Two years.", Asked("faq", ("How long?",), "Two years.")),
        ("shop-faq：保修多久？｜两年。", Asked("shop-faq", ("保修多久？",), "两年。")),
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


def test_the_same_question_has_the_same_id_however_it_is_written() -> None:
    assert entry_id("How long is it?") == entry_id("  how LONG is it ")
    assert entry_id("保修多久？") == entry_id("保修多久")
    assert entry_id("ＡＢＣ") == entry_id("abc")
    assert entry_id("How long is it?") != entry_id("How long was it?")
