"""The losses of a tuning as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw_losses(looks: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> bool:
    """Draw the losses of `progress.read_losses` as PNG; False: there is nothing to draw."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Without pyplot: it looks for a screen, and keeps every figure.
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    drawn = False
    for name, label, style in (
        ("loss", "learned examples", "-"),
        ("validation_loss", "validation", "o-"),
    ):
        points = [(look["step"], look[name]) for look in looks if look.get(name) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label, markersize=4)
            drawn = True
    if not drawn:
        return False
    axes.set(title=title, xlabel="step", ylabel="loss")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    return True
