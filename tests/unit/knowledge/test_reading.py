"""What is read from files and folders, good and bad, as a load reads it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from kfbot.errors import DocumentUnreadable
from knowledge.cleaning import CleaningPolicy
from knowledge.documents import Document, Section
from knowledge.reading import Ids, parse
from knowledge.sources import find_files

AS_IT_IS = CleaningPolicy(repair=False, drop_noise=False, mask=frozenset())


def read_sources(sources: Sequence[str | Path]) -> Iterator[Document | DocumentUnreadable | str]:
    """Documents with ids of their own, and what could not be read."""
    ids = Ids()
    with TemporaryDirectory() as cache:
        for file in list(find_files(sources, Path(cache))):
            if isinstance(file, DocumentUnreadable):
                yield file
                continue
            parsed = parse(file, AS_IT_IS)
            yield from parsed.unreadable
            for found in parsed.documents:
                document = found.document
                claimed = ids.claim(document.id, document.content_hash, file, found.place)
                if claimed is not False:
                    yield document if claimed is True else claimed


def read(*sources: str | Path) -> tuple[list[Document], list[str]]:
    documents, faults = [], []
    for found in read_sources(sources):
        if isinstance(found, Document):
            documents.append(found)
        else:
            faults.append(str(found))
    return documents, faults


def read_one(path: Path, content: str | bytes) -> Document:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    documents, faults = read(path)
    assert (len(documents), faults) == (1, [])
    return documents[0]


def rows(*values: object) -> str:
    return "\n".join(json.dumps(value, ensure_ascii=False) for value in values)


# Markdown


def test_markdown_headings_become_paths_and_the_text_stays_as_written(tmp_path: Path) -> None:
    document = read_one(
        tmp_path / "returns.md",
        "# Returns\nIntro with **bold**.\n\nWarranty\n--------\nTwo years.\n"
        "### `Kettles` and [pans](http://x)\n- one\n- two\n## Costs ## \n| a | b |\n|---|---|\n",
    )
    assert document.title == "Returns"
    assert document.sections == (
        Section("", "Intro with **bold**."),
        Section("Warranty", "Two years."),
        Section("Warranty › Kettles and pans", "- one\n- two"),
        Section("Costs", "| a | b |\n|---|---|"),
    )


@pytest.mark.parametrize("fence", ["```", "~~~", "````sh"])
def test_what_looks_like_a_heading_in_fenced_code_is_text(tmp_path: Path, fence: str) -> None:
    code = f"{fence}\n# not a heading\n{fence.rstrip('sh')}"
    document = read_one(tmp_path / "a.md", f"## Install\n{code}\n")
    assert document.sections == (Section("Install", code),)


def test_front_matter_gives_title_and_address_and_is_not_text(tmp_path: Path) -> None:
    document = read_one(
        tmp_path / "a.md",
        '---\ntitle: "运费: 说明"\nurl: https://shop.example/a\ntags:\n  - x\n---\n正文\n',
    )
    assert (document.title, document.url) == ("运费: 说明", "https://shop.example/a")
    assert document.sections == (Section("", "正文"),)


def test_text_between_two_rules_is_no_front_matter(tmp_path: Path) -> None:
    document = read_one(tmp_path / "a.md", "---\nJust a sentence.\n\n---\nMore.\n")
    assert "Just a sentence." in "".join(s.heading + s.text for s in document.sections)


def test_an_address_that_runs_a_script_is_dropped(tmp_path: Path) -> None:
    assert read_one(tmp_path / "a.md", "---\nurl: javascript:alert(1)\n---\nx").url == ""


def test_title_falls_back_to_the_file_name(tmp_path: Path) -> None:
    assert read_one(tmp_path / "退货政策.md", "## 期限\n七天。").title == "退货政策"


def test_several_top_headings_are_all_sections(tmp_path: Path) -> None:
    document = read_one(tmp_path / "a.md", "# 发货\n两天。\n# 退货\n七天。")
    assert document.title == "发货"
    assert document.sections == (Section("发货", "两天。"), Section("退货", "七天。"))


def test_a_heading_with_nothing_under_it_is_kept_as_text(tmp_path: Path) -> None:
    document = read_one(tmp_path / "a.md", "# Shop\n## Open day and night\n## Address\nRoad 1")
    assert document.sections == (
        Section("Open day and night", "Open day and night"),
        Section("Address", "Road 1"),
    )


def test_html_comments_in_markdown_are_dropped(tmp_path: Path) -> None:
    document = read_one(tmp_path / "a.md", "before\n\n<!-- internal\nnote -->\n\nafter")
    assert document.sections[0].text.split() == ["before", "after"]


# HTML


def test_html_is_read_without_navigation_and_scripts(tmp_path: Path) -> None:
    document = read_one(
        tmp_path / "a.html",
        "<html><head><title>退货 | 商店</title><style>p{}</style><script>x()</script>"
        '<link rel="canonical" href="https://shop.example/r"></head><body><nav>menu</nav>'
        "<header>logo</header><h1>退货</h1><p>七天\n内<b>可</b>退。</p><h2>运费</h2>"
        "<p>免费<br>全国</p><!-- no --><footer>©</footer></body></html>",
    )
    assert (document.title, document.url) == ("退货 | 商店", "https://shop.example/r")
    assert document.sections == (Section("", "七天内可退。"), Section("运费", "免费\n全国"))


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
        ("<ul><li>one<ul><li>deep</li></ul></li><li>two</li></ul>", "- one\n  - deep\n- two"),
        ("<ol><li>open<li>tap</ol>", "1. open\n2. tap"),
        ("<p>one <i>two</i></p><p>three</p>", "one two\n\nthree"),
        ("<pre>a\n  b</pre>", "a\n  b"),
        ("<?xml version='1.0'?><p>x</p>", "x"),
        ("https://shop.example/", "https://shop.example/"),
        ("<table><tr><td>menu</td><td><h1>Top</h1><p>text</p></td></tr></table>", "menu"),
    ],
)
def test_html_blocks_become_lines(tmp_path: Path, html: str, text: str) -> None:
    assert read_one(tmp_path / "a.htm", html).sections[0].text == text


def test_html_nested_twenty_thousand_deep_is_read(tmp_path: Path) -> None:
    html = "<div>" * 20_000 + "deep" + "</div>" * 20_000
    assert read_one(tmp_path / "a.html", html).sections == (Section("", "deep"),)


# FAQ


@pytest.mark.parametrize(
    "content",
    [
        "question,answer,variants,id\nHow?,So.,why|what for,q1\n",
        "\ufeffQuestion;Answer;Variants;ID\nHow?;So.;why|what for;q1\n",
        'ID\tANSWER\tQUESTION\tVARIANTS\nq1\tSo.\tHow?\t"why\nwhat for"\n',
        '\r\n"question","answer","variants","id"\r\n"How?","So.","why| |what for","q1"\r\n\r\n',
    ],
)
def test_csv_is_read_with_any_delimiter_and_column_order(tmp_path: Path, content: str) -> None:
    document = read_one(tmp_path / "faq.csv", content)
    assert (document.kind, document.id) == ("faq", "q1")
    assert (document.question, document.answer) == ("How?", "So.")
    assert document.variants == ("why", "what for")


def test_bad_csv_rows_are_named_by_line_and_the_rest_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "faq.csv"
    path.write_text('question,answer\n"a\nb",1\n,2\nc,3,4\nd,"5"x\ne,6\nf,"7\n')
    documents, faults = read(path)
    assert [document.question for document in documents] == ["a\nb", "e"]
    assert faults == [
        "faq.csv: line 4: question is empty",
        "faq.csv: line 5: more cells than columns",
        "faq.csv: line 6: ',' expected after '\"'",
        "faq.csv: line 8: a quote is not closed",
    ]


def test_jsonl_rows_are_entries_or_documents(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_text(
        "\ufeff"
        + rows(
            {"id": " q/1 ", "question": "如何退货?", "answer": "", "variants": ["退货", " "]},
            {"id": 7, "title": None, "text": "Text\r\nmore"},
            {"id": "d2", "title": "T", "text": "x", "url": "https://shop.example"},
            {"id": "q2", "question": "no answer key"},
        )
    )
    (first, second, third, fourth), faults = read(path)
    assert faults == []
    assert (first.id, first.answer, first.variants) == (" q/1 ", "", ("退货",))
    assert (second.id, second.kind, second.title) == ("7", "document", "")
    assert second.sections == (Section("", "Text\nmore"),)
    assert (third.title, third.url) == ("T", "https://shop.example")
    assert (fourth.kind, fourth.answer) == ("faq", "")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("9" * 5000, "not JSON"),
        ("[1]", "not a JSON object"),
        ("{}", "neither question nor text"),
        ('{"question": " "}', "question is empty"),
        ('{"question": ["x"]}', "question is no text"),
        ('{"question": "x", "answer": {}}', "answer is no text"),
        ('{"question": "x", "variants": "y"}', "variants is no list of texts"),
        ('{"question": "x", "variants": [1]}', "variants is no list of texts"),
        ('{"question": "x", "id": true}', "id is no text"),
        ('{"question": "x", "id": "\\ud800"}', "id has characters that cannot be stored"),
        ('{"text": "\\n"}', "text is empty"),
    ],
)
def test_a_bad_jsonl_row_is_named_and_the_rest_is_loaded(
    tmp_path: Path, line: str, reason: str
) -> None:
    path = tmp_path / "faq.jsonl"
    path.write_text(f'{{"question": "a"}}\n\n{line}\n{{"question": "b"}}\n')
    documents, faults = read(path)
    assert [document.question for document in documents] == ["a", "b"]
    assert faults == [f"faq.jsonl: line 3: {reason}"]


def test_a_file_of_another_schema_does_not_name_every_row(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("{}\n" * 1000)
    _, faults = read(tmp_path)
    assert len(faults) == 101
    assert faults[-1] == "x.jsonl: 900 more rows cannot be read"


def test_an_entry_without_id_gets_one_from_its_question(tmp_path: Path) -> None:
    path = tmp_path / "faq.jsonl"
    path.write_text(rows({"question": "a", "answer": "1"}, {"question": "b"}, {"question": "a"}))
    (documents, faults), (again, _) = read(path), read(path)
    path.write_text(rows({"question": "a", "answer": "changed"}))
    changed, _ = read(path)
    ids = [document.id for document in documents]
    assert faults == []
    assert len(set(ids)) == 3
    assert ids == [document.id for document in again]
    assert changed[0].id == ids[0]


def test_the_second_document_of_one_id_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(rows({"id": "x", "question": "1"}))
    (tmp_path / "b.jsonl").write_text(rows({"id": "x", "question": "2"}, {"id": "y", "text": "3"}))
    documents, faults = read(tmp_path)
    assert [document.id for document in documents] == ["x", "y"]
    assert faults == ["b.jsonl: line 1: id x is used twice, first in a.jsonl"]


def test_a_line_of_sixteen_megabytes_is_read(tmp_path: Path) -> None:
    long = "长" * (16 * 1024 * 1024 // 3)
    assert read_one(tmp_path / "a.jsonl", rows({"question": "q", "answer": long})).answer == long
    assert read_one(tmp_path / "a.csv", f"question,answer\nq,{long}\n").answer == long


# Folders


def test_a_folder_is_read_in_order_all_the_way_down(tmp_path: Path) -> None:
    for name in ["b.md", "a/z.txt", "a/deep/x.HTML", "c.TXT", ".hidden.md", ".git/x.md", "~.xyz"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    (tmp_path / "LICENSE").write_text("text")
    found = [
        item.id if isinstance(item, Document) else str(item) for item in read_sources([tmp_path])
    ]
    assert found == [
        "LICENSE: unknown kind of file, its name has no ending",
        "a/deep/x.HTML",
        "a/z.txt",
        "b.md",
        "c.TXT",
        "~.xyz: unknown kind of file .xyz",
    ]


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("secret")
    folder = tmp_path / "kb"
    folder.mkdir()
    (folder / "file.md").symlink_to(tmp_path / "secret.md")
    (folder / "folder").symlink_to(tmp_path)
    (folder / "self.md").symlink_to(folder / "self.md")
    (folder / "sound.md").write_text("text")
    documents, faults = read(folder)
    assert [document.id for document in documents] == ["sound.md"]
    reason = "a link that leads out of the folder"
    assert faults[:2] == [f"file.md: {reason}", f"folder: {reason}"]
    assert faults[2].startswith("self.md: ")


def test_a_file_reached_twice_is_read_once(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    folder.mkdir()
    (folder / "a.md").write_text("text")
    (folder / "link.md").symlink_to(folder / "a.md")
    (folder / "circle").symlink_to(folder)
    documents, faults = read(folder, folder / "a.md", str(folder))
    assert ([document.id for document in documents], faults) == (["a.md"], [])


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    assert read(tmp_path) == ([], ["pipe.md: not a regular file"])


@pytest.mark.parametrize("source", ["nowhere", "no/such.md", "", "x" * 5000])
def test_a_source_that_does_not_exist_is_named(tmp_path: Path, source: str) -> None:
    name = source and str(tmp_path / source)
    _, faults = read(name)
    assert len(faults) == 1
    assert faults[0].startswith(f"{name}: ")


def test_a_file_name_that_is_no_utf8_can_be_stored(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + "/退货.txt".encode("gbk"))).write_text("text")
    document = read(tmp_path)[0][0]
    assert (document.id + document.title).encode()


# Encodings

CHINESE = "不注册账号可以直接下单吗？不可以，云杉小筑下单需要先登录账号。"
FRENCH = "Le café était très agréable, déjà vu à la fête. Où est la bibliothèque ?"
TRADITIONAL = "這是一份繁體中文的說明文件，請問如何退貨？退款需要多久才能收到，運費由誰負擔？"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", CHINESE),
        ("utf-8-sig", CHINESE),
        ("utf-16", CHINESE),
        ("utf-32", CHINESE),
        ("gbk", CHINESE),
        ("gbk", "退货"),
        ("gb18030", CHINESE * 100 + "𠮷"),
        ("big5", TRADITIONAL),
        ("cp1252", FRENCH),
        ("cp1252", "Größe"),
    ],
)
def test_encoding_is_found(tmp_path: Path, encoding: str, text: str) -> None:
    document = read_one(tmp_path / "a.txt", text.encode(encoding))
    assert document.sections == (Section("", text),)


def test_gbk_tables_are_read(tmp_path: Path) -> None:
    document = read_one(tmp_path / "a.csv", "question,answer\n怎么退货,七天内\n".encode("gbk"))
    assert (document.question, document.answer) == ("怎么退货", "七天内")


def test_a_broken_byte_does_not_garble_a_utf8_file(tmp_path: Path) -> None:
    document = read_one(tmp_path / "a.txt", CHINESE.encode() + b"\xff")
    assert document.sections[0].text == CHINESE + "\ufffd"


def test_what_is_shown_stays_and_what_is_invisible_goes(tmp_path: Path) -> None:
    document = read_one(tmp_path / "a.txt", "ＡＢ①\x07\u200b cafe\u0301\r\nx\ry\u2028z\ufeff 👩‍👧")
    assert document.sections[0].text == "ＡＢ① café\nx\ny\nz 👩‍👧"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"", "empty"),
        ("a.md", b" \n\t\n", "empty"),
        ("a.html", b"<html><nav>menu</nav></html>", "empty"),
        ("a.jsonl", b"\n\n", "empty"),
        ("a.csv", b"\xef\xbb\xbf\n", "empty"),
        ("a.csv", b"question,answer\n", "empty"),
        ("a.csv", b"q,a\n1,2\n", "no question column"),
        ("a.txt", b"abc\0def", "binary, not text"),
        ("a.md", bytes(range(1, 256)) * 20, "binary, not text"),
        ("a.jsonl", b"\x89PNG\r\n\x1a\n\0\0", "binary, not text"),
        ("a.txt", b"\xff\xfea", "binary, not text"),
        ("a.xyz", b"x", "unknown kind of file .xyz"),
    ],
)
def test_a_bad_file_is_named_with_its_reason(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "sound.md").write_text("text")
    documents, faults = read(tmp_path)
    assert [document.id for document in documents] == ["sound.md"]
    assert faults == [f"{name}: {reason}"]


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    os.truncate(tmp_path / "a.txt", 200 * 1024 * 1024)
    assert read(tmp_path) == ([], ["a.txt: larger than 50 MB"])
