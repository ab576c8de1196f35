"""How messages look on Matrix, and that an event holds them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.matrix.rendering import (
    CONTENT_BYTES,
    TEXT_LENGTH,
    content_of,
    edit_of,
    fits,
    markdown_to_html,
    relation_of,
)
from kfbot.messages import Citation, ConversationId, OutboundMessage

ROOM = ConversationId("shop", "!a:shop.test")


def outbound(text: str, **fields: Any) -> OutboundMessage:
    return OutboundMessage(conversation=ROOM, id="1", text=text, **fields)


def test_marks_become_html_beside_plain_text() -> None:
    content = content_of(outbound("Within **2 days**:\n\n- by card\n- by *cash*"))
    assert content == {
        "msgtype": "m.text",
        "body": "Within 2 days:\n\n• by card\n• by cash",
        "m.mentions": {},
        "format": "org.matrix.custom.html",
        "formatted_body": (
            "<p>Within <strong>2 days</strong>:</p>\n"
            "<ul>\n<li>by card</li>\n<li>by <em>cash</em></li>\n</ul>"
        ),
    }


@pytest.mark.parametrize(
    "text",
    [
        "<b onclick=x>&amp;</b>",
        "[x](javascript:alert(1))",
        "[x](data:text/html,y)",
        "[x](file:///etc/passwd)",
        "![x](javascript:alert(1))",
        "<javascript:alert(1)>",
        "[x](mxc://shop.test/abc)",
    ],
)
def test_what_a_document_says_becomes_no_tag_and_no_strange_link(text: str) -> None:
    shown = markdown_to_html(text)
    assert "<b" not in shown
    assert "<a" not in shown
    assert "<img" not in shown


def test_links_lead_to_the_web_or_to_a_mail_and_pictures_are_links() -> None:
    assert 'href="https://a.example/x?a=1&amp;b=2"' in markdown_to_html(
        "[x](https://a.example/x?a=1&b=2)"
    )
    assert 'href="mailto:a@b.example"' in markdown_to_html("[x](mailto:a@b.example)")
    assert markdown_to_html('![a "b](https://a.example/x.png)') == (
        '<p><a href="https://a.example/x.png">a &quot;b</a></p>'
    )


def test_sources_stand_below_with_their_addresses() -> None:
    citations = (
        Citation(id="a", title="Refunds <now>", heading="Cards", url="https://a.example/"),
        Citation(id="b", title="", url="javascript:x"),
    )
    content = content_of(outbound("Two days.", citations=citations))
    assert content is not None
    assert content["body"] == (
        "Two days.\n\n[1] Refunds <now> › Cards https://a.example/\n[2] b javascript:x"
    )
    assert content["formatted_body"] == (
        '<p>Two days.</p><p>[1] <a href="https://a.example/">Refunds &lt;now&gt; › Cards</a><br>'
        "[2] b javascript:x</p>"
    )


@pytest.mark.parametrize("text", ["", "  \n", "\x07\x1b", "# "])
def test_what_shows_nothing_is_no_message(text: str) -> None:
    assert content_of(outbound(text)) is None


@pytest.mark.parametrize("unit", ["长", "😀", "&", '"', "> > a\n\n", "`a` ", "<b>", "\ud83d"])
def test_an_edit_of_the_longest_text_fits_into_an_event(unit: str) -> None:
    text = (unit * TEXT_LENGTH)[:TEXT_LENGTH]
    named = Citation(id="a", title="长" * 100, heading="长" * 100, url="https://a.example/" * 5)
    content = content_of(outbound(text, citations=(named,) * 6))
    assert content is not None
    edit = edit_of(content, "$" + "a" * 43)
    assert fits(edit)
    assert len(json.dumps(edit, ensure_ascii=False).encode(errors="replace")) <= CONTENT_BYTES


def test_a_text_that_no_event_can_hold_is_told_apart() -> None:
    content = content_of(outbound("长" * 100_000))
    assert content is not None
    assert "formatted_body" not in content
    assert not fits(content)


def test_an_edit_names_its_message_and_says_so_to_old_clients() -> None:
    content = content_of(outbound("Now"))
    assert content is not None
    edit = edit_of(content, "$a")
    assert edit["m.new_content"] == content
    assert edit["body"] == "* Now"
    assert edit["m.relates_to"] == {"rel_type": "m.replace", "event_id": "$a"}


def test_where_a_message_stands() -> None:
    assert relation_of(None, None) == {}
    assert relation_of(None, "$a") == {"m.relates_to": {"m.in_reply_to": {"event_id": "$a"}}}
    place = {"rel_type": "m.thread", "event_id": "$r"}
    root = {"m.in_reply_to": {"event_id": "$r"}}
    assert relation_of("$r", None) == {"m.relates_to": place | {"is_falling_back": True} | root}
    assert relation_of("$r", "$r") == {"m.relates_to": place | {"is_falling_back": True} | root}
    reply = {"is_falling_back": False, "m.in_reply_to": {"event_id": "$a"}}
    assert relation_of("$r", "$a") == {"m.relates_to": place | reply}
