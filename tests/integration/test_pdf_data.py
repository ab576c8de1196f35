"""What is read of the public PDFs in ../shared/data/pdf, and how long it takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kfbot.errors import DocumentUnreadable
from knowledge.chunking import cut
from knowledge.documents import Document, SourceFile
from knowledge.formats import read_file
from knowledge.formats.contract import Found

pytestmark = [pytest.mark.data, pytest.mark.slow]


def squeeze(text: str) -> str:
    """Without white space, and without the bars between the cells of a row."""
    return re.sub(r"[\s|]", "", text)


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[squeeze(cell) for cell in re.split(r"(?<!\\)\|", line)] for line in lines]


def holds(row: list[str], cells: list[str]) -> bool:
    """Whether the cells stand in the row, in their order; leaders and signs may stand around."""
    rest = iter(row)
    return all(any(squeeze(cell) in place for place in rest) for cell in cells)


@pytest.fixture(scope="module")
def expected(shared_data: Path) -> list[dict[str, Any]]:
    lines = (shared_data / "pdf" / "expected.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["file"].endswith(".pdf")]


@pytest.fixture(scope="module")
def read(shared_data: Path, expected: list[dict[str, Any]]) -> dict[str, Any]:
    """By file, its document, or the fault that stands in its place."""
    results: dict[str, Any] = {}
    for row in expected:
        path = shared_data / "pdf" / row["file"]
        (found,) = read_file(SourceFile(path, row["file"]))
        results[row["file"]] = found.document if isinstance(found, Found) else found
    return results


def documents(
    expected: list[dict[str, Any]], read: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], Document]]:
    for row in expected:
        if not row["expect_error"]:
            assert isinstance(read[row["file"]], Document), row["file"]
            yield row, read[row["file"]]


def test_every_expected_string_is_read(
    expected: list[dict[str, Any]], read: dict[str, Any]
) -> None:
    missing = []
    for row, document in documents(expected, read):
        said = "\n".join(f"{part.heading}\n{part.text}" for part in document.sections)
        text = squeeze(f"{document.title}\n{said}")
        missing += [
            (row["file"], string) for string in row["must_contain"] if squeeze(string) not in text
        ]
    assert missing == []


def test_cells_of_a_row_stay_in_one_row_of_a_chunk(
    expected: list[dict[str, Any]], read: dict[str, Any]
) -> None:
    broken, total = [], 0
    for row, document in documents(expected, read):
        rows = [cells for chunk in cut(document) for cells in rows_of(chunk.text)]
        total += len(row["table_rows"])
        broken += [
            (row["file"], cells)
            for cells in row["table_rows"]
            if not any(holds(line, cells) for line in rows)
        ]
    assert len(broken) <= 0.05 * total, broken


def test_files_that_cannot_be_read_say_why(
    expected: list[dict[str, Any]], read: dict[str, Any]
) -> None:
    for row in expected:
        if row["expect_error"]:
            fault = read[row["file"]]
            assert isinstance(fault, DocumentUnreadable)
            assert row["expect_error"] in str(fault)
