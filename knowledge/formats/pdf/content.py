"""What stands on a page of a PDF: words, ruling lines and images, in points from its top left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle on the upright page, in points from its top left corner."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Left to right."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Top to bottom."""
        return self.bottom - self.top

    @property
    def middle(self) -> tuple[float, float]:
        """The point in its middle."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def holds(self, point: tuple[float, float]) -> bool:
        """Whether a point lies in it."""
        return self.left <= point[0] <= self.right and self.top <= point[1] <= self.bottom


def around(boxes: Iterable[Box]) -> Box:
    """The smallest box that holds these, which are at least one."""
    every = list(boxes)
    return Box(
        min(box.left for box in every),
        min(box.top for box in every),
        max(box.right for box in every),
        max(box.bottom for box in every),
    )


@dataclass(slots=True)
class Word:
    """A run of characters without a gap."""

    text: str
    box: Box
    #: Font size in points as it is seen.
    size: float
    bold: bool = False
    #: The web address that it leads to.
    link: str = ""
    #: A space stands before it.
    spaced: bool = True
    #: Its line runs from left to right.
    upright: bool = True


@dataclass(slots=True)
class Segment:
    """Words of one line that stand near one another."""

    words: list[Word]
    box: Box
    size: float
    bold: bool


@dataclass(slots=True)
class Content:
    """One page."""

    #: From 1.
    number: int
    width: float
    height: float
    words: list[Word] = field(default_factory=list)
    #: Straight lines, level or upright; thinner than a letter.
    rulings: list[Box] = field(default_factory=list)
    images: list[Box] = field(default_factory=list)
    #: Degrees clockwise by which the page was turned so that its text stands upright.
    turn: int = 0
    #: The words were recognised, their sizes are estimates.
    recognised: bool = False
    #: Slanted words that were left out.
    slanted: int = 0
    #: Characters that the file maps to nothing.
    unmapped: int = 0
