"""E-mail as it is exported: .eml, with the documents attached to it.

Format: RFC 5322 and MIME, by the standard library.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes, policy
from email.errors import MessageError
from email.message import MIMEPart
from email.utils import parseaddr
from pathlib import Path, PurePosixPath

from kfbot.errors import DocumentUnreadable
from knowledge.cleaning import clean
from knowledge.documents import Section, SourceFile
from knowledge.formats.contract import FileFault, Found, whole_file
from knowledge.formats.html import read_html
from knowledge.sources.folders import shown_name

_MOST_ATTACHMENTS = 100
# A mail in a mail in a mail.
_DEEPEST = 3

#: Below such a line stands an older mail.
_OLDER = re.compile(
    r"-{2,}\s*(?:(?:original|forwarded) message|原始邮件|原始郵件|转发邮件|回复的原邮件)\s*-{2,}",
    re.IGNORECASE,
)
#: RFC 3676, 4.3: who wrote it stands below.
_SIGNATURE = "-- "
_SENDER = re.compile(r"(?:from|发件人|寄件者|von|de)\s*[:：]", re.IGNORECASE)
_SENT = re.compile(r"(?:sent|date|发送时间|日期|时间|寄件日期|gesendet)\s*[:：]", re.IGNORECASE)
_RECEIVER = re.compile(r"(?:to|收件人|收件者|an)\s*[:：]", re.IGNORECASE)
_HEADER_LINES = 6
_QUOTES = re.compile(
    r"(?:on|am|le|el)\b.{5,200}\b(?:wrote|schrieb|écrit|escribió)\s*:"
    r"|(?:在|于)?\s*\d{4}\s*[-年/].{2,120}(?:写道|寫道|wrote)\s*[:：]",
    re.IGNORECASE | re.DOTALL,
)
_PARTED_QUOTE_LINES = 3


def read_mail(file: SourceFile) -> Iterator[Found | DocumentUnreadable]:
    """See `Reader`. Older mails quoted below, and signatures, are left out where they are marked.

    What is attached in a known format is a document of its own, named below the mail.
    """
    try:
        message = message_from_bytes(file.path.read_bytes(), policy=policy.default)
        subject, facts = _head(message)
        counts: Counter[str] = Counter()
        sections = _body(message, counts)
        attached = list(_attachments(message))
    except (
        MessageError,
        LookupError,
        ValueError,
        RecursionError,
        AttributeError,
        TypeError,
        OverflowError,
    ):
        # The parser of the standard library trips over headers that no program should write.
        raise FileFault("not a readable e-mail") from None
    if not (subject or facts or attached):
        raise FileFault("not an e-mail: it has no sender, date or subject")
    yield from whole_file(file, sections, title=subject, metadata=facts, counts=+counts)
    yield from _read_attachments(file, attached)


def _head(message: MIMEPart) -> tuple[str, dict[str, str]]:
    """The subject, and who sent it when."""
    facts = {}
    sender = str(message.get("From", ""))
    name, address = parseaddr(clean(sender))
    if name or address:
        facts["from"] = " ".join((name or address).split())
    date = getattr(message.get("Date"), "datetime", None)
    if date is not None:
        facts["date"] = date.date().isoformat()
    subject = " ".join(clean(str(message.get("Subject", ""))).split())
    return subject, facts


def _body(message: MIMEPart, counts: Counter[str]) -> tuple[Section, ...]:
    part = message.get_body(("plain", "html"))
    if part is None:
        return ()
    content = clean(_content(part))
    if part.get_content_type() == "text/html":
        page = read_html(content)
        sections = [(section, _own_words(section.text)) for section in page.sections]
    else:
        sections = [(Section("", content), _own_words(content))]
    counts["quoted mails and signatures left out"] += sum(
        section.text.strip() != text for section, text in sections
    )
    return tuple(replace(section, text=text) for section, text in sections if text)


def _content(part: MIMEPart) -> str:
    """The text of a part, in the encoding that it names or, where that is wrong, UTF-8."""
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    # gb2312 is named for what is GB 18030.
    named = (part.get_content_charset() or "utf-8").replace("gb2312", "gb18030")
    for encoding in (named, "utf-8", "gb18030"):
        try:
            return content.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    return content.decode("utf-8", "replace")


def _own_words(text: str) -> str:
    """The text without the older mails and the signature below it."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        older = _OLDER.fullmatch(line.strip()) or _is_header(lines[number : number + _HEADER_LINES])
        if line == _SIGNATURE or older:
            own = lines[:number]
            while own and not own[-1].strip(" _\t"):
                own.pop()
            # A forwarded mail is all that such a mail says.
            lines = own or lines
            break
    while (start := _trailing_quote(lines)) is not None:
        lines = lines[:start]
    return "\n".join(lines).strip()


def _is_header(lines: list[str]) -> bool:
    """Whether these lines begin with the header of an older mail, as Outlook writes it."""
    bare = [line.strip(" *\t") for line in lines]
    return _SENDER.match(bare[0]) is not None and all(
        any(form.match(line) for line in bare[1:]) for form in (_SENT, _RECEIVER)
    )


def _trailing_quote(lines: list[str]) -> int | None:
    """Where the quotation begins that ends the text and is introduced: "On … wrote:"."""
    end = len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    start = end
    while start and (lines[start - 1].startswith(">") or not lines[start - 1].strip()):
        start -= 1
    if not any(line.startswith(">") for line in lines[start:end]):
        return None
    for first in range(start - 1, max(start - 1 - _PARTED_QUOTE_LINES, -1), -1):
        introduction = " ".join(lines[first:start]).strip()
        if _QUOTES.fullmatch(introduction):
            # What stands in the answer's stead is all that there is.
            return first if "".join(lines[:first]).strip() else None
    return None


def _attachments(message: MIMEPart) -> Iterator[tuple[str, bytes | None]]:
    """Name and content of each attachment; pictures shown in the text are none."""
    stack: list[MIMEPart] = [message]
    while stack:
        part = stack.pop()
        name = part.get_filename() or ""
        is_mail = part.get_content_type() == "message/rfc822"
        if part.is_multipart() and not is_mail:
            stack.extend(reversed(list(part.iter_parts())))
            continue
        shown_inline = part.get_content_disposition() == "inline" or part.get("Content-ID")
        if is_mail or (name and not (shown_inline and part.get_content_maintype() == "image")):
            shown = shown_name(PurePosixPath(clean(name).replace("\\", "/")).name) or "mail"
            if is_mail and not shown.lower().endswith(".eml"):
                shown += ".eml"
            yield shown, _attached(part, is_mail=is_mail)


def _attached(part: MIMEPart, *, is_mail: bool) -> bytes | None:
    payload = part.get_payload(0) if is_mail else part.get_payload(decode=True)
    if isinstance(payload, MIMEPart):
        return payload.as_bytes()
    return payload if isinstance(payload, bytes) else None


def _read_attachments(
    file: SourceFile, attached: list[tuple[str, bytes | None]]
) -> Iterator[Found | DocumentUnreadable]:
    names: Counter[str] = Counter()
    for shown, content in attached[:_MOST_ATTACHMENTS]:
        names[shown] += 1
        stem, suffix = PurePosixPath(shown).stem, PurePosixPath(shown).suffix
        name = shown if names[shown] == 1 else f"{stem} ({names[shown]}){suffix}"
        yield from _read_attachment(file, f"{file.name}/{name}", content)
    if len(attached) > _MOST_ATTACHMENTS:
        reason = f"{len(attached) - _MOST_ATTACHMENTS} more attachments are not read"
        yield DocumentUnreadable(file.name, reason)


def _read_attachment(
    file: SourceFile, name: str, content: bytes | None
) -> Iterator[Found | DocumentUnreadable]:
    from knowledge.formats import READERS, read_file

    suffix = PurePosixPath(name).suffix.lower()
    if name.lower().count(".eml/") > _DEEPEST:
        yield DocumentUnreadable(name, f"a mail in more than {_DEEPEST} others")
        return
    if suffix not in READERS:
        yield DocumentUnreadable(name, f"attachment of an unknown kind {suffix}".rstrip())
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{PurePosixPath(name).stem[:40] or 'attachment'}{suffix}")
        path.write_bytes(content or b"")
        for found in read_file(SourceFile(path, name, file.url, file.metadata)):
            if isinstance(found, Found):
                found = replace(found, document=replace(found.document, path=str(file.path)))
            yield found
