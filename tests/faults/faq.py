"""What the bot knows while it is being killed: each answer tells which question it is for."""

from __future__ import annotations

import json
from pathlib import Path

#: In the text of one question and of its answer: where it passes, a process may stand still.
MARKER = "standstill"
STANDSTILL = f"Which desk serves customers at a {MARKER}?"
#: Question → answer. Exact questions are answered for sure, by the fake and by the real knowledge
#: base; none of them leans on an earlier one.
ENTRIES = {
    "How long do I have to return a parcel?": "A parcel can be returned for 15 days.",
    "When will my refund arrive?": "A refund arrives within 2 business days.",
    "How do I reset my account password?": "Choose Forgotten password at the login.",
    "Which payment methods do you accept?": "Cards, bank transfer and cash on delivery.",
    "Do you deliver to Norway?": "Norway is served by post, twice a week.",
    "怎么开发票？": "在订单页申请电子发票。",
    "What is the warranty of the electric kettle?": "The electric kettle has a two-year warranty.",
    "How can I change the delivery address?": "The address can be changed until dispatch.",
    "满多少元包邮？": "满 99 元包邮，否则 8 元。",
    "Where can I find my membership points?": "Points are shown on the membership page.",
    "Can the coffee grinder be repaired?": "Grinders are repaired in our Hangzhou workshop.",
    "What are the opening hours of the shop in Shanghai?": "Shanghai is open from 10 to 22.",
    STANDSTILL: f"Customers at a {MARKER} are served at desk nine.",
}
#: Likewise where a chat model writes the answers, of two sentences each.
DOCUMENTS = {
    "How long do I have to return a parcel?": (
        "A parcel can be returned for 15 days. The parcel must be unopened."
    ),
}
#: What ordinary conversations ask, each question once.
QUESTIONS = tuple(question for question in ENTRIES if question != STANDSTILL)


def write_faq(file: Path) -> None:
    """Write the entries as a source of a real knowledge base."""
    rows = [
        {"id": f"entry-{number}", "question": question, "answer": answer}
        for number, (question, answer) in enumerate(ENTRIES.items())
    ]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    file.write_text("".join(lines), encoding="utf-8")
