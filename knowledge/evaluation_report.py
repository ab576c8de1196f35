"""An evaluation as one self-contained HTML page: tables, two plots, and the wrong answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

#: (label, where it stands in the measures, how it is written)
ROWS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("Questions", ("questions",), "count"),
    ("In scope, gold known", ("in_scope", "questions"), "count"),
    ("  right entry first (hit@1)", ("in_scope", "hit_at_1"), "share"),
    ("  right entry in the first 5 (hit@5)", ("in_scope", "hit_at_5"), "share"),
    ("  answered right", ("in_scope", "answered_right"), "share"),
    ("  clarified, right one offered", ("in_scope", "clarified_with_gold"), "share"),
    ("  clarified, right one missing", ("in_scope", "clarified_without_gold"), "share"),
    ("  handed off", ("in_scope", "handed_off"), "share"),
    ("  answered wrong", ("in_scope", "answered_wrong"), "share"),
    ("In scope, gold not known", ("in_scope_without_gold", "questions"), "count"),
    ("  answered", ("in_scope_without_gold", "answered"), "share"),
    ("  clarified", ("in_scope_without_gold", "clarified"), "share"),
    ("  handed off", ("in_scope_without_gold", "handed_off"), "share"),
    ("Out of scope", ("out_of_scope", "questions"), "count"),
    ("  handed off", ("out_of_scope", "handed_off"), "share"),
    ("  clarified", ("out_of_scope", "clarified"), "share"),
    ("  answered (wrong)", ("out_of_scope", "answered"), "share"),
    ("Answers", ("answers",), "count"),
    ("  wrong per 100 answers", ("wrong_per_100_answers",), "number"),
    ("AUROC of confidence, first entry right", ("auroc_right",), "ratio"),
    ("AUROC of confidence, in scope", ("auroc_in_scope",), "ratio"),
    ("Brier score", ("brier",), "ratio"),
    ("Calibration error", ("calibration_error",), "ratio"),
    ("Right knowledge base first", ("routed_right",), "share"),
    ("Latency p50, ms", ("latency_ms", "p50"), "number"),
    ("Latency p95, ms", ("latency_ms", "p95"), "number"),
)
_WIDTH, _HEIGHT, _MARGIN = 460, 320, 48
_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--line:#d8dee6;--page:#fff;
--curve:#1660c4;--fill:#9cc2f5}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf1;--soft:#a0abb9;--line:#39424e;
--page:#14181d;--curve:#79b0ff;--fill:#2d5a96}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);
max-width:64rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}p{color:var(--soft)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{text-align:right;padding:.3rem .6rem;border-bottom:1px solid var(--line);
vertical-align:top;font-variant-numeric:tabular-nums}
th:first-child,td:first-child,.words th,.words td{text-align:left}
td:first-child{white-space:pre-wrap}.words td{overflow-wrap:anywhere;white-space:pre-wrap}
thead th{color:var(--soft);font-weight:600}.plots{display:flex;flex-wrap:wrap;gap:1.5rem}
figure{margin:0;flex:1 1 22rem}figcaption{color:var(--soft);font-size:.88rem}svg{width:100%}
svg text{fill:var(--soft);font:12px system-ui,sans-serif}
.axis{stroke:var(--line)}.ideal{stroke:var(--soft);stroke-dasharray:4 4}
.curve{stroke:var(--curve);fill:none;stroke-width:2}.bar{fill:var(--fill);stroke:var(--curve)}
"""


def rows_of(groups: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The table of some groups: a label, then one cell a group.

    What there is nothing of is left out, but for answers: that there are none is news.
    """
    rows: list[tuple[str, ...]] = []
    for label, path, form in ROWS:
        values = [_at(measures, path) for measures in groups.values()]
        if all(value is None for value in values):
            continue
        if form == "count" and path != ("answers",) and not any(values):
            continue
        rows.append((label, *(write(value, form) for value in values)))
    return rows


def write(value: float | None, form: str) -> str:
    """A number for people: "count", "share" (0 to 1, as percent), "ratio" or "number"."""
    if value is None:
        return "–"
    forms = {"count": f"{value:.0f}", "share": f"{100 * value:.1f} %", "ratio": f"{value:.3f}"}
    return forms.get(form, f"{value:.1f}")


def html_of(report: Mapping[str, Any]) -> str:
    """The page. Everything that came from questions or documents is escaped."""
    known = ", ".join(f"{one['name']} ({one['documents']})" for one in report["knowledge"])
    intro = (
        f"{report['questions']} questions, asked of {known}; at most"
        f" {report['max_wrong_percent']:g} of 100 answers were to be wrong."
    )
    languages = report["by_language"]
    body = [
        f"<h1>kfbot evaluation</h1><p>{escape(intro)}</p>",
        _table({"all": report["all"], **(languages if len(languages) > 1 else {})}),
    ]
    if report["unknown_gold_ids"]:
        body.append(f"<p>{report['unknown_gold_ids']} gold ids are not in the knowledge.</p>")
    if report["by_kb"]:
        body.append(f"<h2>By label</h2>{_table(report['by_kb'])}")
    body += [
        '<h2>Can its confidence be trusted?</h2><div class="plots">',
        _risk_coverage(report["risk_coverage"]),
        _reliability(report["reliability"]),
        "</div>",
        _wrong_answers(report["wrong_answers"]),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>kfbot evaluation</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _at(measures: Mapping[str, Any], path: Sequence[str]) -> float | None:
    found: Any = measures
    for name in path:
        found = found[name]
    value: float | None = found
    return value


def _table(groups: Mapping[str, Mapping[str, Any]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", *groups))
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows_of(groups)
    )
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _wrong_answers(wrong: Sequence[Mapping[str, Any]]) -> str:
    if not wrong:
        return "<h2>Wrong answers</h2><p>None.</p>"
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{escape(str(cell))}</td>"
            for cell in (
                one["text"],
                f"{one['answered_from']}\n{one['answer']}",
                "\n".join(one["gold_ids"]) or "out of scope",
                f"{one['confidence']:.2f}",
            )
        )
        + "</tr>"
        for one in wrong
    )
    head = "".join(f"<th>{name}</th>" for name in ("Question", "Answered", "Right", "Confidence"))
    return (
        f"<h2>Wrong answers ({len(wrong)})</h2>"
        f'<div class="wide"><table class="words"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


# Plots: both axes from 0 to 1


def _risk_coverage(points: Sequence[Mapping[str, float]]) -> str:
    # Risk stays as it is until the next question is taken in.
    path = "".join(
        f"{'L' if place else 'M'}{_x(point['coverage'])} {_y(point['risk'])}"
        for place, point in enumerate(points)
    )
    drawn = f'<path class="curve" d="{path}"/>' if path else ""
    return _plot(
        "risk-coverage",
        drawn,
        across="questions answered, the surest first",
        up="of these, wrong",
        caption="Risk and coverage: how many answers would be wrong if only the surest were given.",
    )


def _reliability(bins: Sequence[Mapping[str, float]]) -> str:
    bars = "".join(
        f'<rect class="bar" x="{_x(one["from"])}" y="{_y(one["right"])}"'
        f' width="{_x(one["to"]) - _x(one["from"]):.1f}"'
        f' height="{_y(0) - _y(one["right"]):.1f}">'
        f"<title>{one['count']} questions, confidence {one['confidence']:.2f},"
        f" right {one['right']:.2f}</title></rect>"
        for one in bins
    )
    ideal = f'<path class="ideal" d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}"/>'
    return _plot(
        "reliability",
        bars + ideal,
        across="confidence",
        up="right",
        caption="Reliability: bars that end at the dashed line mean what they say.",
    )


def _plot(name: str, drawn: str, *, across: str, up: str, caption: str) -> str:
    return (
        f'<figure data-testid="{name}"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        f' aria-label="{escape(caption)}">{"".join(_axes())}{drawn}'
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{across}</text>'
        f'<text x="{_MARGIN}" y="16">{up}</text></svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _axes() -> Iterable[str]:
    for step in range(6):
        at = step / 5
        yield f'<path class="axis" d="M{_x(0)} {_y(at)}L{_x(1)} {_y(at)}"/>'
        yield f'<text x="{_MARGIN - 6}" y="{_y(at) + 4}" text-anchor="end">{at:.1f}</text>'
        yield f'<text x="{_x(at)}" y="{_y(0) + 16}" text-anchor="middle">{at:.1f}</text>'


def _x(share: float) -> float:
    return round(_MARGIN + share * (_WIDTH - _MARGIN - 16), 1)


def _y(share: float) -> float:
    return round(_HEIGHT - _MARGIN - share * (_HEIGHT - _MARGIN - 28), 1)
