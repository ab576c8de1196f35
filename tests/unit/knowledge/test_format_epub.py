"""What is read of EPUB books."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from knowledge.documents import Section
from tests.unit.knowledge.found import fault_of, read_one, text_of, write_zip

CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OPS/book.opf"/></rootfiles></container>'
)


def book(tmp_path: Path, *chapters: str, **members: str) -> Path:
    items = "".join(
        f'<item id="c{n}" href="c%20{n}.xhtml" media-type="application/xhtml+xml"/>'
        for n in range(len(chapters))
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in reversed(range(len(chapters))))
    opf = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        "<metadata><dc:title>水壶手册</dc:title><dc:language>zh</dc:language>"
        '<meta property="dcterms:modified">2024-05-01T00:00:00Z</meta></metadata>'
        f'<manifest>{items}<item id="nav" href="nav.xhtml" properties="nav" '
        'media-type="application/xhtml+xml"/></manifest>'
        f'<spine><itemref idref="nav"/>{spine}<itemref idref="c0"/></spine></package>'
    )
    path = tmp_path / "书.epub"
    files = {f"OPS/c {n}.xhtml": chapter for n, chapter in enumerate(chapters)}
    write_zip(
        path,
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": CONTAINER,
            "OPS/book.opf": opf,
            "OPS/nav.xhtml": "<ol><li>目录</li></ol>",
            **files,
            **{name.replace("__", "/"): text for name, text in members.items()},
        },
    )
    return path


def chapter(body: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html>'
        f'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head>'
        f"<body>{body}</body></html>"
    )


def test_chapters_are_read_in_the_order_of_the_spine_under_their_headings(tmp_path: Path) -> None:
    path = book(
        tmp_path,
        chapter("<h1>保养</h1><p>擦干。</p><h2>水垢</h2><p>用醋。</p>"),
        chapter("<p>前言。</p>"),
        chapter(
            "<h1>使用</h1><table><tr><th>档</th><th>度</th></tr><tr><td>1</td><td>80</td></tr>"
        ),
    )
    found = read_one(path)
    assert found.document.title == "水壶手册"
    assert found.document.metadata == {"language": "zh", "date": "2024-05-01"}
    assert found.document.sections == (
        Section("使用", "| 档 | 度 |\n| --- | --- |\n| 1 | 80 |"),
        Section("", "前言。"),
        Section("保养", "擦干。"),
        Section("保养 › 水垢", "用醋。"),
    )
    assert found.counts == {"chapters": 3}


def test_a_chapter_that_is_not_there_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    path = book(tmp_path, chapter("<p>一</p>"), chapter("<p>二</p>"))
    with zipfile.ZipFile(path) as package:
        names = [name for name in package.namelist() if name != "OPS/c 1.xhtml"]
        members: dict[str, bytes | str] = {name: package.read(name) for name in names}
    write_zip(path, members)
    found = read_one(path)
    assert text_of(found.document) == "一"
    assert found.counts == {"chapters": 1, "chapters that cannot be read": 1}


def test_entities_in_a_chapter_stay_small(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE html [<!ENTITY a "haha"><!ENTITY b "&a;&a;&a;">]><p>text &b; end</p>'
    assert len(text_of(read_one(book(tmp_path, bomb)).document)) < 200


def test_a_protected_book_says_so_and_garbled_fonts_do_not_matter(tmp_path: Path) -> None:
    def encryption(uri: str) -> str:
        return f'<e><CipherData><CipherReference URI="{uri}"/></CipherData></e>'

    text = chapter("<p>x</p>")
    open_book = book(tmp_path, text, **{"META-INF__encryption.xml": encryption("OPS/a.otf")})
    assert text_of(read_one(open_book).document) == "x"
    drm = book(tmp_path, text, **{"META-INF__encryption.xml": encryption("OPS/c 0.xhtml")})
    assert fault_of(drm) == "书.epub: protected by its shop (DRM): ask for a copy without"


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"META-INF/container.xml": "<container/>"}, "damaged (META-INF/container.xml)"),
        ({"META-INF/container.xml": CONTAINER}, "damaged (OPS/book.opf)"),
        ({"META-INF/container.xml": "<"}, "damaged (META-INF/container.xml)"),
        ({"a.txt": "x"}, "a zip archive, but not a .epub file"),
    ],
)
def test_a_book_without_its_parts_is_named(
    tmp_path: Path, members: dict[str, bytes | str], reason: str
) -> None:
    write_zip(tmp_path / "a.epub", members)
    assert fault_of(tmp_path / "a.epub").startswith(f"a.epub: {reason}")
