"""Writes small PDFs by hand, so that a test says what stands where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

WIDTH, HEIGHT = 595, 842


@dataclass
class Sheet:
    """One page; places are points from its top left."""

    rotate: int = 0
    parts: list[bytes] = field(default_factory=list)
    annotations: list[str] = field(default_factory=list)
    #: Grey pictures: width, height and their bytes.
    images: list[tuple[int, int, bytes]] = field(default_factory=list)

    def text(
        self, x: float, y: float, text: str, size: float = 10, font: str = "F1", turn: str = ""
    ) -> Sheet:
        """A line; fonts: F1 plain, F2 bold, F3 Chinese, F4 maps to private characters."""
        shown = text.encode("utf-16-be") if font == "F3" else text.encode("cp1252")
        matrix = turn or "1 0 0 1"
        head = f"BT /{font} {size} Tf {matrix} {x} {HEIGHT - y} Tm <{shown.hex()}> Tj ET"
        self.parts.append(head.encode())
        return self

    def lines(self, x: float, y: float, lines: Sequence[str], *, size: float = 10) -> Sheet:
        """Lines under one another."""
        font = "F1" if all(line.isascii() for line in lines) else "F3"
        for number, line in enumerate(lines):
            self.text(x, y + number * size * 1.2, line, size, font)
        return self

    def rule(self, x0: float, y0: float, x1: float, y1: float) -> Sheet:
        """A straight line."""
        self.parts.append(f"{x0} {HEIGHT - y0} m {x1} {HEIGHT - y1} l S".encode())
        return self

    def grid(self, lefts: Sequence[float], tops: Sequence[float]) -> Sheet:
        """All lines of a table."""
        for x in lefts:
            self.rule(x, tops[0], x, tops[-1])
        for y in tops:
            self.rule(lefts[0], y, lefts[-1], y)
        return self

    def image(self, x: float, y: float, width: float, height: float) -> Sheet:
        """A grey picture."""
        name = f"I{len(self.images)}"
        self.images.append((8, 8, bytes(range(64))))
        bottom = HEIGHT - y - height
        self.parts.append(f"q {width} 0 0 {height} {x} {bottom} cm /{name} Do Q".encode())
        return self


def write_pdf(path: Path, sheets: Sequence[Sheet], *, title: bytes = b"", form: str = "") -> Path:
    """Write the pages to a file, whose path is returned."""
    objects: list[bytes] = [
        b"",
        b"",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica-Bold/Encoding/WinAnsiEncoding>>",
        b"<</Type/Font/Subtype/Type0/BaseFont/STSong-Light/Encoding/UniGB-UTF16-H"
        b"/DescendantFonts[6 0 R]>>",
        b"<</Type/Font/Subtype/CIDFontType0/BaseFont/STSong-Light/CIDSystemInfo"
        b"<</Registry(Adobe)/Ordering(GB1)/Supplement 4>>/DW 1000/FontDescriptor 7 0 R>>",
        b"<</Type/FontDescriptor/FontName/STSong-Light/Flags 4/FontBBox[0 -200 1000 900]"
        b"/ItalicAngle 0/Ascent 880/Descent -120/CapHeight 700/StemV 80>>",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 9 0 R>>",
        _stream("", _private_map()),
        b"<</Title<" + title.hex().encode() + b">>>",
    ]
    pages = [_write_page(objects, sheet) for sheet in sheets]
    objects[0] = f"<</Type/Catalog/Pages 2 0 R{form}>>".encode()
    objects[1] = f"<</Type/Pages/Count {len(pages)}/Kids[{' '.join(pages)}]>>".encode()
    path.write_bytes(_file(objects))
    return path


def _write_page(objects: list[bytes], sheet: Sheet) -> str:
    names = []
    for number, (width, height, data) in enumerate(sheet.images):
        size = f"/Type/XObject/Subtype/Image/Width {width}/Height {height}"
        objects.append(_stream(size + "/ColorSpace/DeviceGray/BitsPerComponent 8", data))
        names.append(f"/I{number} {len(objects)} 0 R")
    objects.append(_stream("", b"\n".join(sheet.parts)))
    content = len(objects)
    notes = []
    for annotation in sheet.annotations:
        objects.append(annotation.encode())
        notes.append(f"{len(objects)} 0 R")
    objects.append(
        f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 {WIDTH} {HEIGHT}]/Rotate {sheet.rotate}"
        f"/Contents {content} 0 R/Annots[{' '.join(notes)}]/Resources<</XObject<<"
        f"{' '.join(names)}>>/Font<</F1 3 0 R/F2 4 0 R/F3 5 0 R/F4 8 0 R>>>>>>".encode()
    )
    return f"{len(objects)} 0 R"


def _private_map() -> bytes:
    """A table that maps every letter to a private character."""
    to_private = "\n".join(f"<{code:02x}> <e0{code:02x}>" for code in range(32, 127))
    cmap = (
        "/CIDInit /ProcSet findresource begin begincmap /CMapName /P def "
        "1 begincodespacerange <00> <ff> endcodespacerange "
        f"95 beginbfchar\n{to_private}\nendbfchar endcmap end"
    )
    return cmap.encode()


def _stream(entries: str, data: bytes) -> bytes:
    head = f"<<{entries}/Length {len(data)}>>".encode()
    return head + b"\nstream\n" + data + b"\nendstream"


def _file(objects: Sequence[bytes]) -> bytes:
    body, places = b"%PDF-1.7\n", []
    for number, item in enumerate(objects, start=1):
        places.append(len(body))
        body += f"{number} 0 obj\n".encode() + item + b"\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    trailer = f"trailer<</Size {len(objects) + 1}/Root 1 0 R/Info 10 0 R>>"
    return body + f"{head}{trailer}\nstartxref\n{len(body)}\n%%EOF".encode()
