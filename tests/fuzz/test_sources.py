# ruff: noqa: PT017 - to take the input is right, too
"""What the web and an operator send: addresses, pages, sitemaps, archives, settings, questions."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from hypothesis import strategies as st
from protego import Protego

from kfbot.errors import DocumentUnreadable, KnowledgeBaseError, SettingsError
from kfbot.settings import load_settings
from knowledge.documents import SourceFile
from knowledge.evaluation.questions import read_questions
from knowledge.front_matter import split_front_matter
from knowledge.sources.addresses import AddressRefused, check_address
from knowledge.sources.archives import find_in_archive
from knowledge.sources.page_kinds import as_utf8, file_name
from knowledge.sources.page_look import look_at
from knowledge.sources.sitemap import SitemapDamaged, read_sitemap, sitemap_kind
from knowledge.sources.web_addresses import canonical, name_of
from tests.fuzz.mutation import Pick, mutated_bytes, mutated_json, mutated_text
from tests.fuzz.profile import PICKS, fuzz
from tests.fuzz.samples import packed, samples
from tests.fuzz.test_patterns import limited

_ROOT = Path(__file__).parents[2]
_ADDRESSES = (
    "https://shop.example/a/b?x=1&utm_source=y#z", "http://user:pw@[::1]:8080/", "//a.example/../b",
    "HTTP://Ä.example:0443/%7ea/%C3%A9?q=%2f", "http://1.2.3.4", "mailto:a@b", "a b", "?x", "#y",
)  # fmt: skip
_SITEMAP = (
    b'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
    b"<url><loc>https://a.example/1</loc></url><url><loc>https://a.example/2</loc></url></urlset>"
)
_ROBOTS = "User-agent: *\nDisallow: /private*$\nAllow: /\nCrawl-delay: 2\nSitemap: /s.xml\n"
_BOMB = '<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]>'
_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(
            ["text/html; charset=gb2312", "text/html;charset=nothing", "image/png", "a/b;;=", ""]
        )
        | st.text(max_size=20),
        "content-disposition": st.sampled_from(
            [
                "attachment; filename=a.pdf",
                "attachment; filename*=utf-8''%e9%80",
                "filename=../../x",
            ]
        )
        | st.text(max_size=30),
    },
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@fuzz(80, pick=PICKS)
def test_an_address_with_faults_is_a_page_of_the_web_or_none(pick: Pick) -> None:
    written = mutated_text(_ADDRESSES[pick(len(_ADDRESSES))], pick, 2)
    url = canonical(written, httpx.URL("https://shop.example/a/"))
    if url is not None:
        assert url.scheme in ("http", "https")
        assert canonical(str(url)) == url
        assert name_of(url)


@fuzz(60, text=st.text(max_size=20) | st.ip_addresses().map(str))
def test_what_is_no_public_ip_address_is_refused(text: str) -> None:
    with suppress(AddressRefused, ValueError):
        check_address(text, allow_private=False)


@fuzz(60, headers=_HEADERS, body=st.binary(max_size=60), pick=PICKS)
def test_a_page_gets_a_name_inside_of_its_folder_whatever_its_server_says(
    headers: Mapping[str, str], body: bytes, pick: Pick
) -> None:
    url = canonical(mutated_text(_ADDRESSES[0], pick, 1)) or httpx.URL(_ADDRESSES[0])
    name = file_name(url, headers, body)
    assert name
    assert "/" not in name
    assert "\0" not in name
    assert name not in (".", "..")
    assert len(name.encode("utf-8")) <= 255
    as_utf8(headers, body)


def test_a_row_of_comments_before_a_page_takes_no_time() -> None:
    with limited(2.0):
        file_name(httpx.URL("https://a.example/p"), {}, b"<!--a--> " * 5_000 + b"x")


@fuzz(30, pick=PICKS)
def test_a_page_with_faults_is_looked_at(folder: Path, pick: Pick) -> None:
    path = folder / "page.html"
    path.write_bytes(mutated_bytes(samples(folder)[".html"], pick))
    look_at(path, "noindex, unavailable_after: x")


@fuzz(60, pick=PICKS)
def test_a_damaged_sitemap_gives_addresses_until_the_damage(folder: Path, pick: Pick) -> None:
    path = folder / "sitemap.xml"
    path.write_bytes(mutated_bytes(_SITEMAP, pick))
    sitemap_kind(path)
    with suppress(SitemapDamaged):
        assert all(isinstance(address, str) for address in read_sitemap(path))


def test_a_sitemap_that_defines_entities_is_refused(folder: Path) -> None:
    path = folder / "bomb.xml"
    path.write_text(_BOMB + "<urlset><url><loc>&c;</loc></url></urlset>")
    with pytest.raises(SitemapDamaged):
        list(read_sitemap(path))


@fuzz(40, pick=PICKS)
def test_a_robots_txt_with_faults_is_read(pick: Pick) -> None:
    rules = Protego.parse(mutated_text(_ROBOTS, pick))
    rules.can_fetch("https://a.example/private/x", "kfbot")
    rules.crawl_delay("kfbot")


def _tar() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        member = tarfile.TarInfo("a/b.md")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"hello"))
    return target.getvalue()


@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
@fuzz(40, pick=PICKS)
def test_a_damaged_archive_gives_files_inside_of_its_folder_or_a_reason(
    folder: Path, ending: str, pick: Pick
) -> None:
    content = packed({"a/b.md": b"hello", "退货.md": b"x"}) if ending == ".zip" else _tar()
    path, cache = folder / f"fuzzed{ending}", folder / "cache"
    path.write_bytes(mutated_bytes(content, pick))
    for found in find_in_archive(SourceFile(path, path.name), cache):
        if isinstance(found, DocumentUnreadable):
            assert "\n" not in str(found)
        else:
            assert cache in found.path.resolve().parents


@fuzz(60, pick=PICKS)
def test_settings_with_faults_are_refused_in_one_line(folder: Path, pick: Pick) -> None:
    path = folder / "kfbot.toml"
    example = (_ROOT / "kfbot.example.toml").read_text("utf-8")
    text = mutated_text(example, pick)
    path.write_bytes(text.encode("utf-8", "replace"))
    try:
        load_settings(path)
    except SettingsError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("deep", ["[" * 5_000, '{"a":' * 5_000, "[" * 3_000 + "]" * 3_000])
def test_a_variable_that_is_nested_deeply_is_refused_in_one_line(
    folder: Path, deep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "empty.toml"
    path.touch()
    monkeypatch.setenv("KFBOT_WEB__TOKENS", deep)
    with pytest.raises(SettingsError) as raised:
        load_settings(path)
    assert "\n" not in str(raised.value)
    assert "[[" not in str(raised.value)


@pytest.mark.parametrize("deep", ["a = " + "[" * 5_000, "a." * 5_000 + "b = 1", "[" * 2_000])
def test_settings_that_are_nested_deeply_are_refused_in_one_line(folder: Path, deep: str) -> None:
    path = folder / "deep.toml"
    path.write_text(deep)
    with pytest.raises(SettingsError) as raised:
        load_settings(path)
    assert "\n" not in str(raised.value)


@fuzz(60, pick=PICKS)
def test_questions_with_faults_are_refused_by_line(folder: Path, pick: Pick) -> None:
    path = folder / "questions.jsonl"
    row = {"text": "退货？", "gold_ids": ["a"], "in_scope": True, "kb": "shop",
           "history": [{"role": "customer", "text": "hi"}]}  # fmt: skip
    path.write_bytes(mutated_json(json.dumps(row), pick).encode("utf-8", "replace"))
    try:
        read_questions(path)
    except KnowledgeBaseError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "block",
    [
        "a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]",
        "a: " + "[" * 3_000,
        "{" * 3_000,
        "- " * 3_000,
        "? " * 3_000,
        "a: &a [*a]",
        "<<: *x",
        "!!python/object/apply:os.system [ls]",
        "a: !!binary x",
        "\0",
        "9" * 6_000 + ": 1",
    ],
)
def test_front_matter_of_a_hostile_form_gives_short_facts_or_none(block: str) -> None:
    with limited(20.0):
        facts, text = split_front_matter(f"---\n{block}\n---\nbody")
    assert all(len(value) <= 200 for value in facts.values())
    assert "body" in text
