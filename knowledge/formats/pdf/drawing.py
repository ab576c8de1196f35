"""Reads what a PDF page draws beside its text: ruling lines, images, links, form fields."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any, NamedTuple

from knowledge.formats.pdf.characters import Placing
from knowledge.formats.pdf.content import Box, Word
from knowledge.markup import web_address

#: A page that draws more objects than this is a map or a plan, not a text.
MOST_OBJECTS = 100_000

_MOST_SEGMENTS = 400
_DEEPEST_FORM = 6
# Thicker than this it is a box, not a line.
_LINE_WIDTH = 3.0
_SHORTEST_LINE = 5.0

_Matrix = tuple[float, float, float, float, float, float]
_UPRIGHT: _Matrix = (1, 0, 0, 1, 0, 0)


class Drawn(NamedTuple):
    """Lines and images of a page, on the upright page."""

    rulings: list[Box]
    images: list[Box]


def read_drawing(page: Any, placing: Placing) -> Drawn:
    """The straight lines (those of boxes, too) and the images of a page."""
    import pypdfium2.raw as pdfium

    drawn = Drawn([], [])
    for item, matrix in _objects(page):
        kind = pdfium.FPDFPageObj_GetType(item)
        if kind == pdfium.FPDF_PAGEOBJ_IMAGE:
            drawn.images.append(_bounds(item, matrix, placing))
        elif kind == pdfium.FPDF_PAGEOBJ_PATH:
            drawn.rulings.extend(_lines_of_path(item, matrix, placing))
    return drawn


def count_objects(page: Any) -> int:
    """How many objects a page draws, those inside of others not counted."""
    import pypdfium2.raw as pdfium

    return int(pdfium.FPDFPage_CountObjects(page.raw))


def _objects(page: Any) -> Iterator[tuple[Any, _Matrix]]:
    """The objects of a page with the matrix of the forms that they stand in."""
    import pypdfium2.raw as pdfium

    left = MOST_OBJECTS
    stack: list[tuple[Any, _Matrix, int]] = [
        (pdfium.FPDFPage_GetObject(page.raw, index), _UPRIGHT, 0)
        for index in reversed(range(count_objects(page)))
    ]
    while stack and left:
        item, matrix, depth = stack.pop()
        left -= 1
        if pdfium.FPDFPageObj_GetType(item) != pdfium.FPDF_PAGEOBJ_FORM:
            yield item, matrix
        elif depth < _DEEPEST_FORM:
            inner = _product(_matrix(item), matrix)
            for index in range(min(left, pdfium.FPDFFormObj_CountObjects(item))):
                stack.append((pdfium.FPDFFormObj_GetObject(item, index), inner, depth + 1))


def _matrix(item: Any) -> _Matrix:
    import pypdfium2.raw as pdfium

    matrix = pdfium.FS_MATRIX()
    if not pdfium.FPDFPageObj_GetMatrix(item, matrix):
        return _UPRIGHT
    return (matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f)


def _product(one: _Matrix, other: _Matrix) -> _Matrix:
    a, b, c, d, e, f = one
    a2, b2, c2, d2, e2, f2 = other
    return (
        a * a2 + b * c2,
        a * b2 + b * d2,
        c * a2 + d * c2,
        c * b2 + d * d2,
        e * a2 + f * c2 + e2,
        e * b2 + f * d2 + f2,
    )


def _apply(matrix: _Matrix, x: float, y: float) -> tuple[float, float]:
    a, b, c, d, e, f = matrix
    return a * x + c * y + e, b * x + d * y + f


def _bounds(item: Any, matrix: _Matrix, placing: Placing) -> Box:
    import pypdfium2.raw as pdfium

    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    pdfium.FPDFPageObj_GetBounds(item, left, bottom, right, top)
    one = _apply(matrix, left.value, bottom.value)
    other = _apply(matrix, right.value, top.value)
    return placing.box(*one, *other)


def _lines_of_path(item: Any, matrix: _Matrix, placing: Placing) -> Iterator[Box]:
    import pypdfium2.raw as pdfium

    fill, stroke = ctypes.c_int(), ctypes.c_int()
    pdfium.FPDFPath_GetDrawMode(item, fill, stroke)
    total = pdfium.FPDFPath_CountSegments(item)
    if not (fill.value or stroke.value) or total > _MOST_SEGMENTS:
        return
    bounds = _bounds(item, matrix, placing)
    if min(bounds.width, bounds.height) < _LINE_WIDTH:
        yield from _line(bounds)
        return
    if _is_page(bounds, placing):
        return
    for one, other in _strokes(item, total, _product(_matrix(item), matrix)):
        (x0, y0), (x1, y1) = placing.point(*one), placing.point(*other)
        yield from _line(Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))


def _is_page(bounds: Box, placing: Placing) -> bool:
    width, height = placing.size
    return bounds.width > 0.95 * width and bounds.height > 0.95 * height


def _line(bounds: Box) -> Iterator[Box]:
    """The middle of a thin box as a line without thickness."""
    x, y = bounds.middle
    if bounds.height < _LINE_WIDTH and bounds.width >= _SHORTEST_LINE:
        yield Box(bounds.left, y, bounds.right, y)
    elif bounds.width < _LINE_WIDTH and bounds.height >= _SHORTEST_LINE:
        yield Box(x, bounds.top, x, bounds.bottom)


_Point = tuple[float, float]


def _strokes(item: Any, total: int, matrix: _Matrix) -> Iterator[tuple[_Point, _Point]]:
    """The straight strokes of a path; none when it has curves."""
    import pypdfium2.raw as pdfium

    strokes: list[tuple[_Point, _Point]] = []
    start = last = (0.0, 0.0)
    for index in range(total):
        segment = pdfium.FPDFPath_GetPathSegment(item, index)
        kind = pdfium.FPDFPathSegment_GetType(segment)
        x, y = ctypes.c_float(), ctypes.c_float()
        pdfium.FPDFPathSegment_GetPoint(segment, x, y)
        point = _apply(matrix, x.value, y.value)
        if kind == pdfium.FPDF_SEGMENT_BEZIERTO:
            return
        if kind == pdfium.FPDF_SEGMENT_MOVETO:
            start = point
        else:
            strokes.append((last, point))
        last = point
        if pdfium.FPDFPathSegment_GetClose(segment):
            strokes.append((point, start))
    yield from strokes


def read_links(document: Any, page: Any, placing: Placing) -> Iterator[tuple[Box, str]]:
    """The places of a page that lead to a web address."""
    import pypdfium2.raw as pdfium

    position = ctypes.c_int(0)
    link = pdfium.FPDF_LINK()
    while pdfium.FPDFLink_Enumerate(page.raw, position, link):
        action = pdfium.FPDFLink_GetAction(link)
        if not action or pdfium.FPDFAction_GetType(action) != pdfium.PDFACTION_URI:
            continue
        address = ctypes.create_string_buffer(2048)
        pdfium.FPDFAction_GetURIPath(document.raw, action, address, 2048)
        url = web_address(address.value.decode("utf-8", "ignore"))
        rect = pdfium.FS_RECTF()
        if url and pdfium.FPDFLink_GetAnnotRect(link, rect):
            yield placing.box(rect.left, rect.bottom, rect.right, rect.top), url


def read_fields(form: Any, page: Any, placing: Placing) -> Iterator[Word]:
    """The values that were entered in a form, and free text laid over a page, as words."""
    import pypdfium2.raw as pdfium

    for index in range(pdfium.FPDFPage_GetAnnotCount(page.raw)):
        annotation = pdfium.FPDFPage_GetAnnot(page.raw, index)
        if not annotation:
            continue
        text = _annotation_text(form, annotation)
        rect = pdfium.FS_RECTF()
        if text.strip() and pdfium.FPDFAnnot_GetRect(annotation, rect):
            box = placing.box(rect.left, rect.bottom, rect.right, rect.top)
            yield Word(" ".join(text.split()), box, min(12.0, box.height))
        pdfium.FPDFPage_CloseAnnot(annotation)


def _annotation_text(form: Any, annotation: Any) -> str:
    import pypdfium2.raw as pdfium

    kind = pdfium.FPDFAnnot_GetSubtype(annotation)
    if kind == pdfium.FPDF_ANNOT_FREETEXT:
        return _wide_text(pdfium.FPDFAnnot_GetStringValue, annotation, b"Contents")
    if kind != pdfium.FPDF_ANNOT_WIDGET or form is None:
        return ""
    field = pdfium.FPDFAnnot_GetFormFieldType(form.raw, annotation)
    if field in (pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON):
        return "☑" if pdfium.FPDFAnnot_IsChecked(form.raw, annotation) else "☐"
    if field in (pdfium.FPDF_FORMFIELD_PUSHBUTTON, pdfium.FPDF_FORMFIELD_SIGNATURE):
        return ""
    return _wide_text(pdfium.FPDFAnnot_GetFormFieldValue, form.raw, annotation)


def _wide_text(call: Any, *arguments: Any) -> str:
    """What a function of PDFium gives as UTF-16; it is asked for the size first."""
    import pypdfium2.raw as pdfium

    size = call(*arguments, None, 0)
    buffer = ctypes.create_string_buffer(size + 2)
    call(*arguments, ctypes.cast(buffer, ctypes.POINTER(pdfium.FPDF_WCHAR)), size)
    return buffer.raw[: max(0, size - 2)].decode("utf-16-le", "ignore")
