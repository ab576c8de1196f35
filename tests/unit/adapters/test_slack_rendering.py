"""What goes to Slack: CommonMark as mrkdwn, and nothing whatever that mentions anybody."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.slack.blocks import SECTION_LENGTH, to_arguments
from adapters.slack.mrkdwn import LINK_LENGTH, render
from kfbot.messages import Button, Citation, ConversationId, OutboundMessage, Sender
from tests.platforms.slack_forms import check_message, mentions_in

RENDERED = [
    ("Hello **bold**, *em*, ~~old~~ `x<y`", "Hello *bold*, _em_, ~old~ `x&lt;y`"),
    ("# Refunds **now**\ntext", "*Refunds now*\n\ntext"),
    ("退款**五天**内到账", "退款\u200b*五天*\u200b内到账"),
    ("a\nb  \nc", "a\nb\nc"),
    ("- one\n- two\n  1. in\n  2. deep", "• one\n• two\n    1. in\n    2. deep"),
    ("3. c\n4. d", "3. c\n4. d"),
    ("> said\n> twice", "> said\n> twice"),
    ("```sh\nls <dir> `x`\n```", "```\nls &lt;dir&gt; `x`\n```"),
    ("| a | 中文 |\n|---|---|\n| long | [b](https://x.example) |", "```\na     中文\nlong  b\n```"),
    ("[l](https://a.example/?x=1&y=2)", "<https://a.example/?x=1&amp;y=2|l>"),
    ("[**b** `c`](https://a.example)", "<https://a.example|b c>"),
    ("![pic](https://i.example/p.png)", "<https://i.example/p.png|pic>"),
    ("<https://a.example>", "<https://a.example>"),
    ("at HTTPS://shop.example/kiosk.", "at <HTTPS://shop.example/kiosk>."),
    ("见https://a.example/帮助。", "见<https://a.example/>帮助。"),
    ("(https://a.example/a_(b)).", "(<https://a.example/a_(b)>)."),
    ("[x](javascript:alert)", "x"),
    ("[x](@U123) [y](!channel) [z](/local)", "x y z"),
    ("[a|b](https://a.example)", "<https://a.example|a¦b>"),
    ("<!channel> <@U123> <#C1> @here &lt;!here&gt;",
     "&lt;!channel&gt; &lt;@U123&gt; &lt;#C1&gt; @here &lt;!here&gt;"),
    ("<b>no html</b>", "&lt;b&gt;no html&lt;/b&gt;"),
    ("a\0b\x1bc", "abc"),
    ("---", "———"),
    ("", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "shown"), RENDERED)
def test_commonmark_is_shown_as_slack_shows_it(text: str, shown: str) -> None:
    assert "\n\n".join(render(text, SECTION_LENGTH)) == shown


def test_an_address_that_is_too_long_for_a_link_is_text() -> None:
    url = "https://a.example/" + "x" * LINK_LENGTH
    assert "".join(render(url, SECTION_LENGTH)) == url


def test_long_code_is_fenced_in_every_part() -> None:
    parts = render("```\n" + "line of code\n" * 1000 + "```", SECTION_LENGTH)
    assert len(parts) > 2
    assert all(part.startswith("```\n") and part.endswith("\n```") for part in parts)
    assert sum(part.count("line of code") for part in parts) == 1000


def test_long_text_is_cut_between_words_and_never_inside_a_link() -> None:
    text = "word [label](https://a.example/path) & so on. " * 300
    parts = render(text, SECTION_LENGTH)
    assert all(len(part) <= SECTION_LENGTH and part.endswith(".") for part in parts)
    assert sum(part.count("<https://a.example/path|label>") for part in parts) == 300


_PIECES = st.sampled_from(
    ["<!channel>", "<@U0ANN>", "<#C1|x>", "@here", "[a](", "https://x.example", ")", "**", "`",
     "```\n", "\n", "> ", "- ", "1. ", "|", "&lt;", "&", "<", ">", "<https://", "](<!here>)", "\\",
     "![", "]", "# ", "~~", "\x01", "\ud83d", "mailto:a@b", "长", " "]
)  # fmt: skip
_TEXT = st.lists(_PIECES | st.text(max_size=5), max_size=40).map("".join)


@settings(max_examples=400, deadline=None)
@given(text=_TEXT, name=_TEXT, url=_TEXT, label=_TEXT)
@example(text="<" * 20_000, name="<!here>", url="https://x|<!here>", label="|<!here>")
def test_nothing_whatever_mentions_anybody(text: str, name: str, url: str, label: str) -> None:
    arguments = to_arguments(
        OutboundMessage(
            conversation=ConversationId("shop", "D1"),
            id="m",
            text=text,
            sender=Sender("7", "agent", name),
            citations=(Citation(id="d", title=label, heading=name, url=url),),
            buttons=(Button("tok", label),),
        )
    )
    check_message(arguments)
    assert list(mentions_in(arguments)) == []


@settings(max_examples=200, deadline=None)
@given(_TEXT.map(lambda text: text * 50))
def test_no_piece_is_empty_or_too_long(text: str) -> None:
    for piece in render(text, LINK_LENGTH + 1):
        assert piece.strip()
        assert len(piece) <= LINK_LENGTH + 1


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=50))
def test_plain_words_stay_as_they_are(text: str) -> None:
    assert "".join(render(text, SECTION_LENGTH)) == text


def test_a_long_choice_is_cut_to_what_slack_shows() -> None:
    message = OutboundMessage(
        conversation=ConversationId("shop", "D1"),
        id="m",
        text="?",
        buttons=(Button("t", "长" * 99),),
    )
    [button] = to_arguments(message)["blocks"][-1]["elements"]
    assert button["text"]["text"] == "长" * 74 + "…"
    assert button["value"] == "t"
