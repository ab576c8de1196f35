"""What is sent to Feishu: cards, and plain text where no card will do."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.feishu.adapter import FeishuAdapter
from adapters.feishu.cards import (
    CARD_BYTES,
    is_blank,
    to_card,
    to_plain_card,
    to_text,
    uuid_of,
)
from adapters.feishu.markdown import link, render
from kfbot.messages import Button, Citation, ConversationId, OutboundMessage, Sender


def message(text: str = "hello", **more: Any) -> OutboundMessage:
    given: dict[str, Any] = {"conversation": ConversationId("shop", "oc_1"), "id": "msg_1"}
    return OutboundMessage(text=text, **(given | more))


def elements(sent: OutboundMessage) -> list[Any]:
    card = to_card(sent)
    assert card is not None
    found: list[Any] = card["content"]["elements"]
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**5 days** *or* ~~6~~", "**5 days** *or* ~~6~~"),
        ("# Refunds **now**\n\ntext", "**Refunds now**\n\ntext"),
        ("- a\n- b\n  - c", "• a\n• b\n\u2003• c"),
        ("3. a\n4. b", "3. a\n4. b"),
        ("`code` here", "code here"),
        ("```\na_b <at id=all></at>\n```", "```\na_b <\u200bat id=all><\u200b/at>\n```"),
        ("> quoted", "quoted"),
        ("[rules](https://a.example/x_(1))", "[rules](https://a.example/x%5F%281%29)"),
        ("see https://a.example/a_b.", "see [https://a.example/a&#95;b](https://a.example/a%5Fb)."),
        (
            "see https://shop.example/kiosk",
            "see [https://shop.example/kiosk](https://shop.example/kiosk)",
        ),
        ("见https://a.example/x，谢谢", "见[https://a.example/x](https://a.example/x)，谢谢"),
        ("![pic](https://a.example/p.png)", "[pic](https://a.example/p.png)"),
        ("a\nb", "a\nb"),
        ("it is :DONE: at 10:30:20", "it is &#58;DONE: at 10&#58;30:20"),
        (r"\# no title", "&#35; no title"),
        (r"1\. no list", "1&#46; no list"),
        ("&amp;lt; stays", "&#38;lt; stays"),
        ("2 \\* 3 \\* 4 a_b_c", "2 &#42; 3 &#42; 4 a&#95;b&#95;c"),
    ],
)
def test_commonmark_is_written_as_cards_read_it(text: str, expected: str) -> None:
    assert render(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "<at id=all></at>",
        "<at user_id='ou_1'>Bob</at>",
        "&lt;at id=all&gt;",
        "[<at id=all>](https://a.example/<at id=all>)",
        "<font color='red'>x</font>",
        "[x](javascript:alert)",
        "[x](lark://client/y)",
        "[x]($urlVal)",
        "![x](img_v2_key)",
        "`<at id=all></at>`",
        "    <at id=all></at>",
    ],
)
def test_whatever_is_written_calls_nobody_and_leads_to_the_web_alone(text: str) -> None:
    card = json.dumps(elements(message(text)), ensure_ascii=False)
    whole = card + json.dumps(to_text(message(text)), ensure_ascii=False)
    assert not re.search(r"<\s*/?\s*\w", card)
    assert not re.search(r"<\s*/?\s*at\b", whole)
    assert not re.search(r"\]\((?!https?://)", whole)


@given(st.text(max_size=60), st.sampled_from(["", "<at id=all>", "](x)", "```\n", "* _", "\n- "]))
def test_no_text_breaks_out(text: str, trap: str) -> None:
    shown = render(f"{text}{trap}{text}")
    outside = re.sub(r"(?s)```\n.*?\n```", "", shown)
    assert "<" not in outside
    assert not re.search(r"(?i)<\s*/?\s*at\b", shown)
    assert not re.search(r"\]\((?!https?://)", outside)


def test_plain_words_come_out_as_they_went_in() -> None:
    words = "5 < 6 & 7 > 3 [a] `b` \\ $c #d: e_f*g~h !"
    assert html.unescape(render(words.replace("`", "\\`"))) == words


def test_a_link_without_a_label_shows_its_address() -> None:
    assert link("https://a.example/", " ") == "[https://a.example/](https://a.example/)"
    assert link("https://a.example/" + "x" * 1000, "long") == "long"
    assert link("file:///etc/passwd", "a]b") == "a&#93;b"


def test_a_card_has_words_sources_and_buttons() -> None:
    place = ConversationId("shop", "oc_1")
    sent = message(
        citations=(Citation(id="d", title="Refund_s", heading="H", url="https://a.example/r"),),
        buttons=(Button("tok_1", "Yes\n" + "y" * 80),),
        conversation=place,
    )
    words, note, row = elements(sent)
    assert words == {"tag": "markdown", "content": "hello"}
    assert note["elements"] == [
        {"tag": "lark_md", "content": "&#91;1&#93; [Refund&#95;s › H](https://a.example/r)"}
    ]
    [button] = row["actions"]
    assert button["value"] == {"kfbot": "tok_1"}
    assert button["text"]["content"] == "Yes " + "y" * 55 + "…"
    card = to_card(sent)
    assert card is not None
    assert card["content"]["config"]["update_multi"] is True


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (ConversationId("shop", "oc_1", member="ou_1"), {"kfbot": "t", "member": "ou_1"}),
        (ConversationId("shop", "oc_1", "om_9"), {"kfbot": "t", "thread": "om_9"}),
    ],
)
def test_a_button_carries_what_its_press_will_not_tell(
    place: ConversationId, value: dict[str, Any]
) -> None:
    row = elements(message(conversation=place, buttons=(Button("t", "Yes"),)))[-1]
    assert row["actions"][0]["value"] == value


def test_above_an_agents_words_stands_the_agents_name() -> None:
    agent = Sender("7", "agent", "Bea *B*")
    assert elements(message(sender=agent))[0]["content"] == "**Bea &#42;B&#42;**\n\nhello"
    assert to_text(message(sender=agent))["content"]["text"] == "Bea *B*\nhello"
    assert elements(message(sender=Sender("bot", "bot", "kfbot")))[0]["content"] == "hello"


def test_in_plain_text_what_can_be_chosen_is_numbered() -> None:
    sent = message(
        "Which **one**?",
        citations=(Citation(id="d", title="Refunds", url="https://a.example/r"),),
        buttons=(Button("a", "First"), Button("b", "Second"), Button("c", "Yes", "helpful")),
    )
    expected = "Which one?\n\n[1] Refunds https://a.example/r\n1. First\n2. Second"
    assert to_text(sent)["content"]["text"] == expected
    assert to_plain_card(sent)["content"]["elements"][0]["text"]["content"] == expected


def test_the_longest_text_with_all_its_sources_fits_into_a_card() -> None:
    long = "退款规则" * (FeishuAdapter.capabilities.text_length // 4)
    source = Citation(id="d", title="题" * 200, heading="节" * 200, url="https://a.example/r")
    sent = message(long, citations=(source,) * 6, buttons=(Button("t" * 32, "选" * 90),) * 5)
    card = to_card(sent)
    assert card is not None
    assert len(json.dumps(card["content"], ensure_ascii=False).encode()) <= CARD_BYTES


def test_what_is_too_much_for_a_card_is_sent_as_text() -> None:
    assert to_card(message("长" * 20_000)) is None
    assert len(to_text(message("长" * 20_000))["content"]["text"]) == 20_000


def test_a_message_without_anything_to_see_is_blank() -> None:
    for text in ("", " \n", "\x00\u202e", "&nbsp;"):
        assert is_blank(message(text)), repr(text)
    assert not is_blank(message("", buttons=(Button("t", "Yes"),)))


def test_the_same_message_has_the_same_uuid_and_another_has_not() -> None:
    first, second = uuid_of(message()), uuid_of(message(id="msg_2"))
    assert first == uuid_of(message("changed"))
    assert first != second
    assert len(first) <= 50
