"""Reading scans: the share of characters that is read right, for each kind of damage."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from knowledge.documents import SourceFile
from knowledge.formats.contract import Found
from knowledge.formats.image import read_image_file
from knowledge.ocr import Recognised, as_text, recognise
from tests.scans import Scan, missing_font, scans

_MISSING = missing_font()
_TABLE_MARKS = re.compile(r"\s|\\(?=\|)|\| *:?-{3,}:? *(?=\|)|\|")


def distance(one: str, other: str) -> int:
    """Characters to insert, delete or replace to make the one the other."""
    row = np.arange(len(other) + 1)
    places = np.arange(len(other) + 1)
    letters = np.array(list(other), dtype="U1")
    for number, letter in enumerate(one, start=1):
        best = np.minimum(row[1:] + 1, row[:-1] + (letters != letter))
        row = np.minimum.accumulate(np.concatenate(([number], best)) - places) + places
    return int(row[-1])


def bare(text: str) -> str:
    """Without white space and without the marks of tables."""
    return _TABLE_MARKS.sub("", text)


@pytest.fixture(scope="module")
def pages() -> list[tuple[Scan, Recognised]]:
    if _MISSING and os.environ.get("CI") != "true":
        pytest.skip(f"the font {_MISSING} is not installed (Debian: fonts-noto-cjk)")
    return [(scan, recognise(scan.image)) for scan in scans()]


@pytest.mark.slow
def test_scans_are_read_with_97_of_100_characters_right(
    pages: list[tuple[Scan, Recognised]], capsys: pytest.CaptureFixture[str]
) -> None:
    wrong: dict[str, int] = defaultdict(int)
    chars: dict[str, int] = defaultdict(int)
    shares: list[tuple[float, str]] = []
    for scan, read in pages:
        errors = distance(scan.text, bare(as_text(read)))
        shares.append((1 - errors / len(scan.text), scan.name))
        for row in (scan.damage, f"all {scan.language}", "all"):
            wrong[row] += errors
            chars[row] += len(scan.text)
    with capsys.disabled():
        print(f"\n{len(pages)} scans; characters, and the share of them that is read right")
        for row in chars:
            print(f"{row:26} {chars[row]:6} {1 - wrong[row] / chars[row]:7.2%}")
        print("worst: " + ", ".join(f"{name} {share:.2%}" for share, name in sorted(shares)[:5]))
    assert len(pages) >= 50
    assert 1 - wrong["all"] / chars["all"] >= 0.97
    assert min(shares)[0] >= 0.9


@pytest.mark.slow
def test_the_words_of_english_scans_are_kept_apart(
    pages: list[tuple[Scan, Recognised]],
) -> None:
    found = total = 0
    for scan, read in pages:
        if scan.language == "en":
            words = set(as_text(read).split())
            expected = [word for text in scan.cells for word in text.split()]
            found += sum(word in words for word in expected)
            total += len(expected)
    assert found / total >= 0.97


@pytest.mark.slow
def test_chinese_scans_get_no_spaces_between_chinese_characters(
    pages: list[tuple[Scan, Recognised]],
) -> None:
    for scan, read in pages:
        assert not re.search(r"[\u4e00-\u9fff] +[\u4e00-\u9fff]", as_text(read)), scan.name


@pytest.mark.slow
def test_turned_scans_are_known_to_be_turned(pages: list[tuple[Scan, Recognised]]) -> None:
    turned = {"turned 90": 270, "turned 180": 180, "turned 270": 90, "turned, 100 dpi, JPEG": 90}
    for scan, read in pages:
        assert read.turned == turned.get(scan.damage, 0), scan.name


@pytest.mark.slow
def test_rows_of_tables_in_scans_stay_together(pages: list[tuple[Scan, Recognised]]) -> None:
    kept = total = 0
    for scan, read in pages:
        lines = [bare(line) for line in as_text(read).split("\n") if "|" in line]
        rows = [row for block in scan.blocks if not isinstance(block, str) for row in block]
        total += len(rows)
        for row in rows:
            text = bare("".join(row))
            kept += any(distance(text, line) <= len(text) // 10 for line in lines)
    assert total > 0
    assert kept / total >= 0.95


@pytest.mark.slow
def test_paragraphs_of_clean_scans_come_on_one_line_each(
    pages: list[tuple[Scan, Recognised]],
) -> None:
    for scan, read in pages:
        if scan.damage in ("none", "two columns"):
            found = [bare(part) for part in as_text(read).split("\n\n")]
            expected = [bare(block) for block in scan.blocks if isinstance(block, str)]
            assert len(found) == len(scan.blocks), scan.name
            for text in expected:
                assert any(distance(text, part) <= len(text) // 10 + 1 for part in found), text


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["en_scan_ocr_1p.pdf", "en_scan_ocr_rot90.pdf"])
def test_scanned_pages_of_the_test_set_are_read(shared_data: Path, name: str) -> None:
    import pypdfium2

    with pypdfium2.PdfDocument(shared_data / "pdf" / name) as pdf:
        page = np.array(pdf[0].render(scale=200 / 72).to_pil().convert("RGB"))
    text = as_text(recognise(page))
    for line in expected_lines(shared_data, name):
        assert line in text


@pytest.mark.data
@pytest.mark.slow
def test_the_picture_of_the_test_set_is_read(shared_data: Path) -> None:
    name = "office_chi_sim_image.jpeg"
    path = shared_data / "pdf" / name
    [found] = read_image_file(SourceFile(path, name))
    assert isinstance(found, Found)
    for line in expected_lines(shared_data, name):
        assert line in found.document.sections[0].text


def expected_lines(shared_data: Path, name: str) -> list[str]:
    rows = (shared_data / "pdf" / "expected.jsonl").read_text("utf-8").splitlines()
    [lines] = [row["must_contain"] for row in map(json.loads, rows) if row["file"] == name]
    assert lines
    return list(lines)
