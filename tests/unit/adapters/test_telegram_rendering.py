"""CommonMark as Telegram's HTML: what is shown, what stays text, what fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.telegram.rendering import (
    LIMIT,
    TEXT_LENGTH,
    keyboard,
    markdown_to_html,
    seen,
    to_html,
    to_plain,
    units,
)
from kfbot.messages import Button, Citation, ConversationId, OutboundMessage
from tests.platforms.telegram_texts import read_extras, read_html

CHAT = ConversationId("shop", "7")


def message(text: str, *citations: Citation) -> OutboundMessage:
    return OutboundMessage(conversation=CHAT, id="m", text=text, citations=citations)


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("plain", "plain"),
        ("**bold** and *italic* and ~~gone~~", "<b>bold</b> and <i>italic</i> and <s>gone</s>"),
        ("# Title\nText", "<b>Title</b>\n\nText"),
        ("# A **bold** title", "<b>A bold title</b>"),
        ("one\ntwo", "one\ntwo"),
        ("- a\n- b\n  - c", "• a\n• b\n  • c"),
        ("3. a\n4. b", "3. a\n4. b"),
        ("`a < b`", "<code>a &lt; b</code>"),
        ("```python\nx = 1\n```", '<pre><code class="language-python">x = 1</code></pre>'),
        ("    x = 1", "<pre>x = 1</pre>"),
        ("> a\n>> b", "<blockquote>a\n\nb</blockquote>"),
        ("[shop](https://shop.example/?a=1&b=2)",
         '<a href="https://shop.example/?a=1&amp;b=2">shop</a>'),
        ("![kettle](https://shop.example/k.png)",
         '<a href="https://shop.example/k.png">kettle</a>'),
        ("[mail](mailto:help@shop.example)", '<a href="mailto:help@shop.example">mail</a>'),
        ("[bot](tg://resolve?domain=shop)", '<a href="tg://resolve?domain=shop">bot</a>'),
        ("a\n\n---\n\nb", "a\n\n———\n\nb"),
    ],
)  # fmt: skip
def test_commonmark_becomes_the_html_that_telegram_knows(text: str, markup: str) -> None:
    assert markdown_to_html(text) == markup


@pytest.mark.parametrize(
    "text",
    [
        "<b>loud</b> & <script>x</script>",
        '<a href="tg://user?id=7">you</a>',
        "</pre><b>",
        "&lt;b&gt;",
    ],
)
def test_html_of_a_document_or_a_customer_stays_text(text: str) -> None:
    shown, entities = read_html(markdown_to_html(text))
    assert not entities
    assert shown == text.replace("&lt;b&gt;", "<b>")


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "tg://user?id=7", "file:///etc/passwd", "data:text/html,x", "/docs",
     "https://", "//shop.example"],
)  # fmt: skip
def test_only_addresses_that_lead_somewhere_become_links(address: str) -> None:
    assert "<a" not in markdown_to_html(f"[here](<{address}>)")
    assert "<a" not in to_html(message("x", Citation(id="d", title="here", url=address)))


def test_sources_are_listed_once_with_their_links() -> None:
    one = Citation(id="d1", title="Returns", heading="Shoes", url="https://shop.example/r")
    other = Citation(id="d2", title="", url="")
    markup = to_html(message("15 days.", one, one, other))
    assert markup == (
        '15 days.\n\n[1] <a href="https://shop.example/r">Returns › Shoes</a>\n[2] d2'
    )


def test_sources_keep_the_numbers_that_the_text_has_for_them() -> None:
    one = Citation(id="d1", title="Returns")
    other = Citation(id="d2", title="Costs")
    markup = to_html(message("15 days. [1] 5 dollars. [2] By post. [3]", one, other, one))
    assert markup == ("15 days. [1] 5 dollars. [2] By post. [3]\n\n[1][3] Returns\n[2] Costs")


_MARKS = st.text(alphabet="*_~`<>&[]()!#-+.123 \n\t\\/:\"'ab长😀h", max_size=300)
_ANY = st.one_of(st.text(max_size=200), _MARKS)


@given(_ANY, _ANY, _ANY)
def test_no_text_whatever_makes_html_that_telegram_refuses(text: str, title: str, url: str) -> None:
    markup = to_html(message(text, Citation(id="d", title=title, url=url)))
    shown, entities = read_html(markup)
    assert shown == seen(markup)
    assert "\0" not in shown
    for entity in entities:
        assert not str(entity.get("url", "")).startswith(("javascript", "tg://user"))


@given(_ANY)
def test_letters_and_digits_of_a_text_are_all_shown(text: str) -> None:
    # Without marks nothing is an address or a number of a list.
    words = "".join(one for one in text if one.isalnum() or one == " ")
    assert seen(markdown_to_html(words)).split() == words.split()


@given(st.text(alphabet="-*1.> #\nab😀", min_size=TEXT_LENGTH // 4, max_size=TEXT_LENGTH))
def test_what_the_core_sends_fits_into_one_message(text: str) -> None:
    citation = Citation(id="d", title="😀" * 200, heading="😀" * 200, url="https://a.example/")
    markup = to_html(message(text, *[citation] * 9))
    assert units(seen(markup)) <= LIMIT
    assert units(to_plain(message(text))) <= LIMIT


def test_the_longest_text_of_the_widest_characters_keeps_its_sources() -> None:
    citations = [Citation(id=f"d{n}", title=f"{n}" + "😀" * 200) for n in range(9)]
    markup = to_html(message("😀" * TEXT_LENGTH, *citations))
    assert "[6]" in markup
    assert units(seen(markup)) <= LIMIT


def test_what_shows_nothing_is_sent_as_it_was_written() -> None:
    shown = message("[a]: https://shop.example")
    assert (to_html(shown), to_plain(shown)) == ("", "[a]: https://shop.example")


def test_lists_within_lists_do_not_grow_beyond_the_limit() -> None:
    nested = message("- " * 40 + "a" + "\n- b" * 440)
    assert units(to_plain(nested)) <= LIMIT
    assert units(seen(to_html(nested))) <= LIMIT


def test_buttons_are_rows_with_the_two_verdicts_side_by_side() -> None:
    buttons = [
        Button("t1", "Helpful", "helpful"),
        Button("t2", "Not helpful", "not_helpful"),
        Button("t3", " " * 9, "person"),
        Button("t4", "长" * 200),
    ]
    made = keyboard(buttons)
    assert made is not None
    assert read_extras({"reply_markup": made}, []) == {"reply_markup": made}
    rows = [[button["callback_data"] for button in row] for row in made["inline_keyboard"]]
    assert rows == [["t1", "t2"], ["t3"], ["t4"]]
    assert len(made["inline_keyboard"][2][0]["text"]) == 60
    assert keyboard(()) is None
