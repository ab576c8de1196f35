"""Tables as text, wherever they come from: rows stay whole, merged cells are filled."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from knowledge.formats.tables import Cell, fill_spans, split_caption, table_text
from tests.unit.knowledge.found import read_all, read_one, text_of


def test_rows_become_lines_and_what_is_empty_is_dropped() -> None:
    rows = [["a|b", "", "c\nd"], ["", " ", ""], ["1"], ["2", "", "3"]]
    assert table_text(rows) == "| a\\|b | c d |\n| --- | --- |\n| 1 |  |\n| 2 | 3 |"
    assert table_text([["", " "], []]) == ""


def test_several_header_rows_are_one() -> None:
    rows = [["城市", "首重", "首重"], ["城市", "标快", "特快"], ["北京", "12", "20"]]
    assert table_text(rows, header_rows=2) == (
        "| 城市 | 首重 标快 | 首重 特快 |\n| --- | --- | --- |\n| 北京 | 12 | 20 |"
    )


@given(st.lists(st.lists(st.text(alphabet="ab|\n 中", max_size=4), max_size=5), max_size=6))
def test_any_rows_are_one_commonmark_table(rows: list[list[str]]) -> None:
    text = table_text(rows)
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    shown = [row for row in rows if any(cell.strip() for cell in row)]
    assert sum(token.type == "tr_open" for token in tokens) == len(shown)
    cells = [token.content for token in tokens if token.type == "inline"]
    said = [" ".join(cell.split()) for row in shown for cell in row]
    assert [cell for cell in cells if cell] == [cell for cell in said if cell]


def test_merged_cells_stand_in_each_place_that_they_cover() -> None:
    rows = [
        [Cell("a", 2, 2), Cell("b")],
        [Cell("c")],
        [Cell("d"), Cell("e"), Cell("f", 1000, 99999)],
        [Cell("g")],
    ]
    assert fill_spans(rows) == [["a", "a", "b"], ["a", "a", "c"], ["d", "e", "f"], ["g", "", "f"]]


def test_a_long_merged_text_is_said_once() -> None:
    long = "字" * 300
    assert fill_spans([[Cell(long, 2, 2)], [], [Cell("a"), Cell("b")]]) == [
        [long, ""],
        ["", ""],
        ["a", "b"],
    ]


@pytest.mark.parametrize(
    ("rows", "captions", "header"),
    [
        ([["T", "T"], ["a", "b"]], ["T"], ["a", "b"]),
        ([["T", "", ""], ["", "", ""], ["a", "b", "c"]], ["T"], ["a", "b", "c"]),
        ([["T", "", ""], ["S", "S", "S"], ["a", "b", "c"]], ["T", "S"], ["a", "b", "c"]),
        ([["a", ""], ["b", "c"]], [], ["a", ""]),
        ([["", "x", ""], ["a", "b", "c"]], [], ["", "x", ""]),
        ([["a"], ["b"]], [], ["a"]),
    ],
)
def test_titles_above_a_header_are_no_rows(
    rows: list[list[str]], captions: list[str], header: list[str]
) -> None:
    found, below = split_caption(rows)
    assert (found, list(below[0])) == (captions, header)


# HTML


@pytest.mark.parametrize(
    ("html", "text"),
    [
        (
            "<table><tr><th>City</th><th>Days</th></tr>"
            "<tr><td>Rome</td><td><p>2</p><p>or 3</p></td></tr></table>",
            "| City | Days |\n| --- | --- |\n| Rome | 2 or 3 |",
        ),
        (
            "<table><tr><th>City<th>Days<tr><td>Rome<td>2</table>after",
            "| City | Days |\n| --- | --- |\n| Rome | 2 |\n\nafter",
        ),
        (
            "<table><caption>价目</caption><thead><tr><th rowspan=2>城市<th colspan=2>首重</tr>"
            "<tr><th>标快<th>特快</tr></thead><tbody><tr><td rowspan=2>北京<td>12<td>20</tr>"
            "<tr><td>13<td>21</tr></tbody></table>",
            "价目\n\n| 城市 | 首重 标快 | 首重 特快 |\n| --- | --- | --- |\n"
            "| 北京 | 12 | 20 |\n| 北京 | 13 | 21 |",
        ),
        ("<table><tr><td>电话</td><td>123</td></tr></table>", "电话 | 123"),
        ("<table><tr><td>one</td></tr><tr><td>two</td></tr></table>", "one\ntwo"),
        (
            "<table><tr><td colspan='x'>a<td rowspan='-1'>b<tr><td>c<td colspan=99999999>d</table>",
            "| a | b |\n| --- | --- |\n| c | d |",
        ),
    ],
)
def test_html_tables_keep_their_rows(tmp_path: Path, html: str, text: str) -> None:
    (tmp_path / "a.html").write_text(html)
    assert text_of(read_one(tmp_path / "a.html").document) == text


@pytest.mark.parametrize(
    "open_tag",
    ["<div>", "<table><tr><td>", "<ul><li>", "<b>", "<p>", "<th>", "<select>", "<thead>"],
)
def test_html_nested_ten_thousand_deep_is_read(tmp_path: Path, open_tag: str) -> None:
    (tmp_path / "a.html").write_text("<p>text</p>" + open_tag * 10_000 + "deep")
    found, faults = read_all(tmp_path / "a.html")
    assert faults == []
    assert "text" in text_of(found[0].document)
