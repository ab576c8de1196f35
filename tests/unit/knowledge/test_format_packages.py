"""Hostile, damaged and misnamed packages: one clear line each, the rest is loaded."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pptx
import pytest

from knowledge.formats import READERS
from tests.unit.knowledge.found import change_member, fault_of, read_one, text_of, write_zip

MB = 1 << 20
BOMB = '<!DOCTYPE b [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
MAIN_MEMBERS = {
    ".docx": "word/document.xml",
    ".pptx": "ppt/presentation.xml",
    ".xlsx": "xl/workbook.xml",
}


def sound(tmp_path: Path, suffix: str) -> Path:
    path = tmp_path / f"文件{suffix}"
    program: Any
    if suffix == ".docx":
        program = docx.Document()
        program.add_paragraph("文字")
    elif suffix == ".pptx":
        program = pptx.Presentation()
        program.slides.add_slide(program.slide_layouts[5]).shapes.title.text = "文字"
    else:
        program = openpyxl.Workbook()
        program.active["A1"] = "文字"
    program.save(str(path))
    return path


@pytest.mark.parametrize("suffix", MAIN_MEMBERS)
def test_a_package_that_is_no_bomb_is_read(tmp_path: Path, suffix: str) -> None:
    assert "文字" in text_of(read_one(sound(tmp_path, suffix)).document)


@pytest.mark.parametrize("suffix", MAIN_MEMBERS)
def test_a_zip_bomb_is_refused_unread(tmp_path: Path, suffix: str) -> None:
    path = sound(tmp_path, suffix)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as package,
        package.open("bomb.xml", "w") as member,
    ):
        for _ in range(100):
            member.write(bytes(MB))
    assert fault_of(path) == f"文件{suffix}: unpacks to 100 MB, as a zip bomb does"


def test_a_member_larger_than_it_says_is_damaged(tmp_path: Path) -> None:
    path = sound(tmp_path, ".docx")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as package:
        package.writestr("word/liar.xml", bytes(50 * MB))
    content = path.read_bytes()
    honest, small = struct.pack("<I", 50 * MB), struct.pack("<I", 10)
    assert content.count(honest) == 2
    path.write_bytes(content.replace(honest, small))
    assert fault_of(path).startswith("文件.docx: damaged (word/liar.xml)")


def test_members_that_share_their_bytes_are_a_bomb(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    packed = zlib.compress(bytes(MB), 9)[2:-4]
    write_zip(path, {f"word/{number}.xml": bytes(MB) for number in range(3)})
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02")
    for _ in range(3):
        # All members of the directory begin at the first one's place, and are ten times as long.
        struct.pack_into("<I", content, place + 20, len(packed) * 10)
        struct.pack_into("<I", content, place + 42, 0)
        place = content.find(b"PK\x01\x02", place + 4)
    path.write_bytes(content)
    assert fault_of(path) == "a.docx: unpacks to 3 MB, as a zip bomb does"


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.docx", {f"word/{number}": b"" for number in range(20_001)})
    assert fault_of(tmp_path / "a.docx") == "a.docx: has 20001 parts, more than 20000"


@pytest.mark.parametrize("suffix", MAIN_MEMBERS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_that_defines_entities_is_refused(tmp_path: Path, suffix: str, encoding: str) -> None:
    path = sound(tmp_path, suffix)
    with zipfile.ZipFile(path) as package:
        members: dict[str, Any] = {one.filename: package.read(one) for one in package.infolist()}
    text = members[MAIN_MEMBERS[suffix]].decode()
    body = text[text.index("?>") + 2 :] if text.startswith("<?xml") else text
    members[MAIN_MEMBERS[suffix]] = (BOMB + body).encode(encoding)
    write_zip(path, members)
    assert fault_of(path) == (
        f"文件{suffix}: its XML defines entities, which no Office program writes"
    )


@pytest.mark.parametrize("suffix", MAIN_MEMBERS)
@pytest.mark.parametrize("kept", [0.2, 0.6, 0.98])
def test_a_truncated_file_is_named(tmp_path: Path, suffix: str, kept: float) -> None:
    path = sound(tmp_path, suffix)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    assert fault_of(path) == f"文件{suffix}: damaged or cut short: copy it again"


@pytest.mark.parametrize("suffix", MAIN_MEMBERS)
def test_a_damaged_member_is_named(tmp_path: Path, suffix: str) -> None:
    path = sound(tmp_path, suffix)
    with zipfile.ZipFile(path) as package:
        info = package.getinfo(MAIN_MEMBERS[suffix])
    content = bytearray(path.read_bytes())
    start = info.header_offset + 30 + len(info.filename)
    content[start + 20 : start + 60] = bytes(40)
    path.write_bytes(content)
    assert fault_of(path).startswith(f"文件{suffix}: damaged ({MAIN_MEMBERS[suffix]})")


@pytest.mark.parametrize("suffix", MAIN_MEMBERS)
def test_broken_xml_is_named(tmp_path: Path, suffix: str) -> None:
    path = sound(tmp_path, suffix)
    change_member(path, MAIN_MEMBERS[suffix], "</", "<")
    assert fault_of(path).startswith(f"文件{suffix}: damaged (")


@pytest.mark.parametrize("suffix", MAIN_MEMBERS)
def test_hostile_names_inside_are_not_followed(tmp_path: Path, suffix: str) -> None:
    path = sound(tmp_path, suffix)
    with zipfile.ZipFile(path, "a") as package:
        for name in ("../../evil", "/etc/evil", "a\\..\\evil", "CON", "x" * 5000, "\n\x1b[31m"):
            package.writestr(name, "evil")
    found = read_one(path)
    assert "文字" in text_of(found.document)
    assert "evil" not in text_of(found.document)
    assert list(tmp_path.iterdir()) == [path]


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html><body>x</body></html>", "not .docx but a web page: rename it to .html"),
        (b"\xef\xbb\xbf\n<!DOCTYPE HTML><p>x", "not .docx but a web page: rename it to .html"),
        (b"{\\rtf1 x}", "not .docx but rich text: open it and save it as .docx"),
        (b"%PDF-1.4", "not .docx but a PDF: rename it to .pdf"),
        (OLE, "not .docx but an old binary Office file: open it and save it as .docx"),
        (
            OLE + "EncryptedPackage".encode("utf-16-le"),
            "protected by a password: save it without one",
        ),
        (b"just text", "not a .docx file, whatever its name says"),
    ],
)
def test_what_a_misnamed_file_is_is_said(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(content)
    assert fault_of(path) == f"a.docx: {reason}"


def test_a_package_of_another_program_and_a_plain_archive_are_named(tmp_path: Path) -> None:
    book = sound(tmp_path, ".xlsx").rename(tmp_path / "a.docx")
    assert fault_of(book) == "a.docx: not .docx but .xlsx: rename it"
    write_zip(tmp_path / "b.docx", {"a.txt": "x"})
    assert fault_of(tmp_path / "b.docx") == "b.docx: a zip archive, but not a .docx file"


@pytest.mark.parametrize(
    ("name", "ending"), [("a.doc", ".docx"), ("A.XLS", ".xlsx"), ("a.ppt", ".pptx")]
)
def test_old_formats_are_named_with_what_to_save_them_as(
    tmp_path: Path, name: str, ending: str
) -> None:
    (tmp_path / name).write_bytes(OLE)
    suffix = Path(name).suffix.lower()
    reason = f"{suffix} cannot be read: open it and save it as {ending}"
    assert fault_of(tmp_path / name) == f"{name}: {reason}"


def test_every_office_ending_has_a_reader() -> None:
    assert {".docx", ".docm", ".pptx", ".pptm", ".xlsx", ".xlsm", ".epub", ".eml"} <= set(READERS)
