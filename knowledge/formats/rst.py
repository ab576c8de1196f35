"""reStructuredText, as docutils reads it; files are not included, raw HTML is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from knowledge.documents import SourceFile
from knowledge.formats.contract import FileFault, Found, read_text, whole_file
from knowledge.formats.html import read_chapter
from knowledge.front_matter import FACTS, name_facts, split_front_matter
from knowledge.markup import sections_of, web_address

_DIRECTIVE = re.compile(r"^[ \t]*(?:\.\. (?:\|[^|\n]+\| )?)([\w:.+-]+?)::(?:[ \t]|$)", re.MULTILINE)
_ROLE = re.compile(r":([A-Za-z][\w:.+-]*?):`")
#: Sphinx: what these hold is names of files or of code, no text.
_NO_TEXT = re.compile(
    "toctree|auto.*|index|highlight|tabularcolumns|currentmodule|module|graphviz|uml|mermaid"
    "|literalinclude|contents|sectionauthor|codeauthor|meta"
)
_TARGET = re.compile(r"\s*<[^>]*>$")


def read_rst(file: SourceFile) -> Iterator[Found]:
    """See `Reader`. Directives and roles of Sphinx are read for the text that they hold."""
    facts, body = split_front_matter(read_text(file))
    title, url = facts.pop("title", ""), web_address(facts.pop("url", ""))
    if not body.strip():
        return
    html, fields = _to_html(body)
    entries = read_chapter(html)
    first = next((entry for entry in entries if entry.level), None)
    if not title and first is not None and first.level == 1:
        title = first.heading
    named = {name: fact for name, fact in name_facts(fields).items() if name in FACTS}
    metadata = {name: fact for name, fact in named.items() if name not in ("title", "url")} | facts
    yield from whole_file(
        file, sections_of(entries, title), title=title, url=url, metadata=metadata
    )


def _to_html(text: str) -> tuple[str, dict[str, object]]:
    """The text as HTML, and the fields at its top.

    Raises:
        FileFault: docutils gives up.
    """
    from docutils import nodes
    from docutils.core import publish_doctree, publish_from_doctree
    from docutils.utils import SystemMessage

    _make_known(text)
    settings = {
        "file_insertion_enabled": False,
        "raw_enabled": False,
        "_disable_config": True,
        "report_level": 5,
        "halt_level": 6,
        "doctitle_xform": False,
        "docinfo_xform": False,
        "syntax_highlight": "none",
        "embed_stylesheet": False,
        "stylesheet_path": "",
        "line_length_limit": 1_000_000,
        "initial_header_level": 1,
        "toc_backlinks": False,
        "output_encoding": "unicode",
    }
    try:
        tree: Any = publish_doctree(text, settings_overrides=settings)
        fields = _take_fields(tree, nodes)
        for message in list(tree.findall(nodes.system_message)):
            message.parent.remove(message)
        html = publish_from_doctree(tree, writer="html5", settings_overrides=settings)
    except (SystemMessage, RecursionError, ValueError, AttributeError, TypeError, IndexError):
        raise FileFault("not readable as reStructuredText: rename it to .txt") from None
    return str(html), fields


def _take_fields(tree: Any, nodes: Any) -> dict[str, object]:
    """Take the fields at the top, or below the title, out of the text."""
    fields: dict[str, object] = {}
    for listed in list(tree.findall(nodes.field_list)):
        above = listed.parent.index(listed)
        at_top = listed.parent is tree or listed.parent is tree.next_node(nodes.section)
        if at_top and all(isinstance(one, nodes.title) for one in listed.parent[:above]):
            fields.update((field[0].astext(), field[1].astext()) for field in listed)
            listed.parent.remove(listed)
            break
    return fields


def _make_known(text: str) -> None:
    """Let docutils read the directives and roles that only Sphinx knows.

    What it does not know it replaces by a message, and the text is lost.
    """
    from docutils.parsers.rst import directives, roles
    from docutils.parsers.rst.languages import en

    for name in ("code-block", "sourcecode"):
        # Sphinx gives them options at which docutils stops.
        directives.register_directive(name, _directive_class())
    known = set(en.directives) | set(directives._directives)
    for name in {match.lower() for match in _DIRECTIVE.findall(text)} - known:
        directives.register_directive(name, _directive_class())
    known_roles = set(en.roles) | set(roles._roles)
    for name in {match.lower() for match in _ROLE.findall(text)} - known_roles:
        roles.register_local_role(name, _read_role)


def _directive_class() -> Any:
    """A directive that stands for any other: its argument and what is indented below it."""
    from docutils import nodes
    from docutils.parsers.rst import Directive

    class Unknown(Directive):  # type: ignore[misc]
        optional_arguments = 1
        final_argument_whitespace = True
        has_content = True
        option_spec = _AnyOption()

        def run(self) -> list[Any]:
            if _NO_TEXT.fullmatch(self.name.rpartition(":")[2].lower()):
                return []
            if self.name in ("code-block", "sourcecode", "highlight"):
                code = "\n".join(self.content)
                return [nodes.literal_block(code, code)] if code else []
            parts: list[Any] = []
            if self.arguments and self.name != "only":
                words, _ = self.state.inline_text(self.arguments[0], self.lineno)
                parts.append(nodes.paragraph("", "", *words))
            box = nodes.container()
            self.state.nested_parse(self.content, self.content_offset, box)
            return [*parts, *box.children]

    return Unknown


class _AnyOption(dict[str, Any]):
    """Takes every option of a directive, whatever it is called."""

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, name: str) -> Any:
        return str


def _read_role(
    name: str, rawtext: str, text: str, lineno: int, inliner: Any, *_: Any, **__: Any
) -> tuple[list[Any], list[Any]]:
    """The words of a role like :ref:`words <label>`."""
    from docutils import nodes

    words = _TARGET.sub("", text).lstrip("~!") or text.strip("<> ")
    return [nodes.Text(words)], []
