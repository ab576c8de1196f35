"""CommonMark → Discord's Markdown: form stays, documents' texts stay text, everything fits."""

from __future__ import annotations

import pytest

from adapters.discord.rendering import (
    LIMIT,
    TEXT_LENGTH,
    content_of,
    markdown_to_discord,
    quoted,
    rows_of,
)
from kfbot.messages import Button, Citation, ConversationId, OutboundMessage


def message(text: str, **given: object) -> OutboundMessage:
    place = ConversationId("shop", "700")
    return OutboundMessage(conversation=place, id="m", text=text, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("**退款** *soon* ~~no~~ `a_b`", "**退款** *soon* ~~no~~ `a_b`"),
        ("# How **to** return", "**How to return**"),
        ("- a\n  - b\n- c", "- a\n  - b\n- c"),
        ("3. a\n4. b", "3. a\n4. b"),
        ("> a\n> b", "> a\n> b"),
        ("```py\na < b\n```", "```py\na < b\n```"),
        ("a\n\n---\n\nb", "a\n\n———\n\nb"),
        ("[shop](https://shop.example/a_b)", "[shop](<https://shop.example/a_b>)"),
        ("see https://shop.example/a_b.", "see <https://shop.example/a_b>."),
        ("<https://shop.example/>", "<https://shop.example/>"),
        ("![pic](https://shop.example/p.png)", "[pic](<https://shop.example/p.png>)"),
    ],
)
def test_form_stays(text: str, shown: str) -> None:
    assert markdown_to_discord(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<@12> <@&3> <#4>", r"\<@12\> \<@&3\> \<\#4\>"),
        ("size_of_it 2 * 3 ||a||", r"size\_of\_it 2 \* 3 \|\|a\|\|"),
        (r"\# no heading", r"\# no heading"),
        (r"1\. no list", r"1\. no list"),
        (r"\- no list", r"\- no list"),
        (r"\> no quote", r"\> no quote"),
        ("-# no small print", r"-\# no small print"),
        ("[x](javascript:alert)", "x"),
        ("[x](tel:1)", "x"),
        ("[https://bank.example](https://evil.example)", "https://bank.example <https://evil.example>"),
        ("<b>hi</b>", r"\<b\>hi\</b\>"),
        ("`a``", r"\`a\`\`"),
        ("a \x1b[2J b", r"a \[2J b"),
    ],
)  # fmt: skip
def test_what_a_document_says_stays_text(text: str, shown: str) -> None:
    assert markdown_to_discord(text) == shown


def test_sources_stand_below_in_small_print() -> None:
    cited = (
        Citation(id="doc", title="Returns [EU]", heading="Fees", url="https://shop.example/r"),
        Citation(id="faq_1", title="", url="ftp://shop.example"),
    )
    assert content_of(message("ok", citations=cited)) == (
        "ok\n\n-# \\[1\\] [Returns \\[EU\\] › Fees](<https://shop.example/r>)\n-# \\[2\\] faq\\_1"
    )


def test_what_does_not_fit_goes_without_sources_and_then_without_form() -> None:
    cited = (Citation(id="doc", title="t" * 300),)
    assert content_of(message("a" * TEXT_LENGTH, citations=cited)) == "a" * TEXT_LENGTH
    stars = "\\*" * (TEXT_LENGTH // 2)
    assert content_of(message(stars)) == stars
    crowded = "a_" * (TEXT_LENGTH // 2)
    assert content_of(message(crowded)) == crowded
    assert content_of(message("a" * (LIMIT + 1))) == ""
    assert content_of(message("a" * LIMIT), prefix="x") == ""
    assert content_of(message(" \n\x1b")) == ""


def test_buttons_are_rows_of_five_and_at_most_twenty_five() -> None:
    buttons = tuple(Button(f"tok{n}", "长" * 100) for n in range(27))
    rows = rows_of(buttons, "11")
    assert [len(row["components"]) for row in rows] == [5] * 5
    first = rows[0]["components"][0]
    assert (first["custom_id"], first["label"]) == ("tok0:11", "长" * 80)
    assert rows_of((Button("tok", " "),), "")[0]["components"][0] == {
        "type": 2, "style": 2, "label": "…", "custom_id": "tok",
    }  # fmt: skip
    assert rows_of((), "") == []


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("运费是多少", "> 运费是多少"),
        ("one\n# two", "> one\n> \\# two"),
        ("<@12> **now** ||x||", r"> \<@12\> \*\*now\*\* \|\|x\|\|"),
        ("see https://shop.example/a_b", "> see <https://shop.example/a_b>"),
        ("half \ud83d\x00", "> half \ufffd\ufffd"),
    ],
)
def test_what_somebody_asks_is_quoted_and_stays_text(said: str, shown: str) -> None:
    assert quoted(said) == shown


@pytest.mark.parametrize("said", ["长" * 5000, "*" * 1500, "\n" * 1500])
def test_a_quotation_always_fits(said: str) -> None:
    assert len(quoted(said)) <= LIMIT
    assert quoted(said).startswith("> ")
