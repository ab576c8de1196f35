"""The page and the tables of an evaluation."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from knowledge.evaluation.comparison import compare
from knowledge.evaluation.mistakes import Known, mistakes_of
from knowledge.evaluation.page import html_of
from knowledge.evaluation.reasons import Entry
from knowledge.evaluation.report import measures_of, report_of
from knowledge.evaluation.scored import Scored
from knowledge.evaluation.tables import rows_of, tables_of, verdict, write
from tests.unit.knowledge.test_evaluation_measures import MIXED, scored
from tests.unit.knowledge.test_evaluation_mistakes import asked, passage

EVIL = "<script>alert('1')</script>"


def report(*questions: Scored, mistakes: Any = None, **given: Any) -> dict[str, Any]:
    return (
        report_of(questions, known_ids={"a"}, names=())
        | {"max_wrong_percent": 5.0, "knowledge": [{"name": "<kb>", "documents": 1}]}
        | {"mistakes": mistakes or mistakes_of([], Known({}, {})), "require": []}
        | {"comparison": None, "rows": []}
        | given
    )


def evil_report() -> dict[str, Any]:
    labels: dict[str, Any] = {"text": EVIL, "answer": EVIL, "kb": EVIL, "predicted_kb": EVIL}
    questions = [
        scored("answer", 0.9, EVIL, gold_ids=(EVIL,), in_scope=True, **labels),
        scored("answer", 0.9, EVIL, in_scope=False, **labels),
    ]
    entry = Entry(EVIL, EVIL, "faq", EVIL, EVIL)
    wrong = asked(EVIL, passage(EVIL + "x", EVIL, EVIL), gold_ids=(EVIL,))
    missed = asked(EVIL, passage(EVIL + "x", EVIL, EVIL), decision="handoff", gold_ids=(EVIL,))
    old = [scored("handoff", 0.1, EVIL, gold_ids=(EVIL,), in_scope=True, text=EVIL), questions[1]]
    return report(
        *questions,
        mistakes=mistakes_of([wrong, missed], Known({EVIL: [entry]}, {})),
        comparison=compare(EVIL, old, questions),
        require=[{"demand": "hit@1>=0.9", "value": 0.5, "met": False}],
    )


class Balanced(HTMLParser):
    """Fails at a tag that closes another than the last opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        """`<path …/>`."""


def test_page_escapes_everything_that_came_from_outside() -> None:
    html = html_of(evil_report())
    assert "<script" not in html
    assert "<kb>" not in html
    # Label, knowledge base, question, entries, comparison.
    assert html.count("&lt;script&gt;alert") > 10


def test_page_is_well_formed_in_every_part() -> None:
    parser = Balanced()
    parser.feed(html_of(evil_report()))
    assert parser.open == []


def test_page_stands_alone_with_all_plots_in_words_too() -> None:
    html = html_of(report(*MIXED))
    assert html.count("<svg") == html.count("<desc") == html.count('role="img"') == 4
    assert not re.search(r"https?://|src=|@import|url\(", html)
    assert "NaN" not in html


def test_page_of_nothing_that_can_be_judged_is_still_a_page() -> None:
    html = html_of(report(scored("handoff", 0.0)))
    assert "no wrong answer, and no question missed" in html
    assert "NaN" not in html


def test_missed_demand_is_told_on_the_page() -> None:
    html = html_of(report(*MIXED, require=[{"demand": "ece<0", "value": None, "met": False}]))
    assert "ece&lt;0" in html
    assert "MISSED" in html


# Tables


def test_rows_of_nothing_are_left_out_of_the_table() -> None:
    rows = rows_of({"all": measures_of([scored("answer", 1, "a", gold_ids=("a",), in_scope=True)])})
    labels = [row[0].strip() for row in rows]
    assert "Out of scope" not in labels
    assert ("  right entry first (hit@1)", "100.0 %") in rows


def test_terminal_shows_measures_dial_reasons_and_comparison() -> None:
    titles = [table.title for table in tables_of(evil_report())]
    assert [title.split("?")[0].split(" (")[0].split("<")[0] for title in titles] == [
        "",
        "By label",
        "What if the dial were turned",
        "Why it went wrong",
        "Wrong answers, the worst first",
        "Missed questions, the nearest first",
        "Compared with ",
        "Gained: 1",
    ]


def test_difference_that_chance_explains_has_no_verdict() -> None:
    found = {"name": "wrong", "low": -2.0, "high": 1.0}
    assert verdict(found) == ""
    assert verdict(found | {"high": -1.0}) == "better"
    assert verdict(found | {"name": "hit@1", "high": -1.0}) == "worse"
    assert verdict(found | {"low": None}) == ""


def test_numbers_are_written_by_their_form() -> None:
    assert [write(0.5, form) for form in ("share", "ratio", "number")] == ["50.0 %", "0.500", "0.5"]
    assert (write(3, "count"), write(None, "share")) == ("3", "–")
