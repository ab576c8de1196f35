"""`kfbot knowledge inspect`, and what `knowledge rollback` says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.cli_here import kfbot, kfbot_json
from tests.integration.test_cli import folder

#: The fixture is that of the other file.
__all__ = ["folder"]

TABLE = "| Product | Price |\n| --- | --- |\n| Kettle | 20 € |\n| Pan \\| lid | 30 € |"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    file = tmp_path / "manual.md"
    file.write_text(
        f"---\nproduct: kettle\n---\n# Manual\n\n## Prices\n\n{TABLE}\n\n## Care {HOSTILE}\n\n"
        + "Descale it every month. " * 8
    )
    return file


def test_chunks_are_shown_with_their_headings_and_tables_without_bars(
    folder: Path, manual: Path
) -> None:
    said = kfbot(folder, "knowledge", "inspect", str(manual))
    assert "product = kettle" in said
    assert "Prices" in said
    assert "Kettle   20 €" in said
    assert "Pan | lid   30 €" in said
    assert "---" not in said


def test_chunks_come_as_json(folder: Path, manual: Path) -> None:
    [file] = kfbot_json(folder, "knowledge", "inspect", str(manual))
    [document] = file["documents"]
    assert document["fields"] == {"product": "kettle"}
    [first, *_] = document["chunks"]
    assert first.keys() == {"heading", "page", "units", "text"}
    assert first["page"] is None
    assert "| Kettle | 20 € |" in first["text"]


def test_the_page_has_tables_and_nothing_of_a_document_is_markup(
    folder: Path, manual: Path
) -> None:
    page = folder / "manual.html"
    kfbot(folder, "knowledge", "inspect", str(manual), "--html", str(page))
    written = page.read_text("utf-8")
    assert "<td>Kettle</td><td>20 €</td>" in written
    assert "<td>Pan | lid</td>" in written
    assert HOSTILE not in written
    assert "&lt;script&gt;" in written


def test_what_cannot_be_read_is_named_and_the_rest_is_shown(folder: Path, manual: Path) -> None:
    empty, gone, page = folder / "empty.pdf", folder / "gone.md", folder / "page.html"
    empty.write_bytes(b"")
    files = [str(one) for one in (manual, empty, gone)]
    kfbot(folder, "knowledge", "inspect", *files, "--html", str(page), status=1)
    written = page.read_text("utf-8")
    assert "✗ empty.pdf: empty" in written
    assert f"✗ {gone}: does not exist" in written
    assert "<td>Kettle</td>" in written


def test_a_page_that_cannot_be_written_is_one_line(folder: Path, manual: Path) -> None:
    nowhere = folder / "none" / "page.html"
    kfbot(folder, "knowledge", "inspect", str(manual), "--html", str(nowhere), status=1)
    assert not nowhere.exists()


def test_a_load_is_taken_back_and_said_to_be(folder: Path) -> None:
    kfbot(folder, "knowledge", "load")
    (folder / "docs" / "warranty.md").write_text("# Warranty\n\nThe warranty is nine years.\n")
    kfbot(folder, "knowledge", "load")
    assert "nine years" in kfbot(folder, "knowledge", "search", "warranty")
    assert "back at generation 1" in kfbot(folder, "knowledge", "rollback", "shop")
    assert "two years" in kfbot(folder, "knowledge", "search", "warranty")
    assert "rolled back" in kfbot(folder, "knowledge", "status")
    kfbot(folder, "knowledge", "rollback", "shop", status=1)
