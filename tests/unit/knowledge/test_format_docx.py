"""What is read of Word files."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docx
import pytest
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from PIL import Image

from knowledge.documents import Section
from knowledge.ocr import Line, Recognised
from tests.unit.knowledge.found import change_member, fault_of, read_one, text_of

DATA = Path(__file__).parents[3].parent / "shared" / "data" / "pdf"


@pytest.fixture
def word() -> Any:
    return docx.Document()


def saved(word: Any, tmp_path: Path, name: str = "手册.docx") -> Path:
    path = tmp_path / name
    word.save(str(path))
    return path


def add_xml(word: Any, xml: str) -> None:
    """Put XML before the end of the body."""
    word.element.body.insert(len(word.element.body) - 1, parse_xml(xml))


def paragraph(inner: str) -> str:
    return f"<w:p {nsdecls('w', 'r', 'a', 'wp')}>{inner}</w:p>"


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data")
@pytest.mark.parametrize("name", ["office_docx-tables.docx", "office_fake-power-point-table.pptx"])
def test_public_office_files_are_read_in_full(name: str) -> None:
    lines = (DATA / "expected.jsonl").read_text().splitlines()
    expected = next(row for row in map(json.loads, lines) if row["file"] == name)
    document = read_one(DATA / name).document
    said = re.sub(r"\s", "", document.title + text_of(document))
    assert [text for text in expected["must_contain"] if re.sub(r"\s", "", text) not in said] == []


def test_headings_make_paths_and_the_only_top_one_is_the_title(word: Any, tmp_path: Path) -> None:
    word.add_heading("退货政策", 1)
    word.add_paragraph("前言。")
    word.add_heading("期限", 2)
    word.add_paragraph("七天。")
    word.add_heading("Costs", 2)
    word.add_heading("Abroad", 3)
    word.add_paragraph("10 €")
    document = read_one(saved(word, tmp_path)).document
    assert document.title == "退货政策"
    assert document.sections == (
        Section("", "前言。"),
        Section("期限", "七天。"),
        Section("Costs › Abroad", "10 €"),
    )


@pytest.mark.parametrize("name", ["标题 2", "Heading 2", "heading 2", "見出し 2", "Überschrift 2"])
def test_headings_are_known_by_localised_style_names(word: Any, tmp_path: Path, name: str) -> None:
    style = word.styles.add_style("Own", 1)
    style.element.name_val = name
    word.add_paragraph("文字。")
    word.add_paragraph("运费", style=style)
    word.add_paragraph("免费。")
    assert read_one(saved(word, tmp_path)).document.sections[1] == Section("运费", "免费。")


def test_an_outline_level_makes_a_heading(word: Any, tmp_path: Path) -> None:
    level = '<w:pPr><w:outlineLvl w:val="0"/></w:pPr>'
    for title in ("甲", "乙"):
        add_xml(word, paragraph(f"{level}<w:r><w:t>{title}</w:t></w:r>"))
        word.add_paragraph("文字。")
    sections = read_one(saved(word, tmp_path)).document.sections
    assert [section.heading for section in sections] == ["甲", "乙"]


def test_short_bold_lines_are_headings_and_bold_sentences_are_not(
    word: Any, tmp_path: Path
) -> None:
    title = word.add_paragraph()
    title.add_run("云杉小筑服务手册").bold = True
    title.alignment = WD_ALIGN_PARAGRAPH.CENTER
    for heading, text in [("一、退货", "七天。"), ("（一）运费", "免费。"), ("二、换货", "十天。")]:
        word.add_paragraph().add_run(heading).bold = True
        word.add_paragraph(text)
    word.add_paragraph().add_run("请务必保留发票。").bold = True
    word.add_paragraph("完。")
    document = read_one(saved(word, tmp_path)).document
    assert document.title == "云杉小筑服务手册"
    assert document.sections == (
        Section("一、退货", "七天。"),
        Section("一、退货 › （一）运费", "免费。"),
        Section("二、换货", "十天。\n\n请务必保留发票。\n\n完。"),
    )


def test_the_title_style_names_the_document(word: Any, tmp_path: Path) -> None:
    word.core_properties.title = "Template 7"
    word.add_heading("Handbook", 0)
    word.add_heading("A", 1)
    word.add_paragraph("x")
    document = read_one(saved(word, tmp_path)).document
    assert (document.title, document.sections) == ("Handbook", (Section("A", "x"),))


def test_core_properties_become_metadata(word: Any, tmp_path: Path) -> None:
    properties = word.core_properties
    properties.title, properties.language, properties.category = "手册", "zh-CN", "售后"
    properties.version, properties.keywords = "2.10", "退货, 运费"
    properties.modified = datetime(2024, 5, 1, 8, 0, tzinfo=UTC)
    word.add_paragraph("x")
    document = read_one(saved(word, tmp_path, "a.docm")).document
    assert document.title == "手册"
    assert document.metadata == {
        "language": "zh-CN",
        "category": "售后",
        "version": "2.10",
        "tags": "退货, 运费",
        "date": "2024-05-01",
    }


def test_list_items_keep_their_marks_and_depth(word: Any, tmp_path: Path) -> None:
    for text in ("打开应用", "点击订单"):
        word.add_paragraph(text, style="List Number")
    word.add_paragraph("one", style="List Bullet")
    word.add_paragraph("end")
    assert text_of(read_one(saved(word, tmp_path)).document) == (
        "1. 打开应用\n2. 点击订单\n- one\n\nend"
    )


def test_numbers_are_written_as_their_list_writes_them(word: Any, tmp_path: Path) -> None:
    numbering = word.part.numbering_part.element
    numbering.insert(
        0,
        parse_xml(
            f'<w:abstractNum {nsdecls("w")} w:abstractNumId="77">'
            '<w:lvl w:ilvl="0"><w:start w:val="9"/><w:numFmt w:val="chineseCountingThousand"/>'
            '<w:lvlText w:val="第%1条"/></w:lvl>'
            '<w:lvl w:ilvl="1"><w:start w:val="1"/><w:numFmt w:val="lowerLetter"/>'
            '<w:lvlText w:val="%2)"/></w:lvl></w:abstractNum>'
        ),
    )
    numbering.append(
        parse_xml(f'<w:num {nsdecls("w")} w:numId="78"><w:abstractNumId w:val="77"/></w:num>')
    )
    for depth, text in [(0, "甲"), (1, "x"), (1, "y"), (0, "乙"), (1, "z"), (0, "丙")]:
        number = f'<w:numPr><w:ilvl w:val="{depth}"/><w:numId w:val="78"/></w:numPr>'
        add_xml(word, paragraph(f"<w:pPr>{number}</w:pPr><w:r><w:t>{text}</w:t></w:r>"))
    assert text_of(read_one(saved(word, tmp_path)).document).split("\n") == [
        "第九条 甲",
        "  a) x",
        "  b) y",
        "第十条 乙",
        "  a) z",
        "第十一条 丙",
    ]


def test_merged_cells_are_filled_and_a_table_in_a_cell_stays_in_its_row(
    word: Any, tmp_path: Path
) -> None:
    table = word.add_table(rows=4, cols=3)
    for number, cell in enumerate(cell for row in table.rows for cell in row.cells):
        cell.text = "abcdefghijkl"[number]
    table.cell(0, 0).merge(table.cell(1, 0))
    table.cell(0, 1).merge(table.cell(0, 2))
    inner = table.cell(3, 1).add_table(rows=2, cols=2)
    for number, cell in enumerate(cell for row in inner.rows for cell in row.cells):
        cell.text = "1234"[number]
    lines = text_of(read_one(saved(word, tmp_path)).document).split("\n")
    assert lines == [
        "| a d | b c | b c |",
        "| --- | --- | --- |",
        "| a d | e | f |",
        "| g | h | i |",
        "| j | k 1, 2; 3, 4 | l |",
    ]


def test_a_title_row_stands_above_its_table_and_a_frame_is_no_table(
    word: Any, tmp_path: Path
) -> None:
    frame = word.add_table(rows=1, cols=1).cell(0, 0)
    frame.text = "注意事项写在框里。"
    word.add_paragraph("表：")
    table = word.add_table(rows=3, cols=2)
    for number, cell in enumerate(cell for row in table.rows for cell in row.cells):
        cell.text = ["价目表", "", "名称", "价格", "a|b", "9\n元"][number]
    table.cell(0, 0).merge(table.cell(0, 1))
    assert text_of(read_one(saved(word, tmp_path)).document) == (
        "注意事项写在框里。\n\n表：\n\n价目表\n\n| 名称 | 价格 |\n| --- | --- |\n| a\\|b | 9 元 |"
    )


def test_links_are_kept_and_only_web_addresses_are_links(word: Any, tmp_path: Path) -> None:
    for target in ("https://shop.example/a_(b)", "javascript:alert(1)"):
        relation = word.part.relate_to(target, RELATIONSHIP_TYPE.HYPERLINK, is_external=True)
        run = "<w:r><w:t>这里</w:t></w:r>"
        add_xml(word, paragraph(f'<w:hyperlink r:id="{relation}">{run}</w:hyperlink>'))
    add_xml(
        word,
        paragraph(
            '<w:r><w:fldChar w:fldCharType="begin"/></w:r>'
            '<w:r><w:instrText> HYPERLINK "https://shop.example" </w:instrText></w:r>'
            '<w:r><w:fldChar w:fldCharType="separate"/></w:r><w:r><w:t>shop</w:t></w:r>'
            '<w:r><w:fldChar w:fldCharType="end"/></w:r><w:r><w:t>→</w:t></w:r>'
        ),
    )
    assert text_of(read_one(saved(word, tmp_path)).document).split("\n\n") == [
        "[这里](<https://shop.example/a_(b)>)",
        "这里",
        "[shop](https://shop.example)→",
    ]


def test_changes_are_read_as_accepted_and_what_is_hidden_is_left_out(
    word: Any, tmp_path: Path
) -> None:
    add_xml(
        word,
        paragraph(
            "<w:r><w:t>七</w:t></w:r>"
            "<w:ins><w:r><w:t>天</w:t></w:r></w:ins>"
            "<w:del><w:r><w:delText>日</w:delText></w:r></w:del>"
            "<w:r><w:rPr><w:vanish/></w:rPr><w:t>内部</w:t></w:r>"
            "<w:sdt><w:sdtContent><w:r><w:t>可退</w:t></w:r></w:sdtContent></w:sdt>"
        ),
    )
    commented = word.add_paragraph("。")
    word.add_comment(commented.runs, text="秘密", author="x")
    word.sections[0].header.paragraphs[0].text = "机密"
    found = read_one(saved(word, tmp_path))
    assert text_of(found.document) == "七天可退\n\n。"
    assert found.counts == {
        "tracked deletions left out": 1,
        "hidden texts left out": 1,
        "comments left out": 1,
        "headers and footers left out": 1,
    }


def test_text_boxes_are_read_once_and_tables_of_contents_not(word: Any, tmp_path: Path) -> None:
    box = "<w:txbxContent><w:p><w:r><w:t>盒子</w:t></w:r></w:p></w:txbxContent>"
    add_xml(
        word,
        f'<w:p {nsdecls("w")} xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
        ' xmlns:v="urn:schemas-microsoft-com:vml"><w:r><w:t>外</w:t></w:r><w:r>'
        f"<mc:AlternateContent><mc:Choice><w:drawing>{box}</w:drawing></mc:Choice>"
        f"<mc:Fallback><w:pict><v:textbox>{box}</v:textbox></w:pict></mc:Fallback>"
        "</mc:AlternateContent></w:r></w:p>",
    )
    word.styles.add_style("TOC9", 1).element.name_val = "toc 1"
    word.add_paragraph("退货......3", style="toc 1")
    assert text_of(read_one(saved(word, tmp_path)).document) == "外\n\n盒子"


def test_a_footnote_follows_its_paragraph(word: Any, tmp_path: Path) -> None:
    from docx.opc.packuri import PackURI
    from docx.opc.part import Part

    notes = (
        f'<w:footnotes {nsdecls("w")}><w:footnote w:id="5"><w:p><w:r><w:t>节假日除外。</w:t></w:r>'
        "</w:p></w:footnote></w:footnotes>"
    )
    part = Part(PackURI("/word/footnotes.xml"), "application/xml", notes.encode(), None)
    word.part.relate_to(part, RELATIONSHIP_TYPE.FOOTNOTES)
    reference = '<w:r><w:footnoteReference w:id="5"/></w:r>'
    add_xml(word, paragraph(f"<w:r><w:t>七天</w:t></w:r>{reference}<w:r><w:t>。</w:t></w:r>"))
    word.add_paragraph("后")
    assert (
        text_of(read_one(saved(word, tmp_path)).document) == "七天[1]。\n\n[1] 节假日除外。\n\n后"
    )


def test_large_pictures_are_read_by_ocr_each_once(
    word: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def recognise(pixels: Any) -> Recognised:
        sizes.append(pixels.shape)
        return Recognised((Line("图中文字", 0.9, (0, 0, 9, 9)),))

    monkeypatch.setattr("knowledge.ocr.recognise", recognise)
    word.add_paragraph("上")
    for size in ((300, 200), (300, 200), (20, 20)):
        picture = io.BytesIO()
        Image.new("RGB", size, "white").save(picture, "PNG")
        picture.seek(0)
        word.add_picture(picture)
    word.add_paragraph("下")
    found = read_one(saved(word, tmp_path))
    assert sizes == [(200, 300, 3)]
    assert text_of(found.document) == "上\n\n图中文字\n\n下"
    assert found.counts == {"pictures read by OCR": 1}
    assert found.document.metadata["ocr_confidence"] == "0.90"


def test_a_dangling_relation_does_not_stop_the_reader(word: Any, tmp_path: Path) -> None:
    word.add_paragraph("文字")
    path = saved(word, tmp_path)
    change_member(path, "word/_rels/document.xml.rels", "numbering.xml", "NULL")
    assert text_of(read_one(path).document) == "文字"


def test_strict_files_are_read_too(word: Any, tmp_path: Path) -> None:
    word.add_heading("甲", 1)
    word.add_paragraph("乙")
    path = saved(word, tmp_path)
    transitional = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    strict = "http://purl.oclc.org/ooxml/wordprocessingml/main"
    change_member(path, "word/document.xml", transitional, strict)
    change_member(path, "word/styles.xml", transitional, strict)
    assert read_one(path).document.title == "甲"


def test_an_empty_file_says_so(word: Any, tmp_path: Path) -> None:
    assert fault_of(saved(word, tmp_path)) == "手册.docx: empty"


def test_tables_nested_deeper_than_any_program_writes_are_refused(
    word: Any, tmp_path: Path
) -> None:
    word.add_paragraph("MARK")
    path = saved(word, tmp_path)
    deep = 10_000
    nested = "<w:tbl><w:tr><w:tc>" * deep + "</w:tc></w:tr></w:tbl>" * deep
    change_member(path, "word/document.xml", "<w:sectPr", nested + "<w:sectPr")
    assert fault_of(path).startswith("手册.docx: damaged (word/document.xml)")
