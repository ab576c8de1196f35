"""Parsers of PDF side by side on the public files: text, rows of tables, order, processor time."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from knowledge.documents import SourceFile
from knowledge.formats.contract import Found
from knowledge.formats.pdf import read_pdf

pytestmark = [pytest.mark.benchmark, pytest.mark.data]

Parse = Callable[[Path], str]
# On the first page of en_two_column_3p.pdf: title, left column, right column.
IN_ORDER = ("Two-Column Document", "a nulla. Cum sociis", "pellentesque ante. Phas", "cursus dui.")


def with_pdfium(path: Path) -> str:
    with import_module("pypdfium2").PdfDocument(path) as pdf:
        return "\n".join(page.get_textpage().get_text_range() for page in pdf)


def with_pdfminer(path: Path) -> str:
    return str(import_module("pdfminer.high_level").extract_text(path))


def with_pdfplumber(path: Path) -> str:
    """Text, and below it the tables that its default settings find."""
    parts = []
    with import_module("pdfplumber").open(path) as pdf:
        for page in pdf.pages:
            parts.append(page.extract_text())
            for table in page.extract_tables():
                parts += [" ".join(cell or "" for cell in row).replace("\n", "") for row in table]
    return "\n".join(parts)


def with_pypdf(path: Path) -> str:
    pages = import_module("pypdf").PdfReader(path).pages
    return "\n".join(page.extract_text() for page in pages)


def with_ours(path: Path) -> str:
    (found,) = [found for found in read_pdf(SourceFile(path, "")) if isinstance(found, Found)]
    parts = [f"{part.heading}\n{part.text}" for part in found.document.sections]
    return "\n".join([found.document.title, *parts])


PARSERS: dict[str, Parse] = {
    "pypdfium2": with_pdfium,
    "pdfminer.six": with_pdfminer,
    "pdfplumber": with_pdfplumber,
    "pypdf": with_pypdf,
    "read_pdf": with_ours,
}


def squeeze(text: str) -> str:
    return re.sub(r"[\s|]", "", text)


def share(found: Sequence[bool]) -> str:
    return f"{sum(found)} of {len(found)}"


def holds(line: str, cells: Sequence[str]) -> bool:
    """Whether a line says the cells in their order."""
    start = 0
    for cell in map(squeeze, cells):
        place = line.find(cell, start)
        if place < 0:
            return False
        start = place + len(cell)
    return True


@pytest.mark.parametrize("name", PARSERS)
def test_parser_on_text_pdfs(name: str, shared_data: Path) -> None:
    pytest.importorskip({"pdfminer.six": "pdfminer", "read_pdf": "pypdfium2"}.get(name, name))
    strings, rows, pages, seconds = [], [], 0, 0.0
    # Imports are not counted.
    PARSERS[name](shared_data / "pdf" / "en_two_column_3p.pdf")
    ordered = False
    for row in _text_files(shared_data):
        begin = time.process_time()
        text = PARSERS[name](shared_data / "pdf" / row["file"])
        seconds += time.process_time() - begin
        pages += row["pages"]
        lines = [squeeze(line) for line in text.splitlines()]
        strings += [squeeze(string) in squeeze(text) for string in row["must_contain"]]
        rows += [any(holds(line, cells) for line in lines) for cells in row["table_rows"]]
        if row["file"] == "en_two_column_3p.pdf":
            places = [squeeze(text).find(squeeze(phrase)) for phrase in IN_ORDER]
            ordered = min(places) >= 0 and places == sorted(places)
    print(f"\n| {name} | {share(strings)} | {share(rows)} | {ordered} | {pages / seconds:.0f} |")
    assert pages


def _text_files(shared_data: Path) -> list[dict[str, Any]]:
    lines = (shared_data / "pdf" / "expected.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if '"pages"' in line]
    # An image among text goes through OCR, which the others do not do.
    images = ("en_image_in_text.pdf", "en_paper_page_images_table.pdf")
    return [
        row
        for row in rows
        if not row.get("scan") and not row["expect_error"] and row["file"] not in images
    ]
