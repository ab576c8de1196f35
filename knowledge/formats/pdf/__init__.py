"""PDF: text in reading order, tables, headings, page numbers; OCR where the text layer fails."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kfbot.errors import DocumentUnreadable
from knowledge.cleaning import clean
from knowledge.documents import Section, SourceFile
from knowledge.formats.contract import Found, whole_file
from knowledge.formats.pdf.document import read_document
from knowledge.formats.pdf.health import is_mojibake
from knowledge.formats.pdf.outline import make_outline

# What programs write as title unasked.
_NO_TITLE = re.compile(
    r"microsoft (?:word|powerpoint|excel)\b.*|untitled.*|powerpoint presentation|无标题.*|未命名.*"
    r"|(?:document|文档|演示文稿|幻灯片|slide|title|标题|新建.*|print|scan\w*)\s*\d*"
    r"|.*\.(?:docx?|pptx?|xlsx?|wps|pdf|indd|tex|dvi|rtf|odt|html?|ai|qxd|txt)"
    r"|[\W\d_]*|https?://.*|.*[\\/].*\.\w{2,4}",
    re.IGNORECASE,
)
_LONGEST_TITLE = 200


def read_pdf(file: SourceFile) -> Iterator[Found | DocumentUnreadable]:
    """See `Reader`. Pages that cannot be read, and attached files, are named after the document.

    Metadata "ocr_confidence" is the mean over the characters that OCR gave, 0 to 1.
    """
    extract = read_document(file.path)
    outline = make_outline(extract.blocks, _title(extract.title))
    sections = tuple(
        Section(clean(section.heading), text, section.page)
        for section in outline.sections
        if (text := clean(section.text).strip("\n").rstrip())
    )
    metadata = {}
    if extract.ocr_confidence is not None:
        metadata["ocr_confidence"] = f"{extract.ocr_confidence:.2f}"
    yield from whole_file(
        file,
        sections,
        title=clean(outline.title)[:_LONGEST_TITLE],
        metadata=metadata,
        counts=+extract.counts,
    )
    for fault in extract.faults:
        yield DocumentUnreadable(file.name, fault)


def _title(named: str) -> str:
    """The title that a file names, "" when it is none for people."""
    title = " ".join(clean(named).split())
    if is_mojibake(title, least=2):
        # Chinese programs write GB 18030 where the format wants UTF-16.
        title = title.encode("latin-1", "ignore").decode("gb18030", "replace")
    short = len(title) < 2 or len(title) > _LONGEST_TITLE
    return "" if short or "\ufffd" in title or _NO_TITLE.fullmatch(title) else title
