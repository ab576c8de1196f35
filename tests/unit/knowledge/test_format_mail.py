"""What is read of e-mails, and of what is attached to them."""

from __future__ import annotations

import io
from email.message import EmailMessage
from pathlib import Path

import docx
import pytest

from tests.unit.knowledge.found import fault_of, read_all, read_one, text_of


def mail(text: str = "七天内可以退货。") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "张三 <zhang@shop.example>"
    message["To"] = "li@shop.example"
    message["Subject"] = "退货说明：新版"
    message["Date"] = "Wed, 01 May 2024 23:30:00 +0800"
    message.set_content(text)
    return message


def saved(message: EmailMessage, tmp_path: Path, name: str = "信.eml") -> Path:
    (tmp_path / name).write_bytes(message.as_bytes())
    return tmp_path / name


def test_subject_date_and_sender_are_kept(tmp_path: Path) -> None:
    document = read_one(saved(mail(), tmp_path)).document
    assert (document.title, text_of(document)) == ("退货说明：新版", "七天内可以退货。")
    assert document.metadata == {"from": "张三", "date": "2024-05-01"}


def test_html_is_read_where_there_is_no_plain_text(tmp_path: Path) -> None:
    message = mail()
    message.set_content("<h2>运费</h2><p>免费</p><script>x</script>", subtype="html")
    section = read_one(saved(message, tmp_path)).document.sections[0]
    assert (section.heading, section.text) == ("运费", "免费")


OUTLOOK = "From: Li\nSent: Monday\nTo: Zhang\nSubject: Re"
CHINESE_OUTLOOK = "发件人: 李四\n发送时间: 2024年5月1日\n收件人: 张三\n主题: 退货"


@pytest.mark.parametrize(
    "below",
    [
        "-- \nZhang San\n+86 571 1234",
        "On Wed, 1 May 2024 at 10:00, Li <li@x.example> wrote:\n> Can I\n>\n> return it?",
        "On Wed, 1 May 2024 at 10:00, Li Si of the service department\n"
        "<li@x.example> wrote:\n\n> Can I return it?",
        "在 2024年5月1日，李四 <li@x.example> 写道：\n> 能退吗？",
        "-----Original Message-----\nFrom: Li\n\nold",
        "------------------ 原始邮件 ------------------\n发件人: 李\n\n旧",
        f"________________________________\n{OUTLOOK}\n\nold",
        f"{CHINESE_OUTLOOK}\n\n旧",
    ],
)
def test_quoted_mails_and_signatures_are_left_out(tmp_path: Path, below: str) -> None:
    found = read_one(saved(mail(f"Yes, within 7 days.\n\n{below}\n"), tmp_path))
    assert text_of(found.document) == "Yes, within 7 days."
    assert found.counts == {"quoted mails and signatures left out": 1}


@pytest.mark.parametrize(
    "text",
    [
        "Please note:\n> quoted without a word on whose it is",
        "On 1 May 2024 Li wrote:\n> Can I return it?\n\nYes.",
        "---------- Forwarded message ----------\nFrom: Li\n\nAll of it",
        "From: Hangzhou\nwe ship to all of China",
        "a\n--\nb",
        "> all\n> quoted",
    ],
)
def test_what_may_be_the_mail_itself_is_kept(tmp_path: Path, text: str) -> None:
    assert text_of(read_one(saved(mail(text), tmp_path)).document) == text


def test_attachments_are_documents_of_their_own_or_named(tmp_path: Path) -> None:
    message = mail()
    word = io.BytesIO()
    manual = docx.Document()
    manual.add_paragraph("手册内容")
    manual.save(word)
    for name, content in [
        ("../../手册.docx", word.getvalue()),
        ("faq.csv", b"question,answer\na,1\n,2\n"),
        ("faq.csv", b"question,answer\nb,2\n"),
        ("setup.exe", b"MZ"),
    ]:
        message.add_attachment(content, maintype="application", subtype="x", filename=name)
    found, faults = read_all(saved(message, tmp_path))
    documents = [one.document for one in found]
    assert [document.id for document in documents[:2]] == ["信.eml", "信.eml/手册.docx"]
    assert (documents[1].title, text_of(documents[1])) == ("手册", "手册内容")
    assert [document.question for document in documents[2:]] == ["a", "b"]
    assert {document.path for document in documents} == {str(tmp_path / "信.eml")}
    assert faults == [
        "信.eml/faq.csv: line 3: question is empty",
        "信.eml/setup.exe: attachment of an unknown kind .exe",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["信.eml"]


def test_pictures_in_the_text_are_no_attachments(tmp_path: Path) -> None:
    message = mail()
    message.add_attachment(
        b"x", maintype="image", subtype="png", filename="logo.png", disposition="inline"
    )
    assert read_all(saved(message, tmp_path))[1] == []


def test_mails_in_mails_end_after_the_third(tmp_path: Path) -> None:
    message = mail("0")
    for depth in range(1, 6):
        outer = mail(str(depth))
        outer.add_attachment(message)
        message = outer
    found, faults = read_all(saved(message, tmp_path))
    assert [text_of(one.document) for one in found] == ["5", "4", "3", "2"]
    assert faults == ["信.eml/mail.eml/mail.eml/mail.eml/mail.eml: a mail in more than 3 others"]


def test_a_wrong_charset_does_not_garble_chinese(tmp_path: Path) -> None:
    path = tmp_path / "a.eml"
    head = "From: a@b.example\nSubject: x\nContent-Type: text/plain; charset={}\n\n"
    for charset, encoding in [("gb2312", "gb18030"), ("us-ascii", "utf-8"), ("nonsense", "gbk")]:
        path.write_bytes(head.format(charset).encode() + "镕基：七天内可退".encode(encoding))
        assert text_of(read_one(path).document) == "镕基：七天内可退"


@pytest.mark.parametrize(
    "content",
    [b"\x00\x01\x02", b"just text", b"Content-Type: multipart/mixed\n\n", b"\n" * 1000],
)
def test_what_is_no_mail_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.eml").write_bytes(content)
    assert fault_of(tmp_path / "a.eml").startswith("a.eml: not an e-mail")


def test_a_mail_of_ten_thousand_nested_parts_does_not_stop_the_reader(tmp_path: Path) -> None:
    head = "From: a@b.example\nSubject: x\n"
    nested = "".join(
        f'Content-Type: multipart/mixed; boundary="{n}"\n\n--{n}\n' for n in range(10_000)
    )
    (tmp_path / "a.eml").write_text(head + nested + "\ntext")
    assert fault_of(tmp_path / "a.eml").startswith("a.eml: ")
