"""What is read of Excel files: FAQs and tables."""

from __future__ import annotations

from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from knowledge.documents import Section
from tests.unit.knowledge.found import (
    change_member,
    fault_of,
    read_all,
    read_one,
    text_of,
    write_zip,
)


@pytest.fixture
def book() -> Any:
    return openpyxl.Workbook()


def saved(book: Any, tmp_path: Path, name: str = "表.xlsx") -> Path:
    path = tmp_path / name
    book.save(path)
    return path


def fill(sheet: Any, *rows: tuple[object, ...]) -> None:
    for row in rows:
        sheet.append(row)


# FAQ


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (("question", "answer", "variants", "id", "url", "product"), "a.xlsx"),
        (("问题", "答案", "相似问", "编号", "链接", "产品"), "a.xlsm"),
        (("Question", "回答", "变体", "ID", "link", "商品"), "a.xlsx"),
    ],
)
def test_a_sheet_with_a_question_column_is_an_faq(
    book: Any, tmp_path: Path, header: tuple[str, ...], name: str
) -> None:
    row = ("怎么退货？", "七天内。\n免运费。", "如何退|退货流程", 7, "https://shop.example", "水壶")
    fill(book.active, header, row)
    entry = read_one(saved(book, tmp_path, name)).document
    assert (entry.kind, entry.question, entry.answer) == ("faq", row[0], row[1])
    assert (entry.variants, entry.id, entry.url) == (("如何退", "退货流程"), "7", row[4])
    assert entry.metadata == {"product": "水壶"}


def test_a_title_may_stand_above_the_header_and_merged_answers_hold_for_each_question(
    book: Any, tmp_path: Path
) -> None:
    sheet = book.active
    fill(sheet, ("售后问答",), (), ("序号", "问题", "答案", "相似问1", "相似问2"))
    fill(sheet, (1, "能退吗", "七天内可退。", "可退吗", "退不退"), (2, "可以换吗"))
    sheet.merge_cells("C4:C5")
    found, faults = read_all(saved(book, tmp_path))
    assert faults == []
    entries = [one.document for one in found]
    assert [entry.answer for entry in entries] == ["七天内可退。"] * 2
    assert [entry.variants for entry in entries] == [("可退吗", "退不退"), ()]
    assert [one.place for one in found] == ["sheet Sheet, row 4: ", "sheet Sheet, row 5: "]


def test_bad_rows_are_named_and_other_sheets_are_read(book: Any, tmp_path: Path) -> None:
    fill(book.active, ("question", "answer"), ("a", "1"), (None, "2"), ("b", "3", "4"), ("c", "5"))
    fill(book.create_sheet("价目"), ("名称", "价格"), ("壶", 99))
    found, faults = read_all(saved(book, tmp_path))
    assert [one.document.question for one in found] == ["a", "c", ""]
    assert found[2].document.sections[0].heading == "价目"
    assert faults == [
        "表.xlsx: sheet Sheet, row 3: question is empty",
        "表.xlsx: sheet Sheet, row 4: more cells than columns",
    ]


# Tables


def test_cells_are_read_as_they_are_shown(book: Any, tmp_path: Path) -> None:
    rows: list[tuple[object, str, str]] = [
        (0.125, "0.0%", "12.5%"),
        (1234567.891, "#,##0.00", "1,234,567.89"),
        (99, '"¥"0.00', "¥99.00"),
        (30, '0"天"', "30天"),
        (0.1 + 0.2, "General", "0.3"),
        (7, "000", "007"),
        (-1200, "#,##0_);(#,##0)", "-1,200"),
        (date(2024, 5, 1), "yyyy/m/d", "2024-05-01"),
        (datetime(2024, 5, 1, 9, 30), 'm"月"d"日" h:mm', "2024-05-01 09:30"),  # noqa: DTZ001
        (time(9, 30), "h:mm", "09:30"),
        (True, "General", "TRUE"),
        ("0571-1234", "General", "0571-1234"),
        ("a|b\nc", "General", "a\\|b c"),
    ]
    sheet = book.active
    fill(sheet, ("名称", "值"))
    for number, (value, code, _) in enumerate(rows, start=2):
        sheet.cell(number, 1, f"k{number}")
        sheet.cell(number, 2, value).number_format = code
    lines = text_of(read_one(saved(book, tmp_path)).document).split("\n")[2:]
    assert lines == [f"| k{number} | {shown} |" for number, (_, _, shown) in enumerate(rows, 2)]


def test_merged_cells_are_filled_and_headers_of_two_rows_are_one(book: Any, tmp_path: Path) -> None:
    sheet = book.active
    sheet.title = "价目"
    fill(sheet, ("2024 年价目表",), ("城市", "首重", None), (None, "标快", "特快"))
    fill(sheet, ("北京", 12, 20), (None, 13, 21))
    for area in ("A1:C1", "A2:A3", "B2:C2", "A4:A5"):
        sheet.merge_cells(area)
    assert read_one(saved(book, tmp_path)).document.sections == (
        Section(
            "价目",
            "2024 年价目表\n\n| 城市 | 首重 标快 | 首重 特快 |\n| --- | --- | --- |\n"
            "| 北京 | 12 | 20 |\n| 北京 | 13 | 21 |",
        ),
    )


def test_tables_parted_by_an_empty_row_are_two(book: Any, tmp_path: Path) -> None:
    sheet = book.active
    fill(sheet, ("a", "b"), (1, 2), (), (3, 4), (), ("x", "y", "z"), (5, 6, 7))
    assert text_of(read_one(saved(book, tmp_path)).document) == (
        "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |\n\n"
        "| x | y | z |\n| --- | --- | --- |\n| 5 | 6 | 7 |"
    )


def test_what_is_hidden_is_left_out_and_counted(book: Any, tmp_path: Path) -> None:
    sheet = book.active
    fill(sheet, ("名称", "进价", "售价"), ("壶", 1, 99), ("锅", 2, 199))
    sheet.row_dimensions[3].hidden = True
    sheet.column_dimensions["B"].hidden = True
    for name, state in (("内部", "hidden"), ("宏", "veryHidden")):
        fill(book.create_sheet(name), ("秘密", "x"))
        book[name].sheet_state = state
    found = read_one(saved(book, tmp_path))
    assert text_of(found.document) == "| 名称 | 售价 |\n| --- | --- |\n| 壶 | 99 |"
    assert found.counts == {
        "hidden rows left out": 1,
        "hidden columns left out": 1,
        "hidden sheets left out": 2,
    }


def test_a_saved_value_is_read_and_a_formula_without_one_is_named_once(
    book: Any, tmp_path: Path
) -> None:
    sheet = book.active
    fill(
        sheet, ("名称", "价格"), ("壶", "=40+2"), ("锅", '=WEBSERVICE("http://x")'), ("碗", "=1/0")
    )
    path = saved(book, tmp_path)
    change_member(path, "xl/worksheets/sheet1.xml", "<v></v>", "<v>42</v>")
    change_member(path, "xl/worksheets/sheet1.xml", "<v></v>", "")
    change_member(path, "xl/worksheets/sheet1.xml", "<v></v>", "")
    found, faults = read_all(path)
    assert text_of(found[0].document) == (
        "| 名称 | 价格 |\n| --- | --- |\n| 壶 | 42 |\n| 锅 |  |\n| 碗 |  |"
    )
    assert faults == [
        "表.xlsx: sheet Sheet: the formula in B3 and 1 more has no saved value: "
        "open it in Excel and save it again"
    ]


def test_a_dimension_that_lies_and_a_million_empty_rows_cost_nothing(
    book: Any, tmp_path: Path
) -> None:
    fill(book.active, ("a", "b"), (1, 2))
    path = saved(book, tmp_path)
    member = "xl/worksheets/sheet1.xml"
    change_member(path, member, 'ref="A1:B2"', 'ref="A1:XFD1048576"')
    last = '<row r="1048576"><c r="A1048576"><v>9</v></c></row>'
    # Beyond the last row that Excel has.
    beyond = '<row r="9999999"><c r="A9999999"><v>8</v></c></row>'
    empty = "".join(f'<row r="{n}"><c r="A{n}" s="0"/></row>' for n in range(3, 200_000))
    change_member(path, member, "</sheetData>", f"{empty}{last}{beyond}</sheetData>")
    assert text_of(read_one(path).document) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n\n9"


def test_a_cell_with_a_megabyte_of_text_is_read(book: Any, tmp_path: Path) -> None:
    fill(book.active, ("question", "answer"), ("q", "MARK"))
    path = saved(book, tmp_path)
    change_member(path, "xl/worksheets/sheet1.xml", "MARK", "长" * 1_000_000)
    assert read_one(path).document.answer == "长" * 1_000_000


def test_odd_styles_do_not_stop_the_reader(book: Any, tmp_path: Path) -> None:
    fill(book.active, ("a", "b"), (1, 2))
    path = saved(book, tmp_path)
    change_member(path, "xl/styles.xml", "<fill>", "<fill/><fill>")
    with pytest.raises(TypeError):
        openpyxl.load_workbook(path)
    assert text_of(read_one(path).document).endswith("| 1 | 2 |")


def test_shared_strings_are_read_without_how_they_are_pronounced(tmp_path: Path) -> None:
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    rels = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
    cells = (
        '<c t="s"><v>0</v></c><c t="s"><v>1</v></c><c t="s"><v>99</v></c><c t="str"><v>z</v></c>'
    )
    write_zip(
        tmp_path / "a.xlsx",
        {
            "_rels/.rels": f'<Relationships {rels}><Relationship Id="a" '
            f'Type="{office}/officeDocument" Target="/xl/book.xml"/></Relationships>',
            "xl/book.xml": f'<workbook {main} xmlns:r="{office}"><sheets>'
            '<sheet name="表一" r:id="b"/></sheets></workbook>',
            "xl/_rels/book.xml.rels": f"<Relationships {rels}>"
            f'<Relationship Id="b" Type="{office}/worksheet" Target="s.xml"/>'
            f'<Relationship Id="c" Type="{office}/sharedStrings" Target="t.xml"/></Relationships>',
            "xl/s.xml": f"<worksheet {main}><sheetData><row>{cells}</row></sheetData></worksheet>",
            "xl/t.xml": f"<sst {main}><si><r><t>退</t></r><r><t>货</t></r>"
            "<rPh><t>tuihuo</t></rPh></si><si><t>a_x000D_b</t></si></sst>",
        },
    )
    assert read_one(tmp_path / "a.xlsx").document.sections == (
        Section("表一", "| 退货 | a b | z |\n| --- | --- | --- |"),
    )


def test_an_empty_workbook_says_so(book: Any, tmp_path: Path) -> None:
    assert fault_of(saved(book, tmp_path)) == "表.xlsx: empty"
