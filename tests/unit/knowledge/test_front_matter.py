"""What documents and rows say of themselves becomes metadata."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from knowledge.documents import SourceFile
from knowledge.formats import read_file
from knowledge.formats.contract import Found
from knowledge.front_matter import iso_date, split_front_matter
from tests.unit.knowledge.found import read_all, read_one, text_of


@pytest.mark.parametrize("name", ["a.md", "a.txt", "a.rst"])
def test_front_matter_becomes_metadata_as_it_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(
        "---\ntitle: 退货政策\nurl: https://shop.example/a\nproduct: 水壶\nversion: 1.10\n"
        "date: 2024/5/1\nlang: no\ntags: [退货, 运费]\n分类:\n  - 售后\ndraft: false\n"
        "nested: {a: b}\n---\n\n正文。\n"
    )
    document = read_one(tmp_path / name).document
    assert (document.title, document.url) == ("退货政策", "https://shop.example/a")
    assert document.metadata == {
        "product": "水壶",
        "version": "1.10",
        "date": "2024-05-01",
        "language": "no",
        "tags": "退货, 运费",
        "category": "售后",
        "draft": "false",
    }
    assert text_of(document) == "正文。"


@pytest.mark.parametrize(
    "text",
    [
        "---\ntitle: [broken\n---\ntext",
        "---\njust a sentence\n---\ntext",
        "---\n- a\n- b\n---\ntext",
        "---\na: b\na\n---\ntext",
        "---\ntitle: never closed\n",
        "--- \n" + "a: " + "x" * 20_000 + "\n---\ntext",
        "---\n" + "[" * 8000 + "\n---\ntext",
        "---\na: !!python/object/apply:os.system [x]\n  b\n---\ntext",
        "text\n---\ntitle: x\n---\n",
    ],
)
def test_broken_front_matter_is_text(text: str) -> None:
    assert split_front_matter(text) == ({}, text)


def test_references_in_front_matter_do_not_multiply() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 12)]
    facts, body = split_front_matter("---\n" + "\n".join(lines) + "\n---\ntext")
    assert (facts, body) == ({"a0": "x, x, x, x, x, x, x, x"}, "text")


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2024-5-1", "2024-05-01"),
        ("2024年5月1日", "2024-05-01"),
        ("2024.05.01", "2024-05-01"),
        ("2024-05-01T08:00:00Z", "2024-05-01"),
        ("2024/05/01 08:30", "2024-05-01"),
        ("May 2024", "May 2024"),
    ],
)
def test_dates_become_iso(text: str, date: str) -> None:
    assert iso_date(text) == date


def test_meta_tags_of_a_page_become_metadata(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<html lang="zh-CN"><head><title>退货</title><meta name="viewport" content="x">'
        '<meta property="article:modified_time" content="2024-05-01T08:00:00+08:00">'
        '<meta name="keywords" content="退货,运费"><meta name="product" content="水壶">'
        "</head><body><p>七天。</p></body></html>"
    )
    document = read_one(tmp_path / "a.html").document
    assert document.metadata == {
        "date": "2024-05-01",
        "tags": "退货,运费",
        "product": "水壶",
        "language": "zh-CN",
    }


def test_columns_of_rows_become_metadata(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "编号,问题,答案,相似问1,相似问2,产品,版本,备注\n7,能退吗,能,退吗｜可退吗,,水壶,1.10,内部\n"
    )
    entry = read_one(tmp_path / "a.csv").document
    assert (entry.id, entry.question, entry.answer) == ("7", "能退吗", "能")
    assert entry.variants == ("退吗", "可退吗")
    assert entry.metadata == {"product": "水壶", "version": "1.10"}


def test_keys_of_json_lines_become_metadata(tmp_path: Path) -> None:
    rows = [
        {"question": "q", "answer": "a", "product": "kettle", "tags": ["x", "y"], "note": "z"},
        {"text": "t", "language": "en", "date": "2024-05-01", "version": {"deep": 1}},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found, faults = read_all(tmp_path / "a.jsonl")
    assert faults == []
    assert [one.document.metadata for one in found] == [
        {"product": "kettle", "tags": "x, y"},
        {"language": "en", "date": "2024-05-01"},
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.md", "---\nversion: 2\n---\nx"), ("a.csv", "question,answer,version\nq,a,2\n")],
)
def test_a_file_says_more_of_itself_than_its_source(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    source = SourceFile(tmp_path / name, name, "https://shop.example", {"version": "1", "a": "b"})
    (found,) = read_file(source)
    assert isinstance(found, Found)
    assert found.document.metadata == {"version": "2", "a": "b"}
    assert found.document.url == "https://shop.example"
