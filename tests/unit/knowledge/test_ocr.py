"""Reading pictures: files of all kinds, the layout of what is in them, what is no text."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kfbot.errors import DocumentUnreadable
from knowledge.documents import SourceFile
from knowledge.formats import READERS, read_file
from knowledge.formats.contract import Found
from knowledge.formats.image import as_pixels
from knowledge.ocr import Line, Recognised, as_text, recognise
from knowledge.picture_layout import join_lines, tidy, widen_marks
from tests.scans import draw_lines, missing_font

_MISSING = missing_font()
needs_fonts = pytest.mark.skipif(
    _MISSING is not None and os.environ.get("CI") != "true",
    reason=f"the font {_MISSING} is not installed (Debian: fonts-noto-cjk)",
)


def line(text: str, left: float, top: float, width: float, height: float = 30) -> Line:
    return Line(text, 0.99, (left, top, left + width, top + height))


def text_of(*lines: Line) -> str:
    return as_text(Recognised(lines))


def read(path: Path) -> list[Found | DocumentUnreadable]:
    return list(read_file(SourceFile(path, path.name)))


def text_in(path: Path) -> str:
    [found] = read(path)
    assert isinstance(found, Found), found
    return "\n".join(section.text for section in found.document.sections)


def fault_in(path: Path) -> str:
    [fault] = read(path)
    assert isinstance(fault, DocumentUnreadable)
    return str(fault)


@pytest.fixture(scope="module")
def words() -> Image.Image:
    return Image.fromarray(draw_lines(["Refund 退款 30 days"]))


# Layout


def test_a_sentence_over_several_lines_becomes_one_line() -> None:
    text = text_of(
        line("You may return any unworn item within", 0, 0, 500),
        line("30 days of delivery.", 0, 40, 270),
    )
    assert text == "You may return any unworn item within 30 days of delivery."


def test_chinese_lines_are_joined_without_a_space() -> None:
    text = text_of(line("自签收之日起七天内可以申请", 0, 0, 390), line("退货。", 0, 40, 90))
    assert text == "自签收之日起七天内可以申请退货。"


def test_a_line_that_ends_early_ends_its_paragraph() -> None:
    text = text_of(
        line("问：可以开发票吗？", 0, 0, 250),
        line("答：可以，请在我的订单中上传营业执照。", 0, 40, 600),
    )
    assert text == "问：可以开发票吗？\n\n答：可以，请在我的订单中上传营业执照。"


def test_an_indented_line_begins_a_paragraph() -> None:
    text = text_of(
        line("一共有三种情况可以申请退款的。", 0, 0, 600),
        line("第二段的开头空两格。", 60, 40, 540),
    )
    assert text.count("\n\n") == 1


def test_numbered_items_stay_apart() -> None:
    text = text_of(
        line("1. Unplug the router and wait a whole minute", 0, 0, 600),
        line("2. Plug it in again", 0, 40, 260),
    )
    assert text.split("\n\n")[1] == "2. Plug it in again"


def test_larger_print_is_a_paragraph_of_its_own() -> None:
    text = text_of(
        line("Returns and refunds in all of our shops", 0, 0, 600, 50),
        line("You may return any item within a month", 0, 60, 590),
    )
    assert text.count("\n\n") == 1


def test_a_hyphenated_word_becomes_whole() -> None:
    assert join_lines(["the manu-", "facturer"]) == "the manufacturer"
    assert join_lines(["model KX-", "4471"]) == "model KX- 4471"


def test_two_columns_are_read_one_after_the_other() -> None:
    left = [
        "The first column of the page has long",
        "lines that fill it and go on and on",
        "to its end.",
    ]
    right = [
        "The second column has long lines too",
        "and each of them fills it as well until",
        "it ends.",
    ]
    widths = [400, 395, 110]
    lines = [line(left[row], 0, 40 * row, widths[row]) for row in range(3)]
    lines += [line(right[row], 450, 40 * row + 9, widths[row]) for row in range(3)]
    assert text_of(*lines) == f"{' '.join(left)}\n\n{' '.join(right)}"


def test_the_cells_of_a_row_stay_on_one_line() -> None:
    rows = [("Plan", "Price", "Seats"), ("Starter", "$9", "1"), ("Team", "$29", "10")]
    lines = [
        line(cell, 200 * column, 50 * row, 20 * len(cell))
        for row, cells in enumerate(rows)
        for column, cell in enumerate(cells)
    ]
    assert text_of(*lines).split("\n") == [
        "| Plan | Price | Seats |",
        "| --- | --- | --- |",
        "| Starter | $9 | 1 |",
        "| Team | $29 | 10 |",
    ]


def test_a_cell_of_two_lines_is_one_cell() -> None:
    text = text_of(
        line("Model", 0, 0, 100), line("Description", 200, 0, 200),
        line("X3", 0, 100, 40), line("Earbuds with a case", 200, 80, 300),
        line("that charges them", 200, 118, 280),
        line("X4", 0, 200, 40), line("Headphones", 200, 200, 200),
    )  # fmt: skip
    assert "| X3 | Earbuds with a case that charges them |" in text
    assert "| X4 | Headphones |" in text


def test_a_caption_and_a_note_are_no_rows_of_the_table() -> None:
    text = text_of(
        line("Shipping rates", 0, 0, 150),
        line("Country", 0, 60, 100), line("Fee", 300, 60, 60),
        line("Canada", 0, 110, 100), line("$9", 300, 110, 40),
        line("Duties excluded", 0, 170, 160),
    )  # fmt: skip
    parts = text.split("\n\n")
    assert [parts[0], parts[2]] == ["Shipping rates", "Duties excluded"]


def test_a_line_written_downwards_does_not_join_the_lines_beside_it() -> None:
    text = text_of(
        line("CONFIDENTIAL COPY", 900, 0, 30, 300),
        line("The first paragraph is short.", 0, 0, 400),
        line("The second one is short, too.", 0, 100, 400),
    )
    assert text.split("\n\n") == [
        "The first paragraph is short.", "The second one is short, too.", "CONFIDENTIAL COPY",
    ]  # fmt: skip


def test_nothing_read_is_no_text() -> None:
    assert as_text(Recognised(())) == ""
    assert Recognised(()).confidence == 0


def test_confidence_is_the_mean_over_the_characters() -> None:
    read = Recognised((Line("abc", 1.0, (0, 0, 9, 9)), Line("d", 0.6, (0, 20, 9, 29))))
    assert read.confidence == pytest.approx(0.9)


def test_spaces_between_chinese_characters_go_and_others_stay() -> None:
    assert tidy(" 退 款  政策 Refund  policy 30 天 ") == "退款政策 Refund policy 30 天"


def test_narrow_marks_among_wide_ones_become_wide() -> None:
    assert widen_marks(["你好，请问", "价格,是多少？"]) == ["你好，请问", "价格，是多少？"]


def test_narrow_marks_stay_where_the_page_has_them() -> None:
    page = ["价格,运费", "你好,请问?", "退款，退货", "Hi, see 9:00"]
    assert widen_marks(page) == page


# Files


@needs_fonts
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".gif"])
def test_every_kind_of_picture_is_read(tmp_path: Path, words: Image.Image, suffix: str) -> None:
    words.save(tmp_path / f"page{suffix}")
    assert text_in(tmp_path / f"page{suffix}") == "Refund 退款 30 days"


@needs_fonts
def test_a_picture_tells_how_sure_its_text_is(tmp_path: Path, words: Image.Image) -> None:
    words.save(tmp_path / "page.png")
    [found] = read_file(SourceFile(tmp_path / "page.png", "page.png", metadata={"product": "X3"}))
    assert isinstance(found, Found)
    assert found.document.metadata["product"] == "X3"
    assert 0.8 < float(found.document.metadata["ocr_confidence"]) <= 1
    assert found.counts == {"pictures read by OCR": 1}
    assert found.document.sections[0].page == 0


@needs_fonts
def test_each_page_of_a_tiff_is_a_section(tmp_path: Path, words: Image.Image) -> None:
    blank = Image.new("RGB", (200, 100), "white")
    second = Image.fromarray(draw_lines(["Second page"]))
    path = tmp_path / "fax.tiff"
    words.save(path, save_all=True, append_images=[blank, second])
    [found] = read(path)
    assert isinstance(found, Found)
    assert [(s.page, s.text) for s in found.document.sections] == [
        (1, "Refund 退款 30 days"),
        (3, "Second page"),
    ]


@needs_fonts
def test_the_first_picture_of_an_animation_is_read(tmp_path: Path, words: Image.Image) -> None:
    other = Image.fromarray(draw_lines(["Something else"])).resize(words.size)
    words.save(tmp_path / "ad.gif", save_all=True, append_images=[other])
    assert text_in(tmp_path / "ad.gif") == "Refund 退款 30 days"


@needs_fonts
@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_exif_orientation_is_followed(tmp_path: Path, words: Image.Image, orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        6: Image.Transpose.ROTATE_90,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    words.transpose(undo[orientation]).save(tmp_path / "photo.jpg", exif=exif)
    assert text_in(tmp_path / "photo.jpg") == "Refund 退款 30 days"


@needs_fonts
def test_writing_on_nothing_is_read_whatever_its_colour(tmp_path: Path, words: Image.Image) -> None:
    ink = 255 - np.asarray(words)[:, :, :1]
    for name, colour in (("dark", 0), ("light", 255)):
        rgb = np.full((*ink.shape[:2], 3), colour, np.uint8)
        Image.fromarray(np.concatenate([rgb, ink], axis=2)).save(tmp_path / f"{name}.png")
        assert text_in(tmp_path / f"{name}.png") == "Refund 退款 30 days"


@needs_fonts
def test_sixteen_bits_cmyk_palettes_and_fax_are_read(tmp_path: Path, words: Image.Image) -> None:
    # A scanner of 12 bits.
    Image.fromarray(np.asarray(words.convert("L")).astype(np.uint16) * 16).save(
        tmp_path / "deep.tiff"
    )
    words.convert("CMYK").save(tmp_path / "print.jpg")
    words.convert("P").save(tmp_path / "few.png")
    words.convert("1").save(tmp_path / "fax.tif")
    for name in ("deep.tiff", "print.jpg", "few.png", "fax.tif"):
        assert text_in(tmp_path / name) == "Refund 退款 30 days", name


@needs_fonts
def test_a_name_with_the_wrong_ending_does_not_matter(tmp_path: Path, words: Image.Image) -> None:
    words.save(tmp_path / "page.png")
    (tmp_path / "page.png").rename(tmp_path / "page.jpg")
    assert text_in(tmp_path / "page.jpg") == "Refund 退款 30 days"


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("Not a picture at all")
    assert fault_in(tmp_path / "a.png").endswith("not a picture of a kind that is read, or damaged")


def test_a_picture_of_a_new_phone_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    assert "a HEIC picture; save it as JPEG or PNG" in fault_in(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif", ".gif"])
def test_a_file_that_breaks_off_is_named(tmp_path: Path, suffix: str) -> None:
    stream = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (200, 200, 3), np.uint8)
    kind = {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:])
    Image.fromarray(noise).save(stream, kind)
    (tmp_path / f"a{suffix}").write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    assert "damaged" in fault_in(tmp_path / f"a{suffix}")


def test_a_bomb_is_named_and_not_unpacked(tmp_path: Path) -> None:
    Image.new("1", (30_000, 30_000)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 1_000_000
    assert "the picture has more than 89 million pixels" in fault_in(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["1", "P", "L", "RGB"])
def test_a_large_picture_is_made_smaller(mode: str) -> None:
    pixels = as_pixels(Image.new(mode, (8000, 7000)))
    assert pixels.shape == (3500, 4000, 3)


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (16, 16), (64, 48), (600, 400)])
def test_a_picture_without_text_is_named(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, "teal").save(tmp_path / "icon.png")
    assert fault_in(tmp_path / "icon.png").endswith("no text found in the picture")


def test_noise_is_no_text() -> None:
    noise = np.random.default_rng(2).integers(0, 255, (300, 300, 3), np.uint8)
    assert recognise(noise).lines == ()


# Pictures


@needs_fonts
def test_boxes_are_in_pixels_of_the_picture() -> None:
    picture = np.full((300, 600, 3), 255, np.uint8)
    words = draw_lines(["Refund policy"])
    picture[120 : 120 + words.shape[0], 200 : 200 + words.shape[1]] = words
    [found] = recognise(picture).lines
    left, top, right, bottom = found.box
    assert 200 < left < 245
    assert 120 < top < 150
    assert right - left == pytest.approx(words.shape[1] - 60, abs=25)
    assert 25 < bottom - top < 60


@needs_fonts
def test_a_long_screenshot_is_read_whole() -> None:
    sentences = [f"第{number}条 订单满{number * 10}元包邮" for number in range(10, 60)]
    text = as_text(recognise(draw_lines(sentences)))
    assert [
        sentence
        for sentence in sentences
        if tidy(sentence).replace(" ", "") not in text.replace(" ", "")
    ] == []


@needs_fonts
def test_a_line_that_lies_on_its_side_beside_others_is_read() -> None:
    page = np.full((500, 900, 3), 250, np.uint8)
    body = draw_lines(
        ["Returns are accepted within 30 days.", "Keep your receipt in a safe place."]
    )
    note = np.rot90(draw_lines(["Form KX-4471 rev. 2"]))
    page[40 : 40 + body.shape[0], 150 : 150 + body.shape[1]] = body
    page[20 : 20 + note.shape[0], 20 : 20 + note.shape[1]] = note
    text = as_text(recognise(page))
    assert "Returns are accepted within 30 days." in text
    assert "Form KX-4471 rev. 2" in text


@needs_fonts
def test_reading_needs_no_network_and_says_nothing() -> None:
    code = """
import socket, sys, logging
def refuse(*_): raise AssertionError("network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import numpy as np
from knowledge.ocr import as_text, recognise
from tests.scans import draw_lines
heard = []
class Ear(logging.Handler):
    def emit(self, record): heard.append(record.getMessage())
logging.getLogger().addHandler(Ear())
logging.getLogger().setLevel(1)
assert as_text(recognise(draw_lines(["Refund policy"]))) == "Refund policy"
recognise(np.full((90, 90, 3), 200, np.uint8))
assert [line for line in heard if "PIL" not in line] == [], heard
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_endings_of_pictures_are_known() -> None:
    assert {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"} <= set(READERS)
