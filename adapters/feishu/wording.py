"""The content of a Feishu message → what its writer meant, plain, and the files in it: pure.

From https://open.feishu.cn/document/ "Received message content".
"""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from adapters.requests import TEXT_LENGTH, whole
from kfbot.messages import Attachment

#: `@_all` calls everybody in the chat.
_KEY = re.compile(r"@_user_\d+|@_all(?![A-Za-z0-9_])")
_EVERYBODY = "@all"
#: Said by Feishu itself, of who came and went.
_NOBODYS = "system"
#: Files in the longest post; Feishu shows fewer.
_MOST_FILES = 50
#: Scheme of an attachment's address: feishu:<message>/<image or file>/<key>.
SCHEME = "feishu:"
Node = Mapping[str, Any]


def read(kind: str, content: str, message_id: str) -> tuple[str, tuple[Attachment, ...]] | None:
    """The words, with the keys of mentions still in them, and the files; None: nobody said it.

    Raises:
        ValueError: The content is not what Feishu sends.
    """
    if kind == _NOBODYS:
        return None
    try:
        fields = json.loads(content)
    except RecursionError:
        raise ValueError("content: is nested too deep") from None
    if not isinstance(fields, dict):
        raise ValueError("content: is not a JSON object")
    if kind == "text":
        return _words(fields, "text"), ()
    if kind == "post":
        return _post(fields, message_id)
    return "", (_file(kind, fields, message_id),)


def named(text: str, names: Mapping[str, str], own: frozenset[str]) -> str:
    """Words with the names of the people mentioned, and without the bot's own mention.

    Args:
        names: By key, `@_user_1`.
        own: The keys that mean the bot.
    """
    for key in own:
        text = _without(text, key)
    return _KEY.sub(lambda found: _called(found[0], names), text).strip()


def address_of(attachment: Attachment) -> tuple[str, str, str] | None:
    """Message, kind and key of a file, for `adapters.feishu.api.resource`; None: there is none."""
    parts = attachment.url.removeprefix(SCHEME).split("/")
    if not attachment.url.startswith(SCHEME) or len(parts) != 3 or not all(parts):
        return None
    message_id, kind, key = parts
    return message_id, kind, key


def _without(text: str, key: str) -> str:
    # Only blanks around the mention go with it, and what people put behind a name they call.
    # A run of blanks is read once, from its start: else 150 KB of them took 12 s.
    before = r"(^)?(?:(?<![ \t])[ \t]*+|(?<=[ \t]))"
    pattern = rf"(?m){before}{re.escape(key)}(?!\d)(?:[,:，：](?=\s|$))?[ \t]*($)?"

    def blank(found: re.Match[str]) -> str:
        return "" if found[1] is not None or found[2] is not None else " "

    return re.sub(pattern, blank, text)


def _called(key: str, names: Mapping[str, str]) -> str:
    if key == "@_all":
        return _EVERYBODY
    return f"@{names[key]}" if names.get(key) else key


def _words(fields: Node, name: str) -> str:
    value = fields.get(name)
    return str(whole(value[:TEXT_LENGTH])) if isinstance(value, str) else ""


def _post(fields: Node, message_id: str) -> tuple[str, tuple[Attachment, ...]]:
    if not isinstance(fields.get("content"), list):
        # What bots send has a version for each language; of a person there is one.
        versions = (one for one in fields.values() if isinstance(one, dict))
        fields = next(versions, {})
    paragraphs = fields.get("content")
    lines, files = [_words(fields, "title")], list[Attachment]()
    for paragraph in paragraphs if isinstance(paragraphs, list) else ():
        elements = paragraph if isinstance(paragraph, list) else ()
        nodes = [one for one in elements if isinstance(one, dict)]
        lines.append("".join(map(_element, nodes)))
        files += _files(nodes, message_id)
    text = "\n".join(lines).strip()
    return text[:TEXT_LENGTH], tuple(files[:_MOST_FILES])


def _files(nodes: Sequence[Node], message_id: str) -> Iterator[Attachment]:
    for node in nodes:
        if (tag := node.get("tag")) in ("img", "media"):
            yield _file("image" if tag == "img" else "media", node, message_id)


def _element(node: Node) -> str:
    known: dict[str, Callable[[Node], str]] = {
        "text": lambda one: _words(one, "text"),
        "md": lambda one: _words(one, "text"),
        "code_block": lambda one: _words(one, "text"),
        "a": _link,
        "at": _at,
        "emotion": lambda one: f"[{_words(one, 'emoji_type')}]",
    }
    show = known.get(str(node.get("tag")))
    return show(node) if show else ""


def _link(node: Node) -> str:
    label, address = _words(node, "text"), _words(node, "href")
    return label if not address or address == label else f"{label} ({address})".strip()


def _at(node: Node) -> str:
    key = _words(node, "user_id")
    if _KEY.fullmatch(key):
        return key
    return "@_all" if key == "all" else f"@{_words(node, 'user_name')}"


def _file(kind: str, fields: Node, message_id: str) -> Attachment:
    name = _words(fields, "file_name")
    key = _words(fields, "image_key" if kind == "image" else "file_key")
    known = {"image": "image/*", "audio": "audio/opus", "media": "video/mp4"}
    if kind not in (*known, "file") or not key:
        # Stickers, places, cards: Feishu gives nobody their bytes.
        return Attachment(url=f"{SCHEME}{kind}", name=kind)
    guessed = mimetypes.guess_type(name)[0] or ""
    place = "image" if kind == "image" else "file"
    return Attachment(
        url=f"{SCHEME}{message_id}/{place}/{key}",
        media_type=known.get(kind, guessed),
        name=name or kind,
    )
