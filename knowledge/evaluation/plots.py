"""Plots as inline SVG: no script, readable in light and dark, with words for those who listen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 28, 44
#: Points of a curve beyond which no eye sees a difference.
_POINTS = 400


def risk_coverage(points: Sequence[Mapping[str, float]], dial: Sequence[Mapping[str, Any]]) -> str:
    """How many would be wrong if only the surest were answered."""
    kept = points[:: max(len(points) // _POINTS, 1)]
    kept = [*kept, points[-1]] if points and kept[-1] != points[-1] else kept
    top = _round_up(max((one["risk"] for one in kept), default=1.0))
    plot = _Plot(top)
    line = "".join(
        f"{'L' if place else 'M'}{plot.at(one['coverage'], one['risk'])}"
        for place, one in enumerate(kept)
    )
    drawn = f'<path class="curve" d="{line}"/>' if line else ""
    said = _sentence(points, dial)
    return plot.drawn(
        "risk-coverage", "Risk and coverage", said, drawn,
        across="share of questions answered, the surest first", up="of these, wrong",
    )  # fmt: skip


def reliability(bins: Sequence[Mapping[str, float]], error: float | None) -> str:
    """Share right over confidence: on the dashed line it means what it says."""
    plot = _Plot(1.0)
    ideal = f'<path class="ideal" d="M{plot.at(0, 0)}L{plot.at(1, 1)}"/>'
    line = "".join(
        f"{'L' if place else 'M'}{plot.at(one['confidence'], one['right'])}"
        for place, one in enumerate(bins)
    )
    whiskers = "".join(
        f'<path class="whisker" d="M{plot.at(one["confidence"], one["low"])}'
        f'L{plot.at(one["confidence"], one["high"])}"/>'
        for one in bins
    )
    dots = "".join(
        f'<circle class="dot" cx="{plot.x(one["confidence"])}" cy="{plot.y(one["right"])}" r="4">'
        f"<title>{one['count']} questions: confidence {one['confidence']:.2f},"
        f" right {one['right']:.2f}</title></circle>"
        for one in bins
    )
    curve = f'<path class="curve" d="{line}"/>' if line else ""
    said = "" if error is None else f"Calibration error {error:.3f}. "
    said += "Above the dashed line it is too modest, below it too sure; whiskers are 95 %."
    return plot.drawn(
        "reliability", "Reliability", said, ideal + whiskers + curve + dots,
        across="confidence", up="share right",
    )  # fmt: skip


def histogram(bins: Sequence[Mapping[str, float]]) -> str:
    """How many right and wrong first entries lie at each confidence."""
    most = max((one["right"] + one["wrong"] for one in bins), default=0)
    plot = _Plot(_round_up(most), counts=True)
    bars = []
    for one in bins:
        for kind, low, high in (
            ("right", 0, one["right"]),
            ("wrong", one["right"], one["right"] + one["wrong"]),
        ):
            if high > low:
                bars.append(
                    f'<rect class="{kind}" x="{plot.x(one["from"]) + 1:.1f}" y="{plot.y(high)}"'
                    f' width="{plot.x(one["to"]) - plot.x(one["from"]) - 2:.1f}"'
                    f' height="{plot.y(low) - plot.y(high):.1f}"><title>confidence'
                    f" {one['from']:.2f} to {one['to']:.2f}: {high - low} {kind}</title></rect>"
                )
    legend = _legend((("right", "first entry right"), ("wrong", "first entry wrong")))
    said = "Good confidence has the right ones on the right and the wrong ones on the left."
    return plot.drawn(
        "histogram", "Where confidence lies", said, "".join(bars) + legend,
        across="confidence", up="questions",
    )  # fmt: skip


def dial(rows: Sequence[Mapping[str, Any]]) -> str:
    """What is answered, and what is wrong of it, at each position of the dial."""
    known = [row for row in rows if row["answered"] is not None]
    most = max((row["max_wrong_percent"] for row in known), default=1.0)
    plot = _Plot(1.0, across_to=_round_up(most))
    now = "".join(
        f'<path class="ideal" d="M{plot.at(row["max_wrong_percent"], 0)}'
        f'L{plot.at(row["max_wrong_percent"], 1)}"/>'
        for row in known
        if row["is_set"]
    )
    lines = "".join(
        _line(plot, kind, [(row["max_wrong_percent"], scale * (row[name] or 0)) for row in known])
        for kind, name, scale in (("right", "answered", 1), ("wrong", "wrong", 0.01))
    )
    legend = _legend((("right", "answered"), ("wrong", "wrong of these")))
    said = "Further right the bot answers more and errs more; the dashed line is the dial now."
    return plot.drawn(
        "dial", "The dial", said, now + lines + legend,
        across="dial: at most so many wrong in 100 answers", up="share",
    )  # fmt: skip


def _line(plot: _Plot, kind: str, points: Sequence[tuple[float, float]]) -> str:
    path = "".join(f"{'L' if at else 'M'}{plot.at(*point)}" for at, point in enumerate(points))
    dots = "".join(
        f'<circle class="{kind}" cx="{plot.x(across)}" cy="{plot.y(up)}" r="3.5">'
        f"<title>dial {across:g}: {100 * up:.1f} %</title></circle>"
        for across, up in points
    )
    return f'<path class="{kind} line" d="{path}"/>{dots}' if path else ""


def _legend(entries: Iterable[tuple[str, str]]) -> str:
    return "".join(
        f'<rect class="{kind}" x="{_LEFT + 120 + 140 * place}" y="8" width="10" height="10"/>'
        f'<text x="{_LEFT + 134 + 140 * place}" y="17">{escape(label)}</text>'
        for place, (kind, label) in enumerate(entries)
    )


def _sentence(points: Sequence[Mapping[str, float]], dial: Sequence[Mapping[str, Any]]) -> str:
    """What the curve says at two places, in words."""
    said = []
    for wanted in (0.5, 0.8):
        near = next((one for one in points if one["coverage"] >= wanted), None)
        if near:
            said.append(f"{100 * near['risk']:.1f} % wrong among the surest {100 * wanted:.0f} %")
    now = next((row for row in dial if row["is_set"] and row["answered"] is not None), None)
    if now:
        said.append(f"the dial now answers {100 * now['answered']:.0f} % of what is in scope")
    return "; ".join(said)[:1].upper() + "; ".join(said)[1:] + "." if said else ""


def _round_up(value: float) -> float:
    """The next round number, so that an axis has room and plain labels."""
    for step in (0.05, 0.1, 0.2, 0.5, 1):
        if value <= step:
            return step
    power = 10.0 ** (len(str(int(value))) - 1)
    return next(size * power for size in (1, 2, 5, 10) if value <= size * power)


class _Plot:
    """A frame whose axes begin at 0."""

    def __init__(self, top: float, *, across_to: float = 1.0, counts: bool = False) -> None:
        self._top, self._across_to, self._counts = top, across_to, counts

    def x(self, across: float) -> float:
        return round(_LEFT + across / self._across_to * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, up: float) -> float:
        return round(_HEIGHT - _BOTTOM - up / self._top * (_HEIGHT - _TOP - _BOTTOM), 1)

    def at(self, across: float, up: float) -> str:
        return f"{self.x(across)} {self.y(up)}"

    def drawn(self, name: str, title: str, said: str, inside: str, *, across: str, up: str) -> str:
        """The figure; title and description are what a screen reader reads."""
        return (
            f'<figure data-testid="{name}"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
            f' aria-labelledby="{name}-title {name}-said">'
            f'<title id="{name}-title">{escape(title)}</title>'
            f'<desc id="{name}-said">{escape(said)}</desc>{"".join(self._axes())}{inside}'
            f'<text x="{(_WIDTH + _LEFT) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">'
            f'{escape(across)}</text><text x="{_LEFT}" y="17">{escape(up)}</text></svg>'
            f"<figcaption><b>{escape(title)}.</b> {escape(said)}</figcaption></figure>"
        )

    def _axes(self) -> Iterable[str]:
        for step in range(6):
            across, up = step / 5 * self._across_to, step / 5 * self._top
            tall = f"{up:g}" if self._counts else f"{100 * up:.3g} %"
            wide = f"{across:g}" if self._across_to > 1 else f"{across:.1f}"
            yield f'<path class="axis" d="M{self.at(0, up)}L{self.at(self._across_to, up)}"/>'
            yield f'<text x="{_LEFT - 6}" y="{self.y(up) + 4}" text-anchor="end">{tall}</text>'
            middle = f'x="{self.x(across)}" y="{self.y(0) + 16}" text-anchor="middle"'
            yield f"<text {middle}>{wide}</text>"
