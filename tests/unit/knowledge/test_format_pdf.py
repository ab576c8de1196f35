"""What is read of a PDF, and what is said of one that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from numpy.typing import NDArray

from kfbot.errors import DocumentUnreadable
from knowledge import ocr
from knowledge.documents import Document, SourceFile
from knowledge.formats import read_file
from knowledge.formats.contract import Found
from knowledge.formats.pdf import document, scans
from tests.unit.knowledge.pdf_writer import Sheet, write_pdf

Write = Callable[..., SourceFile]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(*sheets: Sheet, title: bytes = b"", form: str = "") -> SourceFile:
        path = write_pdf(tmp_path / "file.pdf", sheets, title=title, form=form)
        return SourceFile(path, "file.pdf")

    return write_file


@pytest.fixture(autouse=True)
def pictures(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The sizes of the pictures that went through OCR, which reads one line in each."""
    seen: list[tuple[int, ...]] = []

    def recognise(image: NDArray[np.uint8]) -> ocr.Recognised:
        seen.append(image.shape)
        line = ocr.Line("read from a picture", 0.9, (20, 20, 400, 60))
        return ocr.Recognised((line,))

    monkeypatch.setattr(ocr, "recognise", recognise)
    return seen


def read_all(file: SourceFile) -> tuple[Found, list[str]]:
    found, *faults = read_file(file)
    assert isinstance(found, Found), found
    return found, [str(fault) for fault in faults if isinstance(fault, DocumentUnreadable)]


def read(file: SourceFile) -> Document:
    found, faults = read_all(file)
    assert faults == []
    return found.document


def text_of(file: SourceFile) -> str:
    return "\n\n".join(section.text for section in read(file).sections)


PROSE = [
    "The warranty begins on the day of delivery and ends after two",
    "years, unless the invoice names another term for the device in",
    "question, which some of the smaller parts of a set have indeed.",
    "Batteries are worn by use and are covered for half a year only.",
]


def test_lines_of_a_paragraph_are_joined_and_hyphenated_words_made_whole(write: Write) -> None:
    sheet = Sheet().lines(60, 100, ["The guaran-", "tee covers a well-", "known part."])
    sheet.lines(60, 200, ["A well-known part is one with a number of its own."])
    assert text_of(write(sheet)) == (
        "The guarantee covers a well-known part.\n\n"
        "A well-known part is one with a number of its own."
    )


def test_no_space_is_put_between_chinese_lines(write: Write) -> None:
    sheet = Sheet().lines(60, 100, ["本产品自签收之日起七天内可以无理", "由退货，运费由买家承担。"])
    assert text_of(write(sheet)) == "本产品自签收之日起七天内可以无理由退货，运费由买家承担。"


def test_columns_are_read_one_after_the_other(write: Write) -> None:
    left = [f"left column line {number} runs on to its end" for number in range(8)]
    right = [f"right column line {number} runs on to its end" for number in range(8)]
    sheet = Sheet().lines(
        60, 100, ["One line over both columns stands at the top of the page and is long."]
    )
    text = text_of(write(sheet.lines(60, 140, left).lines(320, 140, right)))
    assert text.index("left column line 7") < text.index("right column line 0")
    assert text.startswith("One line over both")


def test_headings_make_sections_with_their_path_and_page(write: Write) -> None:
    first = Sheet().text(60, 80, "Handbook", 24, "F2").text(60, 130, "Returns", 16, "F2")
    first.lines(60, 160, PROSE).text(60, 240, "Deadlines", 13, "F2").lines(60, 270, PROSE)
    second = Sheet().text(60, 100, "Repairs", 16, "F2").lines(60, 130, PROSE)
    found = read(write(first, second))
    assert found.title == "Handbook"
    assert [(section.heading, section.page) for section in found.sections] == [
        ("Returns", 1),
        ("Returns › Deadlines", 1),
        ("Repairs", 2),
    ]


def test_a_sentence_over_the_end_of_a_page_stays_where_it_began(write: Write) -> None:
    first = Sheet().lines(60, 700, [*PROSE, "The shop pays the postage of every parcel which"])
    second = Sheet().lines(60, 100, ["comes back in time. Refunds follow within ten days."])
    one, other = read(write(first, second)).sections
    assert one.text.endswith("of every parcel which comes back in time.")
    assert (other.text, other.page) == ("Refunds follow within ten days.", 2)


def test_headers_footers_and_page_numbers_are_dropped_and_counted(write: Write) -> None:
    sheets = [
        Sheet()
        .text(60, 40, "Acme Ltd - internal", 8)
        .lines(60, 120 + 20 * number, [f"Chapter text number {number} that is kept here."])
        .text(280, 810, f"Page {number} of 4", 8)
        for number in range(1, 5)
    ]
    found, _ = read_all(write(*sheets))
    texts = [section.text for section in found.document.sections]
    assert texts == [f"Chapter text number {number} that is kept here." for number in range(1, 5)]
    assert found.counts["repeated headers, footers and watermarks dropped"] == 8


def test_what_differs_in_its_numbers_only_is_kept(write: Write) -> None:
    sheets = [
        Sheet().lines(60, 60, [f"Lock of the series X{model}"]).lines(60, 300, [f"Price: {model}"])
        for model in (240, 100, 370, 110, 520)
    ]
    text = text_of(write(*sheets))
    assert text.count("Lock of the series") == text.count("Price") == 5


def test_a_slanted_watermark_is_dropped(write: Write) -> None:
    sheet = Sheet().lines(60, 100, PROSE)
    sheet.text(200, 500, "CONFIDENTIAL", 60, turn="0.7071 0.7071 -0.7071 0.7071")
    found, _ = read_all(write(sheet))
    assert "CONFIDENTIAL" not in found.document.sections[0].text
    assert found.counts["slanted characters dropped"] == len("CONFIDENTIAL")


@pytest.mark.parametrize("rotate", [90, 180, 270])
def test_a_turned_page_reads_like_an_upright_one(write: Write, rotate: int) -> None:
    assert text_of(write(Sheet(rotate=rotate).lines(60, 100, PROSE))) == " ".join(PROSE)


def test_text_that_lies_on_its_side_is_read_as_if_the_page_were_turned(write: Write) -> None:
    sheet = Sheet()
    for number, line in enumerate(PROSE):
        sheet.text(100 + 12 * number, 800, line, turn="0 1 -1 0")
    assert text_of(write(sheet)) == " ".join(PROSE)


def test_list_items_stay_lines(write: Write) -> None:
    lines = ["\x95 Open the box.", "\x95 Take out the", "   device.", "\x95 Charge it."]
    sheet = Sheet()
    for number, line in enumerate(lines):
        sheet.text(60, 100 + 12 * number, line.encode("latin-1").decode("cp1252"))
    assert text_of(write(sheet)) == "- Open the box.\n- Take out the device.\n- Charge it."


def ruled(sheet: Sheet, y: float, rows: list[list[str]]) -> Sheet:
    sheet.grid([60, 200, 300, 400], [y + 20 * number for number in range(len(rows) + 1)])
    for number, row in enumerate(rows):
        for column, cell in enumerate(row):
            sheet.text([64, 204, 304][column], y + 14 + 20 * number, cell)
    return sheet


def test_a_ruled_table_is_a_table(write: Write) -> None:
    rows = [["Model", "Watts", "Price"], ["A1", "20", "15.00"], ["B2", "40", "25.00"]]
    assert text_of(write(ruled(Sheet(), 100, rows))) == (
        "| Model | Watts | Price |\n| --- | --- | --- |\n| A1 | 20 | 15.00 |\n| B2 | 40 | 25.00 |"
    )


def test_a_merged_cell_stands_in_each_row_that_it_covers(write: Write) -> None:
    sheet = Sheet().grid([160, 260], [100, 120, 140, 160]).rule(60, 100, 160, 100)
    sheet.rule(60, 100, 60, 160).rule(60, 120, 160, 120).rule(60, 160, 160, 160)
    for y, left, right in [(114, "Zone", "Fee"), (134, "", "5.00"), (154, "", "9.00")]:
        sheet.text(64, y, left or " ").text(164, y, right)
    sheet.text(64, 145, "North")
    assert "| North | 5.00 |\n| North | 9.00 |" in text_of(write(sheet))


def test_a_table_without_lines_is_a_table(write: Write) -> None:
    sheet = Sheet().lines(60, 60, PROSE)
    rows = [["Country", "Days", "Cost"], ["France", "3", "12.50"], ["Spain", "5", "14.00"]]
    for number, row in enumerate([*rows, ["Italy", "4", "13.20"]]):
        for column, cell in enumerate(row):
            sheet.text([60, 200, 300][column], 150 + 14 * number, cell)
    assert "| Country | Days | Cost |" in text_of(write(sheet))
    assert "| Spain | 5 | 14.00 |" in text_of(write(sheet))


def test_a_table_that_goes_on_has_its_header_on_each_page(write: Write) -> None:
    first = ruled(Sheet(), 740, [["Model", "Watts", "Price"], ["A1", "20", "15.00"]])
    second = ruled(Sheet(), 60, [["B2", "40", "25.00"], ["C3", "60", "35.00"]])
    _, section = read(write(first, second)).sections
    assert section.text.startswith("| Model | Watts | Price |\n| --- | --- | --- |\n| B2 | 40 |")


def test_links_are_kept_where_the_text_does_not_say_the_address(write: Write) -> None:
    sheet = Sheet().text(60, 100, "See terms at example.com/a now")
    action = "/A<</S/URI/URI(https://example.com/terms)>>"
    place = "/Rect[80 738 108 752]"
    sheet.annotations.append(f"<</Type/Annot/Subtype/Link{place}{action}>>")
    assert text_of(write(sheet)) == "See [terms](https://example.com/terms) at example.com/a now"


def test_values_of_form_fields_are_read_in_their_place(write: Write) -> None:
    sheet = Sheet().lines(60, 100, ["Customer number:"]).lines(60, 140, PROSE)
    widget = "/T(number)/FT/Tx/V(K-4711)/Rect[160 738 260 752]/F 4"
    sheet.annotations.append(f"<</Type/Annot/Subtype/Widget{widget}>>")
    # The form names its field, which is the object before the page.
    form = "/AcroForm<</Fields[12 0 R]>>"
    assert "Customer number: K-4711" in text_of(write(sheet, form=form))


@pytest.mark.parametrize(
    ("named", "title"),
    [
        (b"Price list 2024", "Price list 2024"),
        (b"Microsoft Word - final_v3.doc", "file"),
        (b"Untitled-1", "file"),
        ("价格表".encode("gb18030"), "价格表"),
    ],
)
def test_a_title_is_taken_only_when_a_person_wrote_it(
    write: Write, named: bytes, title: str
) -> None:
    assert read(write(Sheet().lines(60, 100, PROSE), title=named)).title == title


def test_a_scan_is_read_by_ocr_with_its_confidence(write: Write) -> None:
    found, faults = read_all(write(Sheet().image(0, 0, 595, 842)))
    assert [section.text for section in found.document.sections] == ["read from a picture"]
    assert found.document.metadata["ocr_confidence"] == "0.90"
    assert found.counts["pages read by OCR"] == 1
    assert faults == []


def test_a_text_layer_of_private_characters_is_read_by_ocr(write: Write) -> None:
    sheet = Sheet()
    for number, line in enumerate(PROSE):
        sheet.text(60, 100 + 12 * number, line, font="F4")
    assert text_of(write(sheet)) == "read from a picture"


def test_letters_that_stand_apart_are_read_by_ocr(write: Write) -> None:
    sheet = Sheet()
    for number, line in enumerate(PROSE):
        sheet.text(60, 100 + 12 * number, " ".join(line.replace(" ", "")))
    assert text_of(write(sheet)) == "read from a picture"


def test_an_image_large_enough_for_text_is_read_in_its_place(
    write: Write, pictures: list[tuple[int, ...]]
) -> None:
    sheet = Sheet().lines(60, 100, PROSE).image(60, 200, 300, 120).image(60, 400, 30, 30)
    sheet.lines(60, 500, PROSE)
    found, _ = read_all(write(sheet))
    (section,) = found.document.sections
    assert section.text.split("\n\n") == [" ".join(PROSE), "read from a picture", " ".join(PROSE)]
    assert found.counts["images read by OCR"] == len(pictures) == 1


def test_what_ocr_is_hardly_sure_of_is_dropped_and_said(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ocr.Line("q#x", 0.3, (20, 20, 400, 60))
    monkeypatch.setattr(ocr, "recognise", lambda image: ocr.Recognised((line,)))
    found, faults = read_all(write(Sheet().lines(60, 100, PROSE), Sheet().image(0, 0, 595, 842)))
    assert [section.page for section in found.document.sections] == [1]
    assert len(faults) == 1
    assert "hardly any confidence" in faults[0]


def test_ocr_stops_at_its_limit_and_says_so(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "MOST_READINGS", 2)
    found, faults = read_all(write(*[Sheet().image(0, 0, 595, 842) for _ in range(5)]))
    assert found.counts["pages read by OCR"] == 2
    assert len(faults) == 1
    assert "3 pages or images left out" in faults[0]


def test_pages_after_the_limit_are_left_out_and_said(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "MOST_PAGES", 2)
    found, faults = read_all(write(*[Sheet().lines(60, 100, [f"Page text {n}"]) for n in "abcd"]))
    assert [section.page for section in found.document.sections] == [1, 2]
    assert len(faults) == 1
    assert "has 4 pages, only the first 2 are read" in faults[0]


def test_a_page_with_too_many_objects_is_left_out_and_the_rest_read(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "MOST_OBJECTS", 20)
    crowded = Sheet()
    for number in range(30):
        crowded.rule(10, number, 500, number)
    found, faults = read_all(write(Sheet().lines(60, 100, PROSE), crowded))
    assert len(found.document.sections) == 1
    assert "page 2 left out" in faults[0]


def test_damage_is_named(write: Write) -> None:
    file = write(Sheet().lines(60, 100, PROSE))
    file.path.write_bytes(b"%PDF-1.7\nnothing that could be read")
    (fault,) = read_file(file)
    assert "damaged" in str(fault)


def test_a_file_cut_short_is_read_as_far_as_it_goes(write: Write) -> None:
    file = write(Sheet().lines(60, 100, PROSE))
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[: whole.index(b"xref")])
    (found,) = read_file(file)
    assert isinstance(found, DocumentUnreadable) or "warranty" in found.document.sections[0].text


def test_attached_files_are_named(write: Write) -> None:
    file = write(Sheet().lines(60, 100, PROSE))
    with pypdfium2.PdfDocument(file.path) as pdf:
        pdf.new_attachment("prices.xlsx").set_data(b"1")
        pdf.save(file.path.with_name("with.pdf"))
    _, faults = read_all(SourceFile(file.path.with_name("with.pdf"), "file.pdf"))
    assert len(faults) == 1
    assert "prices.xlsx" in faults[0]


def test_a_file_without_text_says_nothing(write: Write) -> None:
    (fault,) = read_file(write(Sheet()))
    assert str(fault).endswith("empty")


def test_chinese_written_down_the_page_is_read_from_the_right(write: Write) -> None:
    sheet = Sheet().lines(60, 100, PROSE)
    for column, text in enumerate(["请勿将门锁浸入水中，", "请勿使用腐蚀性清洁剂。"]):
        for number, character in enumerate(text):
            sheet.text(300 - 20 * column, 300 + 11 * number, character, font="F3")
    assert text_of(write(sheet)).endswith("请勿将门锁浸入水中，请勿使用腐蚀性清洁剂。")


def test_lines_of_one_cell_stay_in_one_row_of_a_table_without_lines(write: Write) -> None:
    rows = [
        (100, ["Country", "Remarks", "Days"]),
        (120, ["Germany", "Insured parcel", "2"]),
        (140, ["France,", "Islands take longer because", "4"]),
        (151, ["Spain", "of the ferry", ""]),
        (171, ["Norway", "Express only", "5"]),
    ]
    sheet = Sheet()
    for y, cells in rows:
        for x, cell in zip([60, 140, 340], cells, strict=True):
            if cell:
                sheet.text(x, y, cell)
    assert "| France, Spain | Islands take longer because of the ferry | 4 |" in text_of(
        write(sheet)
    )


def test_lines_that_are_not_drawn_part_rows_of_numbers(write: Write) -> None:
    sheet = Sheet().grid([60, 200, 300, 400], [100, 120, 170])
    for x, cells in [(64, "State A B C"), (204, "Long 1 2 3"), (304, "Short 4 5 6")]:
        head, *values = cells.split()
        sheet.text(x, 114, head).lines(x, 134, values)
    assert text_of(write(sheet)).splitlines()[2:] == [
        "| A | 1 | 4 |",
        "| B | 2 | 5 |",
        "| C | 3 | 6 |",
    ]


@pytest.mark.data
def test_a_locked_file_names_the_password(shared_data: Path) -> None:
    (fault,) = read_file(SourceFile(shared_data / "pdf" / "err_password.pdf", "locked.pdf"))
    assert "needs a password" in str(fault)
