"""What kind of file a page is, by what the server says, its address, and how it begins."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from email.message import Message
from pathlib import PurePosixPath
from urllib.parse import unquote

import httpx

_BY_TYPE = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/markdown": ".md",
    "text/x-markdown": ".md",
    "text/csv": ".csv",
    "text/x-rst": ".rst",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "application/json-lines": ".jsonl",
    "application/json": ".json",
    "text/xml": ".xml",
    "application/xml": ".xml",
    "application/pdf": ".pdf",
    "application/msword": ".doc",
    "application/vnd.ms-excel": ".xls",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/epub+zip": ".epub",
    "message/rfc822": ".eml",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/tiff": ".tiff",
    "image/webp": ".webp",
    "image/bmp": ".bmp",
    "application/zip": ".zip",
    "application/x-zip-compressed": ".zip",
}
#: Types that say no more than the address does.
_VAGUE = frozenset(
    ("", "text/plain", "application/octet-stream", "binary/octet-stream", "application/download")
)
#: Endings of programs that make pages, not of kinds of files.
_PROGRAMS = frozenset(
    (".php", ".asp", ".aspx", ".jsp", ".jspx", ".do", ".action", ".cgi", ".shtml")
)
_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9-]{0,10}")
# What stands before is not tried again: a row of comments could be shared out in 2^n ways.
_HTML = re.compile(rb"\s*+(?:<!--.*?-->\s*+)*+<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)
_LATIN = frozenset(("iso8859-1", "ascii", "cp1252"))
_LONGEST_STEM_BYTES = 120


def file_name(url: httpx.URL, headers: Mapping[str, str], body: bytes) -> str:
    """A name for the page's file: what it is called at its address, with the ending of its kind."""
    offered = _offered_name(headers.get("content-disposition", "")) or url.path.rstrip("/")
    named = PurePosixPath("/" + offered.replace("\\", "/"))
    said = headers.get("content-type", "").partition(";")[0].strip().lower()
    stem = re.sub(r"[\x00-\x1f/:*?\"<>|]", "_", named.stem or url.host)
    short = stem.encode("utf-8", "replace")[:_LONGEST_STEM_BYTES].decode("utf-8", "ignore")
    return (short.strip(". ") or "page") + _ending(named.suffix.lower(), said, body)


def _offered_name(disposition: str) -> str:
    message = Message()
    message["Content-Disposition"] = disposition
    name = message.get_filename("")
    return unquote(name) if isinstance(name, str) else ""


def _ending(suffix: str, said: str, body: bytes) -> str:
    usable = suffix if _ENDING.fullmatch(suffix) and suffix not in _PROGRAMS else ""
    by_type = _BY_TYPE.get(said, "")
    # How it begins is certain; servers often say text/html of everything.
    if body.startswith(b"%PDF-"):
        return ".pdf"
    if body.startswith(b"PK\x03\x04"):
        is_text = by_type in ("", ".html", ".xml", ".json")
        return (
            (usable if usable and usable not in (".html", ".htm") else ".zip")
            if is_text
            else by_type
        )
    if _HTML.match(body[:2048]):
        return ".html"
    if said in _VAGUE:
        return usable or (".txt" if said == "text/plain" else "")
    return by_type or usable


def as_utf8(headers: Mapping[str, str], body: bytes) -> bytes:
    """The body, as UTF-8 with its mark where the server names another encoding and is right."""
    message = Message()
    message["Content-Type"] = headers.get("content-type", "")
    charset = _charset(message.get_content_charset(""))
    if not charset or message.get_content_maintype() != "text" or _decodes(body, "utf-8"):
        return body
    if not _decodes(body, charset):
        return body
    return codecs.BOM_UTF8 + body.decode(charset).encode("utf-8", "replace")


def _charset(said: str) -> str:
    """An encoding that is worth trying; "": there is none."""
    try:
        name = codecs.lookup(said).name
    except LookupError:
        return ""
    # Latin 1 fits everything: servers say it of pages that they know nothing of.
    if name == "utf-8" or name in _LATIN:
        return ""
    return "gb18030" if name in ("gb2312", "gbk") else name


def _decodes(body: bytes, encoding: str) -> bool:
    try:
        body.decode(encoding)
    # Codecs that are none of text, such as base64, are found by name too.
    except (UnicodeError, LookupError):
        return False
    return True
