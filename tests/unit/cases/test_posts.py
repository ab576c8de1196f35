"""What agents read in a thread, and what their words there mean."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from kfbot.cases.posts import (
    CaseThread,
    command_in,
    goes_to_customer,
    handoff_note,
    note_in,
    plain,
    post_of,
)
from kfbot.conversation import Case, Conversation, Language, Turn
from kfbot.messages import Citation, ConversationId

MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])


def shown(text: str) -> str:
    """What is seen of a text once its marks were taken for what they mean."""
    return html.unescape(re.sub("<[^>]*>", "", MARKDOWN.render(text)))


@given(st.text(st.sampled_from("ab1.)-+=*_`~#>|<&;\\[]()! \n\t:/@"), max_size=40))
@example("2. two\n1) one\n- x\n+ y\n===\n---\n# h\n> q\n    code\n``` a")
@example("|a|b|\n|-|-|\n|1|2|")
@example("a\n\n    *b*")
@example("&lt;!channel&gt; <!here> [x](http://y) ![z](w) <http://u>")
def test_words_of_people_are_shown_letter_by_letter(text: str) -> None:
    assert shown(plain(text)).split() == text.split()


@given(st.text(st.sampled_from("ab1.-*_`#>\\ \n\r\x0b\u2028"), max_size=40))
@example("a\r- b")
def test_words_of_people_never_leave_their_quotation(text: str) -> None:
    quoted = "\n".join(f"> {line}" for line in plain(text).split("\n"))
    rest = MARKDOWN.render(f"{quoted}\n\nafter").rpartition("</blockquote>")[2]
    assert rest.strip() == "<p>after</p>"


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("// a regular", "a regular"),
        ("//", ""),
        ("NOTE: two\nlines", "two\nlines"),
        ("note：x", "x"),
        ("备注：老客户", "老客户"),
        ("备注: 老客户", "老客户"),
        ("／／x", "x"),
        ("Note that it is late", None),
        ("a // b", None),
        ("/", None),
    ],
)
def test_notes_are_known_by_their_beginning(text: str, note: str | None) -> None:
    assert note_in(text) == note


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/claim", "claim"),
        ("!Resume", "hand_back"),
        ("／resolve ", "resolve"),
        ("/resolve@shop_bot", "resolve"),
        ("/help", "help"),
        ("/resolve it", "unknown"),
        ("/reslove", "unknown"),
        ("/kb status", "unknown"),
        ("!important thing", "unknown"),
        ("/etc/hosts", None),
        ("1/2", None),
        ("!!", None),
        ("resolve", None),
    ],
)
def test_commands_are_known_by_their_slash(text: str, command: str | None) -> None:
    assert command_in(text) == command


@pytest.mark.parametrize("text", ["", "  ", "// x", "/resolve", "/reslove", "备注：x"])
def test_what_is_no_word_to_the_customer_claims_nothing(text: str) -> None:
    assert not goes_to_customer(text)


@pytest.mark.parametrize(("language", "is_shown"), [("en", True), ("zh", False)])
def test_a_thread_begins_with_the_summary_in_its_own_language(
    language: Language, is_shown: bool
) -> None:
    case = Case(
        id=1,
        conversation_id=2,
        reason="unsure",
        question="Where is my lamp?",
        opened_at=datetime.now(UTC),
        summary={language: "The customer's *lamp* is gone."},
    )
    thread = CaseThread(
        conversation_id=3,
        case=case,
        conversation=Conversation(id=2, address=ConversationId("shop", "chat")),
        customer_name="Ada",
        shown_message_id=0,
        shown_state="",
    )
    text = post_of(thread, (), is_whole=True).text
    # Letter by letter: a model's words are no markup.
    assert (r"> The customer's \*lamp\* is gone." in text) is is_shown
    assert ("written by the chat model" in text) is is_shown


def test_a_help_desk_reads_why_what_was_asked_and_what_was_found() -> None:
    found = Citation(id="d", title="退货 [旧]", heading="时限", url="https://a.example/r_1")
    turn = Turn(
        question="*多久*能退？",
        decision="handoff",
        confidence=0.3,
        text="我不太确定。",
        context="**15 天**内。",
        seen=(("shop", found), ("shop", Citation(id="e", title="", url="javascript:x"))),
    )
    assert handoff_note(turn, "unsure").split("\n\n") == [
        "**机器人请求人工接手**：没有把握",
        "**客户的问题：**\n> \\*多久\\*能退？",
        "**机器人原本会这样回答：**\n> **15 天**内。",
        "- 退货 \\[旧\\] › 时限 <https://a.example/r_1>\n- e",
    ]


def test_a_help_desk_reads_nothing_where_nothing_was_found() -> None:
    turn = Turn(question="", decision="handoff", confidence=0.0, text="Just a moment.")
    assert handoff_note(turn, "error") == "**The bot asks for a person**: error"
