# ruff: noqa: E501 - payloads and fragments, as they come
"""A small good file of each format that is read, to be damaged."""

from __future__ import annotations

import io
import zipfile
from functools import cache
from pathlib import Path

import openpyxl
from docx import Document
from pptx import Presentation

from tests.fuzz.mutation import Pick, mutated_bytes, mutated_text
from tests.unit.knowledge.pdf_writer import Sheet, write_pdf

_MARKDOWN = """---
title: 退货
date: 2026-01-05
tags: [a, b]
---
# Returns {#returns}

Within **15 days**, see [here](https://a.example/r) or ![x](y.png).

| product | days |
|---------|------|
| X240    | 15   |

## 运费

- 满 99 元包邮
- 否则 8 元

<!-- hidden -->
```
code
```
"""
_HTML = """<!doctype html><html lang="zh"><head><title>退货</title><meta name="date" content="2026-01-05">
<link rel="canonical" href="/r"><style>p{}</style></head><body><nav>menu</nav><main><h1>Returns</h1>
<p>Within <b>15 days</b>&nbsp;&amp; no more.</p><table><tr><th colspan="2">a</th></tr><tr><td rowspan=2>b
</td><td>c</td></tr></table><ul><li>x<ol><li>y</ol></ul><script>alert(1)</script></main></body></html>
"""
_RST = """Returns
=======

:author: Ann

Within 15 days, `see <https://a.example>`_ and :ref:`x`.

.. note:: Keep the box.

.. list-table::
   :header-rows: 1

   * - a
     - b
   * - c
     - d

==  ==
a   b
==  ==
1   2
==  ==
"""
_MAIL = """From: Ann <ann@a.example>
To: shop@a.example
Subject: =?utf-8?b?6YCA6LSn?=
Date: Mon, 5 Jan 2026 09:00:00 +0800
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b"

--b
Content-Type: text/plain; charset=gb18030
Content-Transfer-Encoding: quoted-printable

How long?=0A> older

-----Original Message-----
--b
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: base64

PHA+aGk8L3A+
--b
Content-Type: text/csv; name="a.csv"
Content-Disposition: attachment; filename="a.csv"

question,answer
a,b
--b--
"""
_ROWS = (
    '{"id": "r1", "question": "How long?", "answer": "15 days", "variants": ["a", "b"]}\n'
    '{"id": "d1", "title": "Returns", "text": "Within 15 days."}\n'
)
_CSV = 'question,answer,variants,id\n"How long?","15 ""days""\nor so",a|b,r1\n问题,答案,,\n'


def _docx() -> bytes:
    document = Document()
    document.add_heading("Returns", 1)
    document.add_paragraph("Within 15 days.").add_run(" 满 99 元包邮").bold = True
    document.add_paragraph("one", style="List Bullet")
    table = document.add_table(2, 2)
    table.cell(0, 0).text = "product"
    return _written(document.save)


def _pptx() -> bytes:
    slides = Presentation()
    slide = slides.slides.add_slide(slides.slide_layouts[1])
    slide.shapes.title.text = "Returns"
    slide.placeholders[1].text = "Within 15 days"
    return _written(slides.save)


def _xlsx() -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (("question", "answer"), ("How long?", "15 days"), ("退货", 0.5)):
        sheet.append(row)
    sheet.merge_cells("A4:B4")
    return _written(book.save)


def _epub() -> bytes:
    parts = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
        '<rootfiles><rootfile full-path="OPS/a.opf"/></rootfiles></container>',
        "OPS/a.opf": '<package xmlns="http://www.idpf.org/2007/opf"><metadata '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Returns</dc:title></metadata><manifest>'
        '<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/></spine></package>',
        "OPS/a.xhtml": '<html xmlns="http://www.w3.org/1999/xhtml"><body><h1>Returns</h1><p>15 days</p></body></html>',
    }
    return packed({name: text.encode() for name, text in parts.items()})


def _written(save: object) -> bytes:
    target = io.BytesIO()
    save(target)  # type: ignore[operator]
    return target.getvalue()


def packed(members: dict[str, bytes]) -> bytes:
    """A zip of these members, always the same."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in members.items():
            package.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return target.getvalue()


def unpacked(content: bytes) -> dict[str, bytes]:
    """The members of a zip."""
    with zipfile.ZipFile(io.BytesIO(content)) as package:
        return {name: package.read(name) for name in package.namelist()}


@cache
def samples(folder: Path) -> dict[str, bytes]:
    """Ending → a file of that kind."""
    sheet = Sheet().lines(72, 72, ["Returns", "Within 15 days.", "满九十九元包邮"])
    write_pdf(folder / "a.pdf", [sheet])
    return {
        ".md": _MARKDOWN.encode(),
        ".html": _HTML.encode(),
        ".rst": _RST.encode(),
        ".eml": _MAIL.encode(),
        ".jsonl": _ROWS.encode(),
        ".csv": _CSV.encode(),
        ".txt": _MARKDOWN.encode("gb18030"),
        ".docx": _docx(),
        ".pptx": _pptx(),
        ".xlsx": _xlsx(),
        ".epub": _epub(),
        ".pdf": (folder / "a.pdf").read_bytes(),
    }


def mutated_file(content: bytes, pick: Pick) -> bytes:
    """A file with faults in its bytes, its text, or in the text of one of its members."""
    if not content.startswith(b"PK"):
        if pick(2):
            return mutated_bytes(content, pick)
        return mutated_text(content.decode("utf-8", "replace"), pick).encode("utf-8", "replace")
    if pick(5) == 0:
        return mutated_bytes(content, pick)
    members = unpacked(content)
    names = [name for name in members if name.endswith((".xml", ".rels", ".opf", ".xhtml"))]
    for _ in range(1 + pick(2)):
        name = names[pick(len(names))]
        text = members[name].decode("utf-8", "replace")
        members[name] = mutated_text(text, pick, 2).encode("utf-8", "replace")
    return packed(members)
