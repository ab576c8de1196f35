"""What is read of PowerPoint files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pptx
import pytest
from PIL import Image
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from knowledge.documents import Section
from knowledge.ocr import Line, Recognised
from tests.unit.knowledge.found import change_member, fault_of, read_all, read_one, text_of

TITLE_AND_CONTENT, TITLE_ONLY, BLANK = 1, 5, 6


@pytest.fixture
def deck() -> Any:
    return pptx.Presentation()


def add_slide(deck: Any, layout: int, title: str = "") -> Any:
    slide = deck.slides.add_slide(deck.slide_layouts[layout])
    if title:
        slide.shapes.title.text = title
    return slide


def add_box(shapes: Any, text: str, left: float, top: float) -> Any:
    box = shapes.add_textbox(Inches(left), Inches(top), Inches(2), Inches(1))
    box.text_frame.text = text
    return box


def saved(deck: Any, tmp_path: Path) -> Path:
    path = tmp_path / "培训.pptx"
    deck.save(str(path))
    return path


def test_each_slide_is_a_section_on_its_page_under_its_title(deck: Any, tmp_path: Path) -> None:
    first = add_slide(deck, TITLE_AND_CONTENT, "退货流程")
    body = first.placeholders[1].text_frame
    body.text = "打开应用"
    for text, level in [("点击订单", 0), ("选择原因", 1)]:
        line = body.add_paragraph()
        line.text, line.level = text, level
    add_slide(deck, BLANK)
    add_slide(deck, TITLE_ONLY, "谢谢")
    document = read_one(saved(deck, tmp_path)).document
    assert document.title == "退货流程"
    assert document.sections == (
        Section("退货流程", "- 打开应用\n- 点击订单\n  - 选择原因", 1),
        Section("谢谢", "谢谢", 3),
    )


def test_boxes_are_read_row_by_row_and_groups_together(deck: Any, tmp_path: Path) -> None:
    shapes = add_slide(deck, BLANK).shapes
    add_box(shapes, "右下", 5, 4)
    group = shapes.add_group_shape()
    add_box(group.shapes, "组二", 5, 2)
    add_box(group.shapes, "组一", 5, 1)
    add_box(shapes, "左下", 1, 4)
    add_box(shapes, "左上", 1, 1)
    assert text_of(read_one(saved(deck, tmp_path)).document).split() == [
        *("左上", "组一", "组二", "左下", "右下")
    ]


def test_columns_that_do_not_line_up_are_read_one_after_the_other(
    deck: Any, tmp_path: Path
) -> None:
    shapes = add_slide(deck, BLANK).shapes
    for text, left, top in [("左二", 1, 2.5), ("右一", 5, 1.7), ("右二", 5, 3.2), ("左一", 1, 1)]:
        add_box(shapes, text, left, top).height = Inches(1.5)
    assert text_of(read_one(saved(deck, tmp_path)).document).split() == [
        *("左一", "左二", "右一", "右二")
    ]


def test_tables_fill_merged_cells_and_charts_are_tables(deck: Any, tmp_path: Path) -> None:
    shapes = add_slide(deck, TITLE_ONLY, "价格").shapes
    size = [Inches(number) for number in (1, 1, 5, 1)]
    table = shapes.add_table(3, 2, *size).table
    for number, text in enumerate(("名称", "价格", "壶", "99", "", "89")):
        table.cell(*divmod(number, 2)).text = text
    table.cell(1, 0).merge(table.cell(2, 0))
    data = CategoryChartData()
    data.categories = ["一月", "二月"]
    data.add_series("销量", (3, 4.5))
    size[1] = Inches(4)
    chart = shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, *size, data).chart
    chart.has_title = True
    chart.chart_title.text_frame.text = "月销量"
    assert text_of(read_one(saved(deck, tmp_path)).document) == (
        "| 名称 | 价格 |\n| --- | --- |\n| 壶 | 99 |\n| 壶 | 89 |\n\n"
        "月销量\n\n|  | 销量 |\n| --- | --- |\n| 一月 | 3 |\n| 二月 | 4.5 |"
    )


def test_links_and_notes_are_kept(deck: Any, tmp_path: Path) -> None:
    slide = add_slide(deck, TITLE_ONLY, "A")
    box = add_box(slide.shapes, "详见", 1, 2)
    run = box.text_frame.paragraphs[0].add_run()
    run.text = "官网"
    run.hyperlink.address = "https://shop.example/"
    slide.notes_slide.notes_text_frame.text = "先演示。"
    found = read_one(saved(deck, tmp_path))
    assert text_of(found.document) == "详见[官网](https://shop.example/)\n\nNotes: 先演示。"
    assert found.counts == {"slides with notes": 1}


def test_hidden_slides_and_shapes_are_left_out(deck: Any, tmp_path: Path) -> None:
    add_slide(deck, TITLE_ONLY, "旧价格").element.set("show", "0")
    shapes = add_slide(deck, TITLE_ONLY, "新价格").shapes
    add_box(shapes, "秘密", 1, 2)._element.nvSpPr.cNvPr.set("hidden", "1")
    found = read_one(saved(deck, tmp_path))
    assert found.document.sections == (Section("新价格", "新价格", 2),)
    assert found.counts == {"hidden slides left out": 1}


def test_pictures_are_read_by_ocr(
    deck: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "knowledge.ocr.recognise",
        lambda _: Recognised((Line("图中文字", 0.8, (0, 0, 9, 9)),)),
    )
    picture = io.BytesIO()
    Image.new("RGB", (300, 200)).save(picture, "PNG")
    shapes = add_slide(deck, TITLE_ONLY, "图").shapes
    shapes.add_picture(picture, Inches(1), Inches(2))
    found = read_one(saved(deck, tmp_path))
    assert found.document.sections == (Section("图", "图中文字", 1),)
    assert found.document.metadata["ocr_confidence"] == "0.80"


def test_a_dangling_relation_is_named_in_one_line(deck: Any, tmp_path: Path) -> None:
    add_slide(deck, TITLE_ONLY, "A")
    path = saved(deck, tmp_path)
    change_member(path, "ppt/_rels/presentation.xml.rels", "slides/slide1.xml", "slides/no.xml")
    assert fault_of(path).startswith("培训.pptx: damaged (")


def test_a_damaged_slide_is_named_and_the_others_are_read(deck: Any, tmp_path: Path) -> None:
    for title in ("甲", "乙", "丙"):
        add_slide(deck, TITLE_ONLY, title)
    path = saved(deck, tmp_path)
    change_member(path, "ppt/slides/slide2.xml", "<a:t>乙</a:t>", "")
    found, faults = read_all(path)
    assert [section.heading for section in found[0].document.sections] == ["甲", "丙"]
    assert faults == ["培训.pptx: slide 2 is damaged: open it in its program and save it again"]


def test_circular_relations_end(deck: Any, tmp_path: Path) -> None:
    add_slide(deck, TITLE_ONLY, "A")
    path = saved(deck, tmp_path)
    relation = (
        '<Relationship Id="rId99" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
        'relationships/slide" Target="slide1.xml"/></Relationships>'
    )
    change_member(path, "ppt/slides/_rels/slide1.xml.rels", "</Relationships>", relation)
    assert read_one(path).document.title == "A"
