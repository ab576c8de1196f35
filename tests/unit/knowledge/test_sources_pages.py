"""What is seen in pages and addresses without fetching them."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from knowledge.sources.page_look import Look, look_at
from knowledge.sources.sitemap import SitemapDamaged, read_sitemap, sitemap_kind
from knowledge.sources.web_addresses import canonical, name_of


def look(tmp_path: Path, html: str, by_server: str = "") -> Look:
    file = tmp_path / "a.html"
    file.write_text(html)
    return look_at(file, by_server)


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("HTTPS://Shop.Example:443/a/../b/#top", "https://shop.example/b/"),
        ("https://shop.example", "https://shop.example/"),
        ("https://shop.example/%7ea%2fb", "https://shop.example/~a%2Fb"),
        ("https://shop.example/帮助", "https://shop.example/%E5%B8%AE%E5%8A%A9"),
        ("https://商店.中国/", "https://xn--czrs0t.xn--fiqs8s/"),
        ("https://shop.example/a?utm_source=x&id=1&spm=a.b", "https://shop.example/a?id=1"),
        ("https://shop.example/a;jsessionid=F00?gclid=1", "https://shop.example/a"),
        ("https://shop.example/a?", "https://shop.example/a"),
    ],
)
def test_spellings_of_an_address_are_one(address: str, same: str) -> None:
    assert canonical(address) == httpx.URL(same)


@pytest.mark.parametrize(
    "address",
    ["ftp://a/b", "javascript:alert(1)", "mailto:a@b", "data:text/html,x", "//x", "", "https://",
     "http://[", "http://[::1", "http://a b/", "http://h:0x50/", "https://h/" + "a" * 3000],
)  # fmt: skip
def test_what_is_no_web_address_is_none(address: str) -> None:
    assert canonical(address) is None


def test_name_is_readable_and_differs_with_port_and_query() -> None:
    names = [
        name_of(httpx.URL(address))
        for address in (
            "https://shop.example/帮助/退货.html",
            "https://shop.example:8443/a?id=1",
            "https://shop.example/a?id=2",
            "https://商店.中国/",
        )
    ]
    assert names == [
        "shop.example/帮助/退货.html",
        "shop.example:8443/a?id=1",
        "shop.example/a?id=2",
        "商店.中国/",
    ]


def test_long_names_that_begin_alike_differ() -> None:
    long = "https://shop.example/" + "a" * 400
    one, other = name_of(httpx.URL(long + "1")), name_of(httpx.URL(long + "2"))
    assert one != other
    assert len(one) < 250


def test_links_are_found_in_every_way_of_writing_them(tmp_path: Path) -> None:
    found = look(
        tmp_path,
        """<BASE HREF="/docs/"><A class=x HREF='one'>1</A><a href=two>2</a><area href="three">
        <a
          title="a = b"
          href = "four?a=1&amp;b=2">4</a><a name=x>no</a><a href="">no</a>
        <meta http-equiv="Refresh" content="0; URL='five'"><a data-href="no">x</a>
        <template><a href="no">x</a></template><a href="one">again</a>""",
    )
    assert found.links == ("one", "two", "three", "four?a=1&b=2", "five")
    assert found.base == "/docs/"


@pytest.mark.parametrize(
    ("head", "by_server", "robots"),
    [
        ('<meta name="ROBOTS" content="NoIndex, nofollow">', "", {"noindex", "nofollow"}),
        ('<meta content="none" name=robots>', "", {"none", "noindex", "nofollow"}),
        ('<meta name="robots" content="noindex"><meta name="kfbot" content="all">', "", {"all"}),
        ("", "otherbot: noindex\nkfbot: nofollow", {"nofollow"}),
        ("", "noindex", {"noindex"}),
        ('<meta name="googlebot" content="noindex">', "", set()),
    ],
)
def test_what_is_said_to_robots_is_heard(
    tmp_path: Path, head: str, by_server: str, robots: set[str]
) -> None:
    assert look(tmp_path, head, by_server).robots - {""} == robots


def test_hostile_pages_are_looked_at_in_linear_time(tmp_path: Path) -> None:
    pieces = ["<!--", "<script>", "<a href=", "<a ", '<a x="', "<", "<meta name='", "<a x=y ", "&"]
    for number, piece in enumerate(pieces):
        (tmp_path / f"{number}.html").write_text(piece * (3_000_000 // len(piece)))
    looking = (
        "import resource, sys, pathlib\n"
        "from knowledge.sources.page_look import look_at\n"
        # Quadratic, one of them takes an hour.
        "resource.setrlimit(resource.RLIMIT_CPU, (60, 60))\n"
        "for file in pathlib.Path(sys.argv[1]).iterdir(): look_at(file)\n"
    )
    done = subprocess.run([sys.executable, "-c", looking, str(tmp_path)], check=False)
    assert done.returncode == 0


def test_page_that_is_no_text_has_nothing_to_see(tmp_path: Path) -> None:
    file = tmp_path / "a.html"
    file.write_bytes(bytes(range(256)) * 10)
    assert look_at(file).links == ()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<?xml version='1.0'?><urlset>", "urlset"),
        (b"\xef\xbb\xbf\n<sitemapindex xmlns='x'><", "sitemapindex"),
        (gzip.compress(b"<urlset/>", mtime=0), "urlset"),
        (b"<html><body>", None),
        (b"<rss/>", None),
        (b"%PDF-1.4", None),
        (b"\x1f\x8bbroken", None),
        (b"", None),
    ],
)
def test_sitemap_is_known_by_its_first_element(
    tmp_path: Path, content: bytes, kind: str | None
) -> None:
    file = tmp_path / "a"
    file.write_bytes(content)
    assert sitemap_kind(file) == kind


def test_packed_sitemap_ends_at_the_limit_of_a_page(tmp_path: Path) -> None:
    file = tmp_path / "a.xml.gz"
    entry = b"<url><loc>https://shop.example/a</loc>" + b" " * 10_000 + b"</url>"
    with gzip.open(file, "wb", compresslevel=1) as packed:
        packed.write(b"<urlset>")
        for _ in range(6000):
            packed.write(entry)
    found = read_sitemap(file)
    with pytest.raises(SitemapDamaged, match="larger than 50 MB"):
        for _ in found:
            pass
