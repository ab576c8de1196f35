"""Reads the text in pictures, Chinese and English (RapidOCR, PP-OCRv6 models in its wheel)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text in a picture."""

    text: str
    #: 0 to 1, as the recogniser gives it.
    confidence: float
    #: left, top, right, bottom in pixels of the upright picture.
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Recognised:
    """What was read in a picture, in reading order."""

    lines: tuple[Line, ...]
    #: Degrees (0, 90, 180 or 270) by which the picture was turned clockwise to stand upright.
    turned: int = 0


def recognise(image: NDArray[np.uint8]) -> Recognised:
    """Read a picture (height × width × RGB), whichever way it lies. Takes seconds."""
    raise NotImplementedError
