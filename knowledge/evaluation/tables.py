"""An evaluation as tables of words, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knowledge.evaluation.measures import NAMED

#: A count of questions by its path in the measures, or the name of a measure, below its heading.
_COUNT: Mapping[str, tuple[str, ...]] = {
    "Questions": ("questions",),
    "In scope, gold known": ("in_scope", "questions"),
    "In scope": ("scoped",),
    "Out of scope": ("out_of_scope", "questions"),
    "Answers": ("answers",),
}
ROWS: tuple[str, ...] = (
    "Questions", "right_decision",
    "Answers", "wrong", "wrong_in_scope", "wrong_out_of_scope",
    "In scope", "answered", "clarified", "handed_off",
    "In scope, gold known", "right_answers", "clarified_with_gold",
    "hit@1", "hit@3", "hit@5", "hit@10", "mrr@10",
    "Out of scope", "out_of_scope_recall", "out_of_scope_clarified", "out_of_scope_answered",
    "Confidence", "auroc", "auroc_in_scope", "aurc", "eaurc", "ece", "brier",
    "Right knowledge base first",
    "Time", "latency_p50", "latency_p95",
)  # fmt: skip
#: Mistakes, and questions gained or lost, that the terminal lists.
LISTED = 5


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of words under a title; all columns but the first hold numbers if `numbers`."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numbers: bool = True


def tables_of(report: Mapping[str, Any]) -> list[Table]:
    """What the terminal shows of a report."""
    languages = report["by_language"]
    found = [_measures("", {"all": report["all"]} | (languages if len(languages) > 1 else {}))]
    for title, key in (("By label", "by_kb"), ("By knowledge base answered from", KB)):
        if len(report[key]) > (key == KB):
            found.append(_measures(title, report[key]))
    found.append(dial(report["dial"]))
    if "chat_model" in report:
        found.append(chat_model(report["chat_model"]))
    mistakes = report["mistakes"]
    if mistakes["reasons"]:
        found += [reasons(mistakes["reasons"]), *_worst(mistakes)]
    if report["comparison"]:
        found += [comparison(report["comparison"]), *_changed(report["comparison"])]
    return found


#: Where the numbers by the knowledge base of the first entry stand.
KB = "by_knowledge_base"


def rows_of(
    groups: Mapping[str, Mapping[str, Any]], *, spans: bool = False
) -> list[tuple[str, ...]]:
    """The table of some groups: a label, then one cell a group.

    What there is nothing of is left out, but for answers: that there are none is news.

    Args:
        spans: Write the 95 % interval beside a measure.
    """
    rows: list[tuple[str, ...]] = []
    for name in ROWS:
        if (row := _row(name, groups, spans)) is not None:
            rows.append(row)
    # A heading that nothing follows says nothing.
    return [row for row, after in zip(rows, [*rows[1:], ("",)], strict=True)
            if any(row[1:]) or after[0].startswith(" ")]  # fmt: skip


def _row(name: str, groups: Mapping[str, Mapping[str, Any]], spans: bool) -> tuple[str, ...] | None:
    every = list(groups.values())
    if name in ("Confidence", "Time"):
        return (name, *("" for _ in every))
    if name == "Right knowledge base first":
        routed = [one["routed_right"] for one in every]
        known = any(one is not None for one in routed)
        return (name, *(write(one, "share") for one in routed)) if known else None
    if name in _COUNT:
        counts = [_count(one, _COUNT[name]) for one in every]
        wanted = any(counts) or name == "Answers"
        if name == "In scope" and counts == [one["in_scope"]["questions"] for one in every]:
            name = "In scope, gold known"
        return (name, *(write(one, "count") for one in counts)) if wanted else None
    values = [one["measures"][name] for one in every]
    if all(one["value"] is None for one in values):
        return None
    form = NAMED[name].form
    # The heading above it says the rest.
    label = NAMED[name].label.rpartition(": ")[2]
    return (f"  {label}", *(with_span(one, form, spans) for one in values))


def _count(measures: Mapping[str, Any], path: Sequence[str]) -> int:
    if path == ("scoped",):
        return int(
            measures["in_scope"]["questions"] + measures["in_scope_without_gold"]["questions"]
        )
    found: Any = measures
    for name in path:
        found = found[name]
    return int(found)


def write(value: float | None, form: str) -> str:
    """A number for people: "count", "share" (0 to 1, as percent), "ratio" or "number"."""
    if value is None:
        return "–"
    forms = {"count": f"{value:.0f}", "share": f"{100 * value:.1f} %", "ratio": f"{value:.3f}"}
    return forms.get(form, f"{value:.1f}")


def with_span(measure: Mapping[str, Any], form: str, spans: bool = True) -> str:
    """A measure, with its 95 % interval if it has one."""
    text = write(measure["value"], form)
    if not spans or measure["low"] is None:
        return text
    scale, digits = {"share": (100, 0), "ratio": (1, 2)}.get(form, (1, 1))
    low, high = (f"{scale * measure[end]:.{digits}f}" for end in ("low", "high"))
    return f"{text} ({low} to {high})"


def dial(rows: Sequence[Mapping[str, Any]]) -> Table:
    """What would happen at other positions of the dial."""
    columns = {
        "answered": "answered", "clarified": "asked back", "handed_off": "handed off",
        "wrong": "wrong of 100", "right_answers": "answered right",
        "out_of_scope_recall": "out of scope handed off",
    }  # fmt: skip
    known = {name: label for name, label in columns.items()
             if any(row[name] is not None for row in rows)}  # fmt: skip
    return Table(
        "What if the dial were turned? (at most N wrong in 100 answers)",
        ("dial", *known.values()),
        [
            (
                f"{row['max_wrong_percent']:g}{' (now)' if row['is_set'] else ''}",
                *(write(row[name], NAMED[name].form) for name in known),
            )
            for row in rows
        ],
    )


def chat_model(found: Mapping[str, Any]) -> Table:
    """What the chat model wrote, what of it was proved, and what it took."""
    named = ", ".join(found["models"]) or "never reached"
    taken_out = found["sentences_taken_out"]
    first = found["first_token_ms"]
    return Table(
        f"The chat model ({named})",
        ("", "all"),
        [
            ("Answers from documents", ""),
            ("  written", f"{found['written']}"),
            ("  quoted after a fault", f"{found['quoted_after_fault']}"),
            ("  quoted for want of proof", f"{found['quoted_unproved']}"),
            ("  refused by the model, handed off", f"{found['refused']}"),
            ("Sentences taken out", f"{sum(taken_out.values())}"),
            *((f"  {verdict}", f"{count}") for verdict, count in taken_out.items()),
            ("Requests", f"{found['requests']}"),
            ("  tokens of prompts", f"{found['prompt_tokens']}"),
            ("  tokens written", f"{found['completion_tokens']}"),
            ("  first token p50, ms", write(first["p50"], "number")),
            ("  first token p95, ms", write(first["p95"], "number")),
        ],
    )


def reasons(found: Sequence[Mapping[str, Any]]) -> Table:
    """Why it went wrong, how often, and what to do."""
    return Table(
        "Why it went wrong",
        ("reason", "wrong", "missed", "what to do"),
        [(one["title"], f"{one['wrong']}", f"{one['missed']}", one["advice"]) for one in found],
        numbers=False,
    )


def comparison(found: Mapping[str, Any]) -> Table:
    """Each measure then and now."""
    rows = []
    for one in found["measures"]:
        measure = NAMED[one["name"]]
        if one["old"] is None and one["new"] is None:
            continue
        rows.append(
            (measure.label, write(one["old"], measure.form), write(one["new"], measure.form),
             difference(one, measure.form), verdict(one))
        )  # fmt: skip
    return Table(
        f"Compared with {found['with']}", ("", "then", "now", "difference (95 %)", ""), rows
    )


def difference(one: Mapping[str, Any], form: str) -> str:
    """How much a measure moved, with the interval of chance."""
    if one["difference"] is None:
        return "–"
    scale, digits = {"share": (100, 1), "ratio": (1, 3)}.get(form, (1, 1))
    text = f"{scale * one['difference']:+.{digits}f}"
    if one["low"] is None:
        return text
    low, high = (f"{scale * one[end]:+.{digits}f}" for end in ("low", "high"))
    return f"{text} ({low} to {high})"


def verdict(one: Mapping[str, Any]) -> str:
    """Is a difference more than chance, and a good one? "" where chance explains it."""
    better = NAMED[one["name"]].better
    if one["low"] is None or one["low"] <= 0 <= one["high"]:
        return ""
    if better == "neither":
        return "changed"
    return "better" if (one["low"] > 0) == (better == "higher") else "worse"


def mcnemar_lines(found: Mapping[str, Any]) -> list[str]:
    """The paired tests, a sentence each."""
    return [
        f"{NAMED[name].label}: {one['gained']} gained, {one['lost']} lost,"
        f" McNemar exact p = {one['p']:.3g}"
        for name, one in found["mcnemar"].items()
    ]


def _measures(title: str, groups: Mapping[str, Mapping[str, Any]]) -> Table:
    return Table(title, ("", *groups), rows_of(groups))


def _worst(mistakes: Mapping[str, Any]) -> list[Table]:
    tables = []
    for sort, first, title in (
        ("wrong", "answered", "Wrong answers, the worst first"),
        ("missed", "nearest", "Missed questions, the nearest first"),
    ):
        groups = mistakes[sort][:LISTED]
        if groups:
            more = mistakes[f"{sort}_groups"] - len(groups)
            rest = f" ({more} more in --html and --report)" if more else ""
            rows = [
                (
                    f"{group['count']} × {group['questions'][0]['text']}",
                    _named(group[first]),
                    " / ".join(map(_named, group["right"])) or right_words(group),
                    f"{group['questions'][0]['confidence']:.2f}",
                    group["title"],
                )
                for group in groups
            ]
            columns = ("question", first, "right", "sure", "why")
            tables.append(Table(title + rest, columns, rows, numbers=False))
    return tables


def right_words(group: Mapping[str, Any]) -> str:
    """What stands in place of the right entry where there is none."""
    return "out of scope" if group["in_scope"] is False else "not in the knowledge"


def _named(entry: Mapping[str, str] | None) -> str:
    return f"{entry['id']}: {entry['name'][:60]}" if entry else "nothing"


def _changed(found: Mapping[str, Any]) -> list[Table]:
    tables = []
    for sort in ("gained", "lost"):
        rows = [
            (
                one["text"],
                *(f"{one[at]['decision']} {one[at]['first'] or '–'}" for at in ("old", "new")),
            )
            for one in found[sort][:LISTED]
        ]
        if rows:
            title = f"{sort.capitalize()}: {found['mcnemar']['right_decision'][sort]}"
            tables.append(Table(title, ("question", "then", "now"), rows, numbers=False))
    return tables
