"""An evaluation as one self-contained HTML page: figures, plots, and what to do about mistakes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from knowledge.evaluation import plots, tables
from knowledge.evaluation.measures import MEASURES
from knowledge.evaluation.style import STYLE
from knowledge.evaluation.tables import Table

#: Groups of mistakes that stand open.
_OPEN = 3
#: The figures that stand first: (measure, what it is called there).
_KEY_FIGURES = (
    ("right_decision", "decided right"),
    ("wrong", "wrong in 100 answers"),
    ("answered", "of what is in scope answered"),
    ("hit@1", "right entry first"),
    ("out_of_scope_recall", "out of scope, handed off"),
)
_NAVIGATION = (
    '<nav><a href="#dial">The dial</a> <a href="#confidence">Confidence</a>'
    ' <a href="#mistakes">Mistakes</a> <a href="#numbers">All numbers</a></nav>'
)


def html_of(report: Mapping[str, Any]) -> str:
    """The page. Everything that came from questions or documents is escaped."""
    parts = [
        *_head(report),
        *_comparison(report["comparison"]),
        *_dial(report["dial"], "chat_model" in report),
        *_chat_model(report.get("chat_model")),
        *_confidence(report),
        *_mistakes(report["mistakes"]),
        *_numbers(report),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>kfbot evaluation</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _head(report: Mapping[str, Any]) -> Iterable[str]:
    known = ", ".join(f"{one['name']} ({one['documents']})" for one in report["knowledge"])
    yield (
        f"<h1>kfbot evaluation</h1><p>{report['questions']} questions, asked of {escape(known)};"
        f" at most {report['max_wrong_percent']:g} of 100 answers were to be wrong."
        " In brackets: the 95 % interval, how far another sample of such questions may differ.</p>"
    )
    if report["unknown_gold_ids"]:
        yield f'<p class="bad">{report["unknown_gold_ids"]} gold ids are not in the knowledge.</p>'
    yield '<ul class="figures">'
    measures, forms = report["all"]["measures"], {one.name: one.form for one in MEASURES}
    for name, label in _KEY_FIGURES:
        if measures[name]["value"] is not None:
            value, _, span = tables.with_span(measures[name], forms[name]).partition(" (")
            small = f"<small>({span}</small>" if span else ""
            yield f"<li><b>{value}</b>{small}<span>{label}</span></li>"
    yield "</ul>"
    yield _NAVIGATION
    if report["require"]:
        yield "<h2>What was required</h2>"
        rows = [
            (
                one["demand"],
                "–" if one["value"] is None else f"{one['value']:.4g}",
                "met" if one["met"] else "MISSED",
            )
            for one in report["require"]
        ]
        yield _table(Table("", ("demand", "measured", ""), rows))


def _dial(rows: Sequence[Mapping[str, Any]], is_written: bool) -> Iterable[str]:
    yield '<h2 id="dial">What if the dial were turned?</h2>'
    yield (
        "<p>Computed from what was found; nothing was asked again. Set it with"
        " <code>[decision] max_wrong_percent</code>."
    )
    yield " No chat model had a say at any but the one in force.</p>" if is_written else "</p>"
    yield f'<div class="plots">{plots.dial(rows)}{_table(tables.dial(rows))}</div>'


def _chat_model(found: Mapping[str, Any] | None) -> Iterable[str]:
    if found is None:
        return
    table = tables.chat_model(found)
    yield f'<h2 id="chat-model">{escape(table.title)}</h2>'
    yield (
        "<p>What it wrote from documents, sentence by sentence compared with them; FAQ entries"
        " are answered in their own words.</p>"
    )
    yield _table(table)


def _comparison(found: Mapping[str, Any] | None) -> Iterable[str]:
    if found is None:
        return
    yield f"<h2 id='comparison'>Compared with {escape(found['with'])}</h2>"
    yield (
        "<p>The interval is of a paired bootstrap over the questions: where it holds 0, chance"
        " explains the difference.</p>"
    )
    yield "".join(f"<p>{escape(line)}.</p>" for line in tables.mcnemar_lines(found))
    yield _table(tables.comparison(found))
    for sort in ("gained", "lost"):
        if found[sort]:
            rows = [
                (one["text"], _outcome(one["old"]), _outcome(one["new"])) for one in found[sort]
            ]
            every = found["mcnemar"]["right_decision"][sort]
            table = _table(Table("", ("question", "then", "now"), rows, numbers=False))
            yield f"<details><summary>{sort.capitalize()}: {every}</summary>{table}</details>"


def _outcome(one: Mapping[str, Any]) -> str:
    return f"{one['decision']} ({one['confidence']:.2f})\n{one['first'] or '–'}"


def _mistakes(found: Mapping[str, Any]) -> Iterable[str]:
    yield '<h2 id="mistakes">What went wrong, and what to do</h2>'
    if not found["reasons"]:
        yield "<p>Nothing: no wrong answer, and no question missed.</p>"
        return
    yield _table(tables.reasons(found["reasons"]))
    for sort, title, intro in (
        ("wrong", "Wrong answers", "Entries that were mixed up, the worst first."),
        ("missed", "Missed questions", "In scope, but neither answered nor offered."),
    ):  # fmt: skip
        count = sum(one[sort] for one in found["reasons"])
        yield f'<h3 id="{sort}">{title} ({count})</h3><p>{intro if count else "None."}</p>'
        yield "".join(_group(group, at < _OPEN) for at, group in enumerate(found[sort]))
        if (more := found[f"{sort}_groups"] - len(found[sort])) > 0:
            yield f"<p>{more} more groups are not listed.</p>"


def _group(group: Mapping[str, Any], is_open: bool) -> str:
    first = group["answered"] if "answered" in group else group["nearest"]
    label = "answered from" if "answered" in group else "nearest"
    rights = group["right"]
    # What came first was right, but not sure enough: once is enough.
    is_first = first is not None and any(one["id"] == first["id"] for one in rights)
    entries = [_entry("right, and first", first)] if is_first else [_entry(label, first)]
    if not is_first:
        entries += [_entry("right", one) for one in rights]
        if not rights:
            entries.append(
                f'<div class="entry"><h4>right</h4><p>{tables.right_words(group)}</p></div>'
            )
    questions = "".join(map(_question, group["questions"]))
    more = group["count"] - len(group["questions"])
    rest = f"<li>and {more} more</li>" if more else ""
    text = escape(group["questions"][0]["text"])
    return (
        f'<details class="group"{" open" if is_open else ""}><summary>'
        f"<b>{group['count']} ×</b> {text} <i>{escape(group['title'])}</i></summary>"
        f"<ul>{questions}{rest}</ul><div class='entries'>{''.join(entries)}</div>"
        f'<p class="advice">{escape(group["advice"])}</p></details>'
    )


def _question(one: Mapping[str, Any]) -> str:
    facts = [f"{one['decision']}, confidence {one['confidence']:.2f}", one["detail"]]
    signals = f" What counted: {'; '.join(one['signals'])}." if one["signals"] else ""
    said = "; ".join(filter(None, facts))
    return f"<li>{escape(one['text'])} <small>{escape(said)}.{escape(signals)}</small></li>"


def _entry(label: str, entry: Mapping[str, str] | None) -> str:
    if entry is None:
        return f'<div class="entry"><h4>{label}</h4><p>nothing was found</p></div>'
    return (
        f'<div class="entry"><h4>{label}: <code>{escape(entry["id"])}</code>'
        f" in {escape(entry['knowledge_base'])}</h4><b>{escape(entry['name'])}</b>"
        f"<p>{escape(entry['text']) or '<i>an empty answer</i>'}</p></div>"
    )


def _confidence(report: Mapping[str, Any]) -> Iterable[str]:
    points, bins = report["risk_coverage"], report["reliability_by_mass"]
    if not points:
        return
    error = report["all"]["measures"]["ece"]["value"]
    yield '<h2 id="confidence">Can its confidence be trusted?</h2><div class="plots">'
    yield plots.risk_coverage(points, report["dial"])
    yield plots.reliability(bins, error)
    yield plots.histogram(report["histogram"])
    yield "</div>"
    yield _numbers_behind(
        "Risk and coverage in numbers",
        ("answered", "wrong", "from confidence"),
        [
            (f"{100 * one['coverage']:.0f} %", f"{100 * one['risk']:.1f} %",
             f"{one['confidence']:.3f}")
            for one in _tenths(points)
        ],
    )  # fmt: skip
    yield _numbers_behind(
        "Reliability in numbers",
        ("confidence", "questions", "mean", "right"),
        [
            (f"{one['from']:.2f} to {one['to']:.2f}", f"{one['count']}",
             f"{one['confidence']:.2f}", f"{one['right']:.2f}")
            for one in bins
        ],
    )  # fmt: skip


def _tenths(points: Sequence[Mapping[str, float]]) -> list[Mapping[str, float]]:
    """The points where each tenth of the questions is reached."""
    found = []
    for tenth in range(1, 11):
        found.append(next(one for one in points if one["coverage"] >= tenth / 10 - 1e-9))
    return found


def _numbers_behind(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    table = _table(Table("", columns, rows))
    return f"<details><summary>{title}</summary>{table}</details>"


def _numbers(report: Mapping[str, Any]) -> Iterable[str]:
    languages = report["by_language"]
    yield '<h2 id="numbers">All numbers</h2>'
    yield _groups({"all": report["all"], **(languages if len(languages) > 1 else {})})
    if report["by_kb"]:
        yield f"<h3>By label</h3>{_groups(report['by_kb'])}"
    if len(report[tables.KB]) > 1:
        yield f"<h3>By knowledge base answered from</h3>{_groups(report[tables.KB])}"
    meanings = "".join(
        f"<dt><code>{one.name}</code> {escape(one.label)}</dt><dd>{escape(one.meaning)}</dd>"
        for one in MEASURES
    )
    yield f"<details><summary>What each measure means</summary><dl>{meanings}</dl></details>"


def _groups(groups: Mapping[str, Mapping[str, Any]]) -> str:
    return _table(Table("", ("", *groups), tables.rows_of(groups, spans=True)))


def _table(table: Table) -> str:
    kind = "" if table.numbers else ' class="words"'
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{_cell(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in table.rows
    )
    # A wide table is scrolled by itself, and by the keyboard too.
    return (
        f'<div class="wide" tabindex="0" role="group" aria-label="table"><table{kind}>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(text: str) -> str:
    """A number's interval stands small beside it; a verdict has its colour."""
    classes = {"better": "good", "met": "good", "worse": "bad", "MISSED": "bad"}
    if text in classes:
        return f'<span class="{classes[text]}">{text}</span>'
    value, mark, span = text.partition(" (")
    if mark and span.endswith(")") and " to " in span:
        return f"{escape(value)} <small>({escape(span)}</small>"
    return escape(text)
