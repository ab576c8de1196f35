"""CommonMark as text for platforms that show none of its marks."""

from __future__ import annotations

import pytest

from adapters.plain_text import SOURCES, markdown_to_text, source, sources, to_plain_text
from kfbot.messages import Citation, ConversationId, OutboundMessage

CASES = [
    ("**Within** *2* `days`.", "Within 2 days."),
    ("退款需要**五个**工作日。", "退款需要五个工作日。"),
    ("~~5~~ 7 days", "5 7 days"),
    ("# Returns\n\nOpen the order.", "Returns\n\nOpen the order."),
    ("one\ntwo  \nthree", "one\ntwo\nthree"),
    ("- a\n- **b**", "• a\n• b"),
    ("3. c\n4. d", "3. c\n4. d"),
    ("- a\n  - b\n  - c\n- d", "• a\n  • b\n  • c\n• d"),
    ("1. a\n\n   more\n2. b", "1. a\nmore\n2. b"),
    ("-\n- b", "• \n• b"),
    ("```sh\npip *install*\n```", "pip *install*"),
    ("    indented *code*", "indented *code*"),
    ("> quoted\n>\n> twice", "quoted\n\ntwice"),
    ("a\n\n---\n\nb", "a\n\n———\n\nb"),
    ("[the form](https://a.example/f)", "the form https://a.example/f"),
    ("<https://a.example/f>", "https://a.example/f"),
    ("[https://a.example](https://a.example)", "https://a.example"),
    ("![a cup](https://a.example/c.png)", "a cup https://a.example/c.png"),
    ("[x](javascript:alert(1))", "[x](javascript:alert(1))"),
    ("<b>&amp;</b> <script>", "<b>&</b> <script>"),
    ("3 * 4 * 5 = 60", "3 * 4 * 5 = 60"),
    ("snake_case_name", "snake_case_name"),
    (r"\*plain\*", "*plain*"),
    ("half \ud83d an emoji\0", "half \ufffd an emoji\ufffd"),
    ("", ""),
    (" \n\n ", ""),
]


@pytest.mark.parametrize(("text", "shown"), CASES, ids=range(len(CASES)))
def test_marks_are_gone_and_words_are_kept(text: str, shown: str) -> None:
    assert markdown_to_text(text) == shown


def message(text: str, *citations: Citation) -> OutboundMessage:
    return OutboundMessage(
        conversation=ConversationId("shop", "c"), id="m", text=text, citations=citations
    )


def test_sources_stand_below_with_the_numbers_that_the_text_uses() -> None:
    shown = to_plain_text(
        message(
            "Five days [1][2].",
            Citation(id="a", title="Returns", heading="Refunds", url="https://a.example/r"),
            Citation(id="b.md", title=""),
        )
    )
    assert shown == ("Five days [1][2].\n\n[1] Returns › Refunds https://a.example/r\n[2] b.md")


def test_a_message_without_sources_is_its_text() -> None:
    assert to_plain_text(message("**Hi**")) == "Hi"


@pytest.mark.parametrize("text", ["", "  ", "\n\n", "\t"])
def test_what_cannot_be_seen_is_nothing_even_with_sources(text: str) -> None:
    assert to_plain_text(message(text, Citation(id="a", title="A"))) == ""


def test_a_source_is_one_line_that_a_database_takes() -> None:
    assert source(Citation(id="a", title="Re\nturns\0\ud83d", heading="\t")) == (
        "Re turns\ufffd\ufffd"
    )


def test_only_so_many_sources_are_listed() -> None:
    named = sources([Citation(id=str(n), title=str(n)) for n in range(20)])
    assert len(named) == SOURCES
    assert named[-1] == f"[{SOURCES}] {SOURCES - 1}"
