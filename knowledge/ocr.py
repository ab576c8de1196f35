"""Reads the text in pictures, Chinese and English (RapidOCR, PP-OCRv6 models in its wheel)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from knowledge.picture_layout import (
    Block,
    Box,
    Piece,
    drop_strokes,
    find_blocks,
    join_lines,
    tidy,
    widen_marks,
)

if TYPE_CHECKING:
    from rapidocr import RapidOCR

_Picture = NDArray[np.uint8]
#: Four corners of a line, from the top left clockwise: 4 × 2.
_Corners = NDArray[np.float32]

# Detection costs time and memory by the pixel: at 1280 half a second and 0.4 GB on one core, at
# 2000 two and a half seconds and 0.8 GB. Print of 7 points is 11 pixels high at 1280 on A4.
_DETECTED_SIDE = 1280
# A long picture is cut into pieces, at rows without text where there are any.
_LONGEST_PIECE = 1.6
_BORDER = 16
_SMALLEST_SIDE = 8
_READ_HEIGHT = 48
# In heights of the line.
_MARGIN = 0.15
_LEAST_CONFIDENCE = 0.5
_SAMPLE_LINES = 6
# Upside down, few lines are read with more confidence than this.
_SURE = 0.97
_DARK = 110


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text in a picture."""

    text: str
    #: 0 to 1, as the recogniser gives it.
    confidence: float
    #: left, top, right, bottom in pixels of the upright picture, its skew corrected.
    box: Box


@dataclass(frozen=True, slots=True)
class Recognised:
    """What was read in a picture, in reading order."""

    lines: tuple[Line, ...]
    #: Degrees (0, 90, 180 or 270) by which the picture was turned clockwise to stand upright.
    turned: int = 0

    @property
    def confidence(self) -> float:
        """The mean over the characters, 0 to 1; 0 when nothing was read."""
        chars = sum(len(line.text) for line in self.lines)
        return sum(line.confidence * len(line.text) for line in self.lines) / max(chars, 1)


def recognise(image: NDArray[np.uint8]) -> Recognised:
    """Read a picture (height × width × RGB), whichever way it lies. Takes seconds."""
    if min(image.shape[:2]) < _SMALLEST_SIDE:
        return Recognised(())
    picture = _prepared(image)
    corners = _detect(picture)
    if not corners:
        return Recognised(())
    picture, corners, turned = _upright(picture, corners)
    readings = _read_lines(picture, corners)
    slope = _slope(corners)
    lines = []
    texts = widen_marks([tidy(text) for text, _ in readings])
    for text, (_, confidence), quad in zip(texts, readings, corners, strict=True):
        if text and confidence >= _LEAST_CONFIDENCE:
            lines.append(Line(text, confidence, _level_box(quad, slope, picture)))
    ordered = [
        lines[piece.number]
        for block in find_blocks(drop_strokes(_pieces_of(lines)))
        for row in block.rows
        for cell in row
        for piece in cell
    ]
    return Recognised(tuple(ordered), turned)


def as_text(recognised: Recognised) -> str:
    """Paragraphs between blank lines, each on one line; tables as CommonMark."""
    blocks = find_blocks(_pieces_of(recognised.lines))
    return "\n\n".join(_block_text(block) for block in blocks)


def _pieces_of(lines: Sequence[Line]) -> list[Piece]:
    return [Piece(line.text, line.box, number) for number, line in enumerate(lines)]


def _block_text(block: Block) -> str:
    # Formats that hold pictures import this module.
    from knowledge.formats.tables import table_text

    rows = [[join_lines(piece.text for piece in cell) for cell in row] for row in block.rows]
    return table_text(rows) if len(rows) > 1 else " | ".join(cell for cell in rows[0] if cell)


@cache
def _engine() -> RapidOCR:
    """The models, made when first needed; one core, as customers are answered meanwhile."""
    import logging

    from rapidocr import RapidOCR

    engine = RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.max_side_len": 1 << 20,
            "Global.min_side_len": 1,
            # Lines read together are padded to the longest: more memory, and no faster.
            "Rec.rec_batch_num": 1,
            "Det.limit_type": "max",
            "Det.limit_side_len": _DETECTED_SIDE * 2,
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )
    logging.getLogger("RapidOCR").handlers.clear()
    return engine


def _prepared(image: _Picture) -> _Picture:
    """The picture in the order that the models want (BGR), dark text on light, with a border."""
    picture = np.ascontiguousarray(image[:, :, ::-1])
    if np.median(picture[::4, ::4]) < _DARK:
        picture = 255 - picture
    height, width, _ = picture.shape
    framed = np.empty((height + 2 * _BORDER, width + 2 * _BORDER, 3), np.uint8)
    framed[:] = np.median(picture[::4, ::4], axis=(0, 1))
    framed[_BORDER:-_BORDER, _BORDER:-_BORDER] = picture
    return framed


def _detect(picture: _Picture) -> list[_Corners]:
    """The corners of all lines."""
    import cv2

    height, width = picture.shape[:2]
    scale = min(1.0, _DETECTED_SIDE / _LONGEST_PIECE / min(height, width))
    if max(height, width) <= min(height, width) * _LONGEST_PIECE:
        scale = min(1.0, _DETECTED_SIDE / max(height, width))
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = []
    for left, top, piece in _pieces(np.asarray(small, np.uint8)):
        result: Any = _engine()(piece, use_det=True, use_cls=False, use_rec=False)
        for quad in [] if result.boxes is None else result.boxes:
            found.append(((quad + np.array([left, top])) / scale).astype(np.float32))
    return found


def _pieces(picture: _Picture) -> list[tuple[int, int, _Picture]]:
    """Pieces that are not long, each with where its left and top are."""
    height, width = picture.shape[:2]
    if max(height, width) <= _DETECTED_SIDE:
        return [(0, 0, picture)]
    if height >= width:
        cuts = _quiet_cuts(picture)
        return [(0, top, picture[top:end]) for top, end in cuts]
    cuts = _quiet_cuts(picture.transpose(1, 0, 2))
    return [(left, 0, np.ascontiguousarray(picture[:, left:end])) for left, end in cuts]


def _quiet_cuts(picture: _Picture) -> list[tuple[int, int]]:
    """Where to cut a tall picture: at the row, of those around each cut, with least in it."""
    activity = np.abs(np.diff(picture.astype(np.int16), axis=1)).sum(axis=(1, 2))
    cuts, top = [], 0
    while picture.shape[0] - top > _DETECTED_SIDE:
        window = activity[top + _DETECTED_SIDE // 2 : top + _DETECTED_SIDE]
        quietest = np.flatnonzero(window <= window.min() * 1.02)
        end = top + _DETECTED_SIDE // 2 + int(quietest[len(quietest) // 2])
        cuts.append((top, end))
        top = end
    return [*cuts, (top, picture.shape[0])]


def _upright(picture: _Picture, corners: list[_Corners]) -> tuple[_Picture, list[_Corners], int]:
    """The picture and its lines turned so that they stand upright, and by how many degrees."""
    quarters = 0
    if _lies_on_its_side(corners):
        picture, corners, quarters = *_turn(picture, corners), 1
    sample = sorted(corners, key=_length, reverse=True)[:_SAMPLE_LINES]
    crops = [_crop(picture, quad) for quad in sample]
    sure = _sureness(crops)
    if sure < _SURE and _sureness([np.rot90(crop, 2) for crop in crops]) > sure:
        for _ in range(2):
            picture, corners = _turn(picture, corners)
        quarters += 2
    return picture, corners, quarters * 90


def _lies_on_its_side(corners: Sequence[_Corners]) -> bool:
    sizes = [(_side(quad, 0, 1), _side(quad, 0, 3)) for quad in corners]
    tall = sum(height - width for width, height in sizes if height > 1.5 * width)
    wide = sum(width - height for width, height in sizes if width > 1.5 * height)
    return tall > wide


def _turn(picture: _Picture, corners: Sequence[_Corners]) -> tuple[_Picture, list[_Corners]]:
    """A quarter turn clockwise."""
    height = picture.shape[0]
    turned = [
        np.roll(np.stack([height - quad[:, 1], quad[:, 0]], axis=1), 1, axis=0) for quad in corners
    ]
    return np.ascontiguousarray(np.rot90(picture, -1)), turned


def _sureness(crops: Sequence[_Picture]) -> float:
    readings = _recognise_crops(crops)
    chars = sum(len(text) for text, _ in readings)
    return sum(confidence * len(text) for text, confidence in readings) / max(chars, 1)


def _read_lines(picture: _Picture, corners: Sequence[_Corners]) -> list[tuple[str, float]]:
    """Text and confidence of each line; a tall one is tried lying on either side as well."""
    crops = [_crop(picture, quad) for quad in corners]
    readings = _recognise_crops(crops)
    tall = [index for index, crop in enumerate(crops) if crop.shape[0] > 1.5 * crop.shape[1]]
    for quarters in (1, -1):
        turned = _recognise_crops([np.rot90(crops[index], quarters) for index in tall])
        for index, reading in zip(tall, turned, strict=True):
            if len(reading[0]) > 1 and reading[1] > readings[index][1]:
                readings[index] = reading
    return readings


def _crop(picture: _Picture, quad: _Corners) -> _Picture:
    import cv2

    quad = _longer(quad)
    width = max(round(_side(quad, 0, 1)), 1)
    height = max(round(_side(quad, 0, 3)), 1)
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    crop = cv2.warpPerspective(
        picture,
        cv2.getPerspectiveTransform(quad, target),
        (width, height),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(crop, np.uint8)


def _longer(quad: _Corners) -> _Corners:
    """With room for first and last letters that stand at the very edge of what was detected."""
    across, down = quad[1] - quad[0], quad[3] - quad[0]
    width, height = np.linalg.norm(across), np.linalg.norm(down)
    if height > 1.5 * width:
        margin = down / height * width * _MARGIN
        ends = [-margin, -margin, margin, margin]
    else:
        margin = across / max(width, 1e-6) * height * _MARGIN
        ends = [-margin, margin, margin, -margin]
    return np.asarray(quad + np.stack(ends), np.float32)


def _recognise_crops(crops: Sequence[_Picture]) -> list[tuple[str, float]]:
    if not crops:
        return []
    result: Any = _engine().recognize_txt([_at_read_height(crop) for crop in crops])
    return list(zip(result.txts, result.scores, strict=True))


def _at_read_height(crop: _Picture) -> _Picture:
    import cv2

    height, width = crop.shape[:2]
    size = (max(round(width * _READ_HEIGHT / height), 1), _READ_HEIGHT)
    shrink = height > _READ_HEIGHT
    how = cv2.INTER_AREA if shrink else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(np.ascontiguousarray(crop), size, interpolation=how), np.uint8)


def _side(quad: _Corners, start: int, end: int) -> float:
    return float(np.linalg.norm(quad[start] - quad[end]))


def _length(quad: _Corners) -> float:
    return _side(quad, 0, 1)


def _slope(corners: Sequence[_Corners]) -> float:
    """The angle, in radians, by which the lines fall to the right: the median over their length."""
    angles, weights = [], []
    for quad in corners:
        across, down = quad[1] - quad[0]
        if across > 3 * _side(quad, 0, 3):
            angles.append(float(np.arctan2(down, across)))
            weights.append(float(across))
    if not angles:
        return 0.0
    order = np.argsort(angles)
    half = np.searchsorted(np.cumsum(np.array(weights)[order]), sum(weights) / 2)
    return angles[int(order[half])]


def _level_box(quad: _Corners, slope: float, picture: _Picture) -> Box:
    centre = np.array([picture.shape[1], picture.shape[0]]) / 2
    cos, sin = np.cos(-slope), np.sin(-slope)
    level = (quad - centre) @ np.array([[cos, sin], [-sin, cos]]) + centre - _BORDER
    (left, top), (right, bottom) = level.min(axis=0), level.max(axis=0)
    return float(left), float(top), float(right), float(bottom)
