# ruff: noqa: E501 - payloads and fragments, as they come
"""Markdown of anybody: no platform is sent active markup, and no more than a few times its size."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import strategies as st

from adapters.discord.rendering import content_of, markdown_to_discord, quoted
from adapters.feishu.markdown import escape, render, unmentioning
from adapters.matrix.rendering import markdown_to_html as to_matrix
from adapters.plain_text import markdown_to_text
from adapters.slack.mrkdwn import render as to_slack
from adapters.telegram.rendering import markdown_to_html as to_telegram
from kfbot.messages import Citation, ConversationId, OutboundMessage
from tests.fuzz.profile import IS_DEEP, fuzz
from tests.fuzz.work import check_linear

_SLACK_PART = 3_000
_LINKS = ("http://", "https://", "mailto:")
#: What is between < and > of a text for Slack.
_SLACK_ENTITY = re.compile(r"<([^<>]*)>")
FRAGMENTS = (
    "a", " ", "\n", "\n\n", "*", "**", "_", "~~", "`", "```", "```js\n", "#", "# ", "> ", "- ", "1. ",
    "[", "]", "(", ")", "![", "](", "<", ">", "</", "&", ";", "&lt;", "&#60;", "&#x3c;", "\\", "|",
    "\n|a|b|\n|-|-|\n|", "---\n", "<script>", "</b>", "<a href=", '"', "'", "onclick=", "<!--",
    "javascript:alert(1)", "data:text/html,x", "https://a.example/", "HTTP://A/(b)", "tg://user?id=7",
    "mailto:a@b.example", "www.a.example", "@everyone", "@here", "<@7>", "<@&7>", "<#7>", "<!channel>",
    "<!subteam^S1>", "<at id=all></at>", "<at user_id=\"all\">", "</at>", "&lt;at id=all>", "<at\n",
    "[CQ:at,qq=all]", "https://matrix.to/#/@a:b", "<mx-reply>", "<img src=x>", ":smile:", "</code>",
    "\0", "\x1b", "\u202e", "\u200b", "\ud83d", "长", "。", "😀", "\t", "{{", "}}", "[1]", "://", "x" * 50,
)  # fmt: skip
MARKDOWN = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=5)), max_size=40).map(
    "".join
)
RENDERERS: dict[str, Callable[[str], str]] = {
    "telegram": to_telegram,
    "matrix": to_matrix,
    "slack": lambda text: "".join(to_slack(text, _SLACK_PART)),
    "discord": markdown_to_discord,
    "discord quoted": quoted,
    "feishu": render,
    "plain": markdown_to_text,
}


class _Tags(HTMLParser):
    """The tags of a text of HTML, which must close what they open."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)
        for name, value in attrs:
            self.attributes.add((tag, name))
            if name in ("href", "src"):
                self.links.append(value or "")
        if tag not in ("br", "hr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in ("br", "hr"):
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError("a declaration")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError("a declaration")

    def handle_pi(self, data: str) -> None:
        raise AssertionError("an instruction")


def _tags(markup: str) -> _Tags:
    tags = _Tags()
    tags.feed(markup)
    tags.close()
    assert not tags.open
    return tags


@fuzz(150, text=MARKDOWN)
def test_telegram_is_sent_only_its_own_tags_and_links_for_the_web(text: str) -> None:
    tags = _tags(to_telegram(text))
    assert tags.seen <= {"b", "i", "s", "code", "pre", "a", "blockquote"}
    assert tags.attributes <= {("a", "href"), ("code", "class")}
    assert all(link.startswith((*_LINKS, "tg://resolve")) for link in map(str.lower, tags.links))


_MATRIX_TAGS = {
    *("a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr"),
    *("li", "ol", "p", "pre", "s", "strong", "ul"),
}


@fuzz(150, text=MARKDOWN)
def test_matrix_is_sent_only_tags_of_text_and_links_for_the_web(text: str) -> None:
    tags = _tags(to_matrix(text))
    assert tags.seen <= _MATRIX_TAGS
    assert tags.attributes <= {("a", "href"), ("a", "title"), ("code", "class"), ("ol", "start")}
    assert all(link.startswith(_LINKS) for link in map(str.lower, tags.links))
    # A client shows such a link as a person, and tells them.
    assert not any("matrix.to" in link for link in tags.links)


@fuzz(150, text=MARKDOWN)
def test_slack_is_sent_no_mention_and_only_links_for_the_web(text: str) -> None:
    for part in to_slack(text, _SLACK_PART):
        assert len(part) <= _SLACK_PART
        for inside in _SLACK_ENTITY.findall(part):
            assert inside.lower().startswith(_LINKS)
        outside = _SLACK_ENTITY.sub("", part)
        assert "<" not in outside
        assert ">" not in re.sub(r"(?m)^(?:> ?)+", "", outside)


@fuzz(150, text=MARKDOWN)
def test_discord_is_sent_no_mention_of_anybody(text: str) -> None:
    for shown in (markdown_to_discord(text), quoted(text)):
        # In code nothing is a mention, and an address is between < and >.
        plain = re.sub(r"(?s)```.*?```|``.*?``|`[^`]*`|<https?://[^<>\s]*>", "", shown, flags=re.I)
        assert not re.search(r"(?<!\\)<[@#:at]", plain)


@fuzz(150, text=MARKDOWN)
def test_feishu_is_sent_no_mention_of_anybody(text: str) -> None:
    tag = re.compile(r"<\s*/?\s*at\b", re.IGNORECASE)
    for shown in (render(text), escape(text), unmentioning(text)):
        assert not tag.search(shown)


@pytest.mark.parametrize("platform", RENDERERS)
@fuzz(60, text=MARKDOWN)
def test_what_is_shown_is_a_few_times_as_long_as_the_text_and_can_be_sent(
    platform: str, text: str
) -> None:
    shown = RENDERERS[platform](text)
    # Every character may become an entity, as &#95;.
    assert len(shown) <= 12 * len(text) + 200
    shown.encode("utf-8")


@fuzz(60, text=MARKDOWN)
def test_an_answer_for_discord_fits_whatever_its_sources_are_called(text: str) -> None:
    message = OutboundMessage(
        conversation=ConversationId("shop", "1"),
        id="1",
        text=text,
        citations=(Citation(id=text[:40], title=text, url=text[:60]),),
    )
    assert len(content_of(message)) <= 2_000


@pytest.mark.parametrize("platform", RENDERERS)
@pytest.mark.parametrize(
    "unit",
    [
        *(FRAGMENTS if IS_DEEP else FRAGMENTS[:34:2]),
        "[a](",
        "*a ",
        "`a",
        "<a",
        "> - ",
        "- \n ",
        "a\n|",
    ],
)
def test_a_text_twice_as_long_takes_twice_the_work(platform: str, unit: str) -> None:
    check_linear(RENDERERS[platform], unit, 150)
