"""Web sources against a real server on loopback: what is fetched, how politely, what is refused."""

from __future__ import annotations

import asyncio
import gzip
import io
import socket
import threading
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from kfbot.errors import DocumentUnreadable
from knowledge.documents import SourceFile
from knowledge.sources import find_files
from knowledge.sources.addresses import Resolve, resolve
from knowledge.sources.contract import Fetching, SourceUnreachable
from knowledge.sources.fetching import Fetcher
from knowledge.sources.http import USER_AGENT, Client
from knowledge.sources.web import find_web


@dataclass
class Said:
    """An answer of the site."""

    body: str | bytes = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "text/html; charset=utf-8"


@dataclass
class Site:
    """A web site, by the paths of its pages; what is not there is 404."""

    address: str = ""
    pages: dict[str, Said | str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(request.raw_path)
        self.headers.append({**request.headers})
        said = self.pages.get(request.raw_path) or self.pages.get("*") or Said("none", 404)
        said = Said(said) if isinstance(said, str) else said
        body = said.body.encode() if isinstance(said.body, str) else said.body
        if (tag := said.headers.get("ETag")) and request.headers.get("If-None-Match") == tag:
            return web.Response(status=304)
        return web.Response(
            body=body, status=said.status, headers={"Content-Type": said.kind, **said.headers}
        )

    def documents_asked(self) -> list[str]:
        return [path for path in self.asked if path != "/robots.txt"]


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    loop = asyncio.new_event_loop()
    started: threading.Event = threading.Event()

    async def start() -> None:
        runner = web.ServerRunner(web.Server(site.answer), shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        site.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        site.stop = runner.cleanup  # type: ignore[attr-defined]
        started.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    try:
        yield site
    finally:
        asyncio.run_coroutine_threadsafe(site.stop(), loop).result()  # type: ignore[attr-defined]
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as served:
        yield served


@dataclass
class Reader:
    """Reads sources as a load does, over one cache; waits are noted, not spent."""

    cache: Path
    waits: list[float] = field(default_factory=list)

    def __call__(
        self,
        source: str,
        *,
        allow_private: bool = True,
        max_pages: int = 100,
        lookup: Resolve = resolve,
        longest_seconds: float = 20.0,
    ) -> tuple[list[SourceFile], list[DocumentUnreadable]]:
        client = Client(
            allow_private=allow_private,
            lookup=lookup,
            sleep=self.waits.append,
            longest_seconds=longest_seconds,
        )
        files: list[SourceFile] = []
        faults: list[DocumentUnreadable] = []
        with client:
            for found in find_web(source, Fetcher(self.cache, client), max_pages):
                (files if isinstance(found, SourceFile) else faults).append(found)  # type: ignore[arg-type]
        return files, faults


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    return Reader(tmp_path / "cache")


def page(text: str, *links: str, head: str = "") -> str:
    anchors = "".join(f'<a href="{link}">x</a>' for link in links)
    return f"<!doctype html><html><head>{head}</head><body><p>{text}</p>{anchors}</body></html>"


def paths(files: Sequence[SourceFile], site: Site) -> list[str]:
    return [file.name.removeprefix(site.address.removeprefix("http://")) for file in files]


def reasons(faults: Sequence[DocumentUnreadable]) -> str:
    return "\n".join(str(fault) for fault in faults)


def kept(faults: Sequence[DocumentUnreadable]) -> list[str]:
    return [one for fault in faults if isinstance(fault, SourceUnreachable) for one in fault.kept]


# One page


def test_page_is_a_file_with_its_address_and_kind(site: Site, read: Reader) -> None:
    site.pages["/faq/returns"] = page("Fifteen days")
    [file], faults = read(site.address + "/faq/returns#top")
    assert faults == []
    assert (file.path.name, file.url) == ("returns.html", site.address + "/faq/returns")
    assert file.name == site.address.removeprefix("http://") + "/faq/returns"
    assert "Fifteen days" in file.path.read_text()


def test_we_say_who_we_are(site: Site, read: Reader) -> None:
    site.pages["/a"] = page("x")
    read(site.address + "/a")
    assert {headers["User-Agent"] for headers in site.headers} == {USER_AGENT}
    assert USER_AGENT.startswith("kfbot/0.")


def test_chinese_address_is_asked_for_escaped_and_named_as_people_read_it(
    site: Site, read: Reader
) -> None:
    site.pages["/%E5%B8%AE%E5%8A%A9/%E9%80%80%E8%B4%A7?q=%E9%9E%8B"] = page("七天")
    [file], _ = read(site.address + "/帮助/退货?q=鞋")
    assert file.name.endswith("/帮助/退货?q=鞋")
    assert file.path.name == "退货.html"
    [same], _ = read(
        site.address + "/%e5%b8%ae%e5%8a%a9/%E9%80%80%E8%B4%A7?utm_source=x&q=%E9%9E%8B"
    )
    assert same.path == file.path


@pytest.mark.parametrize(
    ("path", "kind", "body", "ending"),
    [
        ("/a.pdf", "text/html", b"%PDF-1.7 \xff", ".pdf"),
        ("/get?id=1", "application/pdf", b"%PDF-1.4", ".pdf"),
        ("/a.docx", "application/octet-stream", b"PK\x03\x04rest", ".docx"),
        ("/a.xlsx", "text/html", b"PK\x03\x04rest", ".xlsx"),
        ("/a.pdf", "application/pdf", b"<!DOCTYPE html><p>moved", ".html"),
        ("/faq.csv", "text/plain", b"question,answer", ".csv"),
        ("/faq.jsonl", "application/octet-stream", b"{}", ".jsonl"),
        ("/notes", "text/plain", b"x", ".txt"),
        ("/read.md", "text/plain; charset=utf-8", b"# x", ".md"),
        ("/show.php", "text/html", b"<p>x", ".html"),
        ("/a", "", b"<html>", ".html"),
    ],
)
def test_kind_of_file_is_found_whatever_the_server_says(
    site: Site, read: Reader, path: str, kind: str, body: bytes, ending: str
) -> None:
    site.pages[path] = Said(body, kind=kind)
    [file], _ = read(site.address + path)
    assert file.path.suffix == ending


def test_name_that_the_server_gives_a_download_is_taken(site: Site, read: Reader) -> None:
    said = {"Content-Disposition": "attachment; filename*=UTF-8''%E9%80%80%E8%B4%A7.xlsx"}
    site.pages["/get?id=7"] = Said(b"PK\x03\x04", headers=said, kind="application/octet-stream")
    [file], _ = read(site.address + "/get?id=7")
    assert file.path.name == "退货.xlsx"


def test_encoding_that_the_server_names_is_believed_where_it_fits(site: Site, read: Reader) -> None:
    site.pages["/big5"] = Said("運費由賣家負擔".encode("big5"), kind="text/plain; charset=Big5")
    site.pages["/wrong"] = Said("七天".encode(), kind="text/html; charset=ISO-8859-1")
    [right], _ = read(site.address + "/big5")
    [wrong], _ = read(site.address + "/wrong")
    assert right.path.read_text(encoding="utf-8-sig") == "運費由賣家負擔"
    assert wrong.path.read_text(encoding="utf-8") == "七天"


@pytest.mark.parametrize("status", [404, 410])
def test_page_that_is_gone_is_named_and_does_not_stay(
    site: Site, read: Reader, status: int
) -> None:
    site.pages["/a"] = Said("", status)
    files, faults = read(site.address + "/a")
    assert (files, kept(faults)) == ([], [])
    assert f"gone ({status})" in reasons(faults)


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_source_that_the_server_does_not_show_stays(site: Site, read: Reader, status: int) -> None:
    site.pages["/a"] = Said("", status)
    files, faults = read(site.address + "/a")
    assert (files, kept(faults)) == ([], [site.address + "/a"])
    assert str(status) in reasons(faults)


def test_source_on_a_host_that_is_down_stays(read: Reader) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        source = f"http://127.0.0.1:{unused.getsockname()[1]}/docs/**"
    files, faults = read(source)
    assert (files, kept(faults)) == ([], [source])
    assert "cannot be connected to" in reasons(faults)


def test_login_page_is_no_document(site: Site, read: Reader) -> None:
    form = '<form><input name=u><input type="password" name=p></form>'
    site.pages["/wiki"] = Said("", 302, {"Location": "/login?next=/wiki"})
    site.pages["/login?next=/wiki"] = page("Please log in" + form)
    files, faults = read(site.address + "/wiki")
    assert (files, kept(faults)) == ([], [site.address + "/wiki"])
    assert "login page" in reasons(faults)


def test_page_with_a_login_box_at_its_side_is_a_document(site: Site, read: Reader) -> None:
    site.pages["/a"] = page("Returns are free. " * 200 + '<input type="password">')
    assert len(read(site.address + "/a")[0]) == 1


def test_password_of_an_address_is_sent_there_only_and_never_shown(
    site: Site, read: Reader
) -> None:
    with serving(Site()) as other:
        # Other port: another origin.
        other.pages["/b"] = page("x")
        site.pages["/a"] = Said("", 302, {"Location": other.address + "/b"})
        source = site.address.replace("//", "//me:s3cret@") + "/a"
        [file], faults = read(source)
        assert site.headers[-1]["Authorization"] == "Basic bWU6czNjcmV0"
        assert all("Authorization" not in headers for headers in other.headers)
    assert "s3cret" not in f"{file} {faults}"


# Again


def test_unchanged_page_is_not_sent_again_and_its_file_not_touched(
    site: Site, read: Reader
) -> None:
    site.pages["/a"] = Said(page("x"), headers={"ETag": '"1"'})
    [first], _ = read(site.address + "/a")
    before = first.path.stat().st_mtime_ns
    [again], faults = read(site.address + "/a")
    assert site.headers[-1]["If-None-Match"] == '"1"'
    assert (again, faults) == (first, [])
    assert again.path.stat().st_mtime_ns == before


def test_page_that_is_sent_again_with_the_same_content_is_not_touched(
    site: Site, read: Reader
) -> None:
    site.pages["/a"] = page("x")
    [first], _ = read(site.address + "/a")
    before = first.path.stat().st_mtime_ns
    [again], _ = read(site.address + "/a")
    assert (again.path, again.path.stat().st_mtime_ns) == (first.path, before)


def test_changed_page_keeps_its_path(site: Site, read: Reader) -> None:
    site.pages["/a"] = Said(page("old"), headers={"ETag": '"1"'})
    [first], _ = read(site.address + "/a")
    site.pages["/a"] = Said(page("new"), headers={"ETag": '"2"'})
    [again], _ = read(site.address + "/a")
    assert again.path == first.path
    assert "new" in again.path.read_text()


def test_page_that_fails_now_is_given_as_it_was(site: Site, read: Reader) -> None:
    site.pages["/a"] = page("x")
    [first], _ = read(site.address + "/a")
    site.pages["/a"] = Said("", 500)
    files, faults = read(site.address + "/a")
    assert files == [first]
    assert kept(faults) == [site.address + "/a"]


# Politeness


def test_robots_txt_is_obeyed_with_wildcards(site: Site, read: Reader) -> None:
    site.pages |= {
        "/robots.txt": Said(
            "User-agent: *\nDisallow: /*/private$\nCrawl-delay: 7", kind="text/plain"
        ),
        "/d/": page("start", "private", "open"),
        "/d/open": page("open"),
        "/d/private": page("secret"),
    }
    files, faults = read(site.address + "/d/**")
    assert paths(files, site) == ["/d/", "/d/open"]
    assert "/d/private" not in site.asked
    assert "robots.txt" in reasons(faults)
    assert [round(wait) for wait in read.waits] == [7, 7]


def test_robots_txt_may_let_us_in_by_name(site: Site, read: Reader) -> None:
    site.pages["/robots.txt"] = "User-agent: *\nDisallow: /\n\nUser-agent: kfbot\nAllow: /\n"
    site.pages["/a"] = page("x")
    assert len(read(site.address + "/a")[0]) == 1


def test_host_whose_robots_txt_fails_is_left_alone(site: Site, read: Reader) -> None:
    site.pages["/robots.txt"] = Said("", 500)
    site.pages["/a"] = page("x")
    files, faults = read(site.address + "/a")
    assert (files, kept(faults)) == ([], [site.address + "/a"])
    assert site.documents_asked() == []


def test_between_two_requests_to_a_host_there_is_a_pause(site: Site, read: Reader) -> None:
    site.pages["/a"] = page("x")
    read(site.address + "/a")
    assert len(read.waits) == 1
    assert 0 < read.waits[0] <= 0.5


def test_busy_server_is_asked_again_when_it_says(site: Site, read: Reader) -> None:
    site.pages["/a"] = Said("", 503, {"Retry-After": "20"})
    read(site.address + "/a")
    assert site.asked.count("/a") == 3
    assert [wait for wait in read.waits if wait > 1 and not 20 <= wait <= 25] == []
    assert len([wait for wait in read.waits if wait > 1]) == 2


def test_server_that_wants_us_back_in_an_hour_is_not_waited_for(site: Site, read: Reader) -> None:
    site.pages["/a"] = Said("", 429, {"Retry-After": "3600"})
    _, faults = read(site.address + "/a")
    assert site.asked.count("/a") == 1
    assert "come back in 3600 s" in reasons(faults)


def test_host_that_fails_five_times_is_not_asked_for_its_other_pages(
    site: Site, read: Reader
) -> None:
    site.pages["/robots.txt"] = Said("", 404)
    names = [f"p{number}" for number in range(50)]
    site.pages["/d/"] = page("x", *names)
    site.pages |= {f"/d/{name}": Said("", 500) for name in names}
    source = site.address + "/d/**"
    files, faults = read(source)
    assert len(files) == 1
    assert source in kept(faults)
    assert len(set(site.asked)) == 2 + 5


# All pages under an address


def test_pages_under_an_address_are_found_by_links_the_nearest_first(
    site: Site, read: Reader
) -> None:
    site.pages |= {
        "/docs/": page("home", "a.html", "/docs/b/", "../blog", "https://elsewhere.example/docs/"),
        "/docs/a.html": page("a", "/docs/", "a.html#part", "/docs/b/deep.html?spm=1"),
        "/docs/b/": page("b", "deep.html", "logo.png", "mailto:x@y.z", "javascript:void(0)"),
        "/docs/b/deep.html": page("deep"),
        "/blog": page("blog"),
    }
    files, faults = read(site.address + "/docs/**")
    assert faults == []
    assert paths(files, site) == ["/docs/", "/docs/a.html", "/docs/b/", "/docs/b/deep.html"]
    assert len(site.documents_asked()) == 4


def test_origin_of_a_page_lies_under_its_source(site: Site, read: Reader) -> None:
    site.pages |= {"/docs/": page("home", "a"), "/docs/a": page("a")}
    source = site.address + "/docs/**"
    files, _ = read(source)
    assert all(Path(file.origin).is_relative_to(source) for file in files)
    assert len({file.origin for file in files}) == 2


def test_endless_pages_end_at_the_limit_and_say_so(site: Site, read: Reader) -> None:
    site.pages["*"] = page("November", "?month=1", "x/", "y/")
    site.pages["/robots.txt"] = Said("", 404)
    files, faults = read(site.address + "/calendar/**", max_pages=10)
    assert len(site.documents_asked()) == 10
    assert len(files) == 10
    assert "max_pages is 10" in reasons(faults)
    assert kept(faults) == []


def test_link_that_leads_into_itself_for_ever_is_not_followed(site: Site, read: Reader) -> None:
    site.pages["*"] = page("x", "loop/")
    site.pages["/robots.txt"] = Said("", 404)
    files, _ = read(site.address + "/d/**")
    assert paths(files, site)[-1] == "/d/loop/loop/loop/"


def test_noindex_page_is_left_out_and_its_links_followed(site: Site, read: Reader) -> None:
    site.pages |= {
        "/d/": page("x", "tags", "header", "ours"),
        "/d/tags": page("list", "a", head='<meta name="robots" content="noindex, follow">'),
        "/d/a": page("a"),
        "/d/header": Said(page("x"), headers={"X-Robots-Tag": "noindex"}),
        "/d/ours": page(
            "x",
            head='<meta name="robots" content="noindex"><meta name="kfbot" content="index">',
        ),
    }
    files, faults = read(site.address + "/d/**")
    assert paths(files, site) == ["/d/", "/d/ours", "/d/a"]
    assert "noindex" in reasons(faults)


def test_links_in_comments_and_scripts_are_none(site: Site, read: Reader) -> None:
    hidden = '<!-- <a href="one">x</a> --><script>"<a href=two>"</script>'
    site.pages["/d/"] = page("x" + hidden)
    read(site.address + "/d/**")
    assert site.documents_asked() == ["/d/"]


def test_variants_of_a_page_by_its_own_word_are_given_once(site: Site, read: Reader) -> None:
    head = '<link rel="canonical" href="/d/a">'
    site.pages |= {
        "/d/": page("x", "a?sort=up", "a?sort=down"),
        "/d/a?sort=up": page("a", head=head),
        "/d/a?sort=down": page("a", head=head),
    }
    files, _ = read(site.address + "/d/**")
    assert paths(files, site) == ["/d/", "/d/a"]


def test_page_that_calls_the_home_page_canonical_is_a_page_still(site: Site, read: Reader) -> None:
    head = '<link rel="canonical" href="/d/">'
    site.pages |= {
        "/d/": page("x", "a", "b"),
        "/d/a": page("a", head=head),
        "/d/b": page("b", head=head),
    }
    assert paths(read(site.address + "/d/**")[0], site) == ["/d/", "/d/a", "/d/b"]


def test_page_gone_from_a_site_does_not_stay_and_a_failing_one_does(
    site: Site, read: Reader
) -> None:
    site.pages |= {"/d/": page("x", "gone", "fails"), "/d/fails": Said("", 500)}
    source = site.address + "/d/**"
    _, faults = read(source)
    host = site.address.removeprefix("http://")
    assert f"{source}/{host}/d/fails" in kept(faults)
    assert f"{source}/{host}/d/gone" not in kept(faults)
    # What is linked from the page that fails may be missing as well.
    assert source in kept(faults)


def test_address_that_leads_elsewhere_is_named(site: Site, read: Reader) -> None:
    site.pages |= {"/d/": Said("", 301, {"Location": "/new/"}), "/new/": page("x", "/d/a")}
    files, faults = read(site.address + "/d/**")
    assert files == []
    assert f"leads to {site.address}/new/" in reasons(faults)


# Sitemaps

_XMLNS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def urlset(*urls: str) -> str:
    entries = "".join(f"<url><loc>\n{url}\n</loc></url>" for url in urls)
    return f'<?xml version="1.0"?><urlset {_XMLNS}>{entries}</urlset>'


def index(*urls: str) -> str:
    entries = "".join(f"<sitemap><loc>{url}</loc></sitemap>" for url in urls)
    return f"<sitemapindex {_XMLNS}>{entries}</sitemapindex>"


def test_sitemap_index_with_packed_sitemaps_gives_all_pages_once(site: Site, read: Reader) -> None:
    at = site.address
    packed = gzip.compress(urlset(f"{at}/b", f"{at}/c", "https://other.example/x").encode())
    site.pages |= {
        "/sitemap.xml": Said(index(f"{at}/one.xml", f"{at}/two.xml.gz", f"{at}/sitemap.xml")),
        "/one.xml": Said(urlset(f"{at}/a", f"{at}/b#x", f"{at}/gone"), kind="text/xml"),
        "/two.xml.gz": Said(packed, kind="application/x-gzip"),
        "/a": page("a", "/not-followed"),
        "/b": page("b"),
        "/c": page("c"),
    }
    files, faults = read(at + "/sitemap.xml")
    assert paths(files, site) == ["/a", "/b", "/c"]
    assert kept(faults) == []
    assert "gone (404)" in reasons(faults)
    assert "other.example/x: on another host" in reasons(faults)


def test_pictures_of_a_sitemap_are_no_pages(site: Site, read: Reader) -> None:
    at = site.address
    site.pages["/map"] = (
        f'<urlset {_XMLNS} xmlns:image="http://www.google.com/schemas/sitemap-image/1.1"><url>'
        f"<loc>{at}/a</loc><image:image><image:loc>{at}/a.png</image:loc></image:image></url></urlset>"
    )
    site.pages["/a"] = page("a")
    assert paths(read(at + "/map")[0], site) == ["/a"]
    assert site.documents_asked() == ["/map", "/a"]


def test_huge_sitemap_ends_at_the_limit(site: Site, read: Reader) -> None:
    site.pages |= {
        "/robots.txt": Said("", 404),
        "/sitemap.xml": urlset(*(f"{site.address}/{number}" for number in range(50_000))),
        "*": page("x"),
    }
    files, faults = read(site.address + "/sitemap.xml", max_pages=5)
    assert len(files) == 5
    assert "and 49992 more: not read: max_pages is 5" in reasons(faults)


def test_nothing_is_forgotten_over_a_sitemap_that_breaks_off(site: Site, read: Reader) -> None:
    site.pages["/sitemap.xml"] = urlset(f"{site.address}/a", f"{site.address}/b")[:-40]
    site.pages |= {"/a": page("a"), "/b": page("b")}
    files, faults = read(site.address + "/sitemap.xml")
    assert paths(files, site)[0] == "/a"
    assert kept(faults) == [site.address + "/sitemap.xml"]
    assert "damaged" in reasons(faults)


def test_nothing_is_forgotten_over_a_sitemap_that_fails(site: Site, read: Reader) -> None:
    at = site.address
    site.pages |= {
        "/sitemap.xml": index(f"{at}/one.xml", f"{at}/two.xml"),
        "/one.xml": Said("", 503),
        "/two.xml": urlset(f"{at}/a"),
        "/a": page("a"),
    }
    files, faults = read(at + "/sitemap.xml")
    assert paths(files, site) == ["/a"]
    assert kept(faults) == [at + "/sitemap.xml"]


def test_sitemap_with_entities_is_not_read(site: Site, read: Reader) -> None:
    site.pages["/sitemap.xml"] = (
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
        f"<urlset {_XMLNS}><url><loc>&b;</loc></url></urlset>"
    )
    files, _ = read(site.address + "/sitemap.xml")
    assert [file.path.suffix for file in files] == [".html"]
    assert site.documents_asked() == ["/sitemap.xml"]


# What may hurt


def test_private_address_is_refused_unless_it_is_allowed(site: Site, read: Reader) -> None:
    site.pages["/a"] = page("x")
    files, faults = read(site.address + "/a", allow_private=False)
    assert (files, site.asked) == ([], [])
    assert "allow_private = true" in reasons(faults)


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{port}/b",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]:{port}/b",
        "http://[::ffff:127.0.0.1]:{port}/b",
        "http://2130706433:{port}/b",
        "http://0x7f.1:{port}/b",
        "http://0177.0.0.1:{port}/b",
        "http://127.1:{port}/b",
        "http://0.0.0.0:{port}/b",
        "http://localhost:{port}/b",
        "//127.0.0.1:{port}/b",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/b",
    ],
)
def test_redirect_to_a_private_address_is_refused(
    internet: Internet, site: Site, read: Reader, target: str
) -> None:
    site.pages |= {
        "/a": Said("", 302, {"Location": target.format(port=internet.port)}),
        "/b": page("secret"),
        "/latest/meta-data/": page("secret"),
    }
    files, faults = read(
        f"http://shop.example:{internet.port}/a", allow_private=False, lookup=internet.look_up
    )
    assert (files, len(faults)) == ([], 1)
    assert site.documents_asked() == ["/a"]
    assert set(internet.connected) == {PUBLIC}


def test_redirect_to_a_metadata_address_is_refused_where_private_ones_are_allowed(
    internet: Internet, site: Site, read: Reader
) -> None:
    site.pages["/a"] = Said("", 302, {"Location": "http://169.254.169.254/latest/"})
    files, faults = read(site.address + "/a")
    assert files == []
    assert "169.254.169.254 is no address of a source" in reasons(faults)
    assert set(internet.connected) == {"127.0.0.1"}


def test_name_that_turns_private_after_the_check_is_not_connected_to(
    internet: Internet, site: Site, read: Reader
) -> None:
    site.pages |= {"/robots.txt": Said("", 404), "/d/": page("x", "a"), "/d/a": page("a")}
    answers = iter([[PUBLIC]])
    files, _ = read(
        f"http://shop.example:{internet.port}/d/**",
        allow_private=False,
        # Every later answer is this machine.
        lookup=lambda host, port: next(answers, ["127.0.0.1"]),
    )
    assert len(files) == len(site.documents_asked())
    assert set(internet.connected) == {PUBLIC}


def test_of_a_name_with_public_and_private_addresses_the_public_one_is_taken(
    internet: Internet, site: Site, read: Reader
) -> None:
    site.pages["/a"] = page("x")
    files, _ = read(
        f"http://shop.example:{internet.port}/a",
        allow_private=False,
        lookup=lambda host, port: ["10.0.0.1", "::1", PUBLIC],
    )
    assert len(files) == 1
    assert set(internet.connected) == {PUBLIC}


def test_redirects_in_a_circle_end(site: Site, read: Reader) -> None:
    site.pages |= {
        "/a": Said("", 302, {"Location": "/b"}),
        "/b": Said("", 302, {"Location": "/a"}),
    }
    _, faults = read(site.address + "/a")
    assert "redirects in a circle" in reasons(faults)
    assert site.documents_asked() == ["/a", "/b"]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_packed_page_is_unpacked(site: Site, read: Reader, coding: str) -> None:
    pack = gzip.compress if coding == "gzip" else zlib.compress
    body = pack(page("x" * 100_000).encode())
    site.pages["/a"] = Said(body, headers={"Content-Encoding": coding})
    [file], _ = read(site.address + "/a")
    assert "x" * 100_000 in file.path.read_text()


def test_page_that_unpacks_to_a_gigabyte_is_refused(site: Site, read: Reader) -> None:
    packer = zlib.compressobj(9, wbits=31)
    body = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    site.pages["/a"] = Said(body, headers={"Content-Encoding": "gzip"})
    tracemalloc.start()
    files, faults = read(site.address + "/a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert files == []
    assert "larger than 50 MB" in reasons(faults)
    assert peak < 200 * 1024**2


def test_page_that_says_it_is_too_large_is_not_read(read: Reader) -> None:
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx"
    with raw_server([said]) as address:
        _, faults = read(address + "/a")
    assert "larger than 50 MB" in reasons(faults)


@pytest.mark.parametrize(
    "begin", [b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"]
)
def test_server_that_sends_a_byte_now_and_then_is_given_up(read: Reader, begin: bytes) -> None:
    with raw_server([begin, *[b"x"] * 1000], pause_seconds=0.02) as address:
        _, faults = read(address + "/a", longest_seconds=0.3)
    assert "takes too long" in reasons(faults)
    assert kept(faults) == [address + "/a"]


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nxxxx",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\nxxxx",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
)
def test_broken_answer_is_one_line(read: Reader, said: bytes) -> None:
    with raw_server([said]) as address:
        files, faults = read(address + "/a")
    assert files == []
    assert len(faults) == 1
    assert "\n" not in str(faults[0])


@pytest.mark.parametrize(
    "source", ["http://", "https:///x", "http://[/", "http://h:99999/", "http://h/docs**"]
)
def test_what_is_no_address_is_named(read: Reader, source: str) -> None:
    files, faults = read(source)
    assert (files, len(faults), kept(faults)) == ([], 1, [])


# As a load reads them


def test_sources_of_all_forms_are_read_together_each_page_once(site: Site, tmp_path: Path) -> None:
    (tmp_path / "here.md").write_text("x")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("faq/退货.md", "七天")
    site.pages |= {
        "/robots.txt": Said("", 404),
        "/a": page("x"),
        "/docs.zip": Said(packed.getvalue(), kind="application/zip"),
    }
    sources = [tmp_path / "here.md", site.address + "/a", site.address + "/a#x"]
    found = list(
        find_files(
            [*sources, site.address + "/docs.zip"],
            tmp_path / "cache",
            Fetching(allow_private=True),
        )
    )
    host = site.address.removeprefix("http://")
    assert [file.name for file in found if isinstance(file, SourceFile)] == [
        "here.md",
        f"{host}/a",
        f"{host}/docs.zip/faq/退货.md",
    ]


# A server that speaks HTTP badly, and a network with one public address


@contextmanager
def raw_server(parts: Sequence[bytes], pause_seconds: float = 0.0) -> Iterator[str]:
    """Sends the parts to whoever asks for anything but robots.txt, then closes."""
    stopping = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while not stopping.is_set():
            with suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    asked = connection.recv(65536)
                    missing = b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    for part in [missing] if b"robots.txt" in asked else parts:
                        connection.sendall(part)
                        stopping.wait(pause_seconds)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        stopping.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


PUBLIC = "93.184.215.14"


@dataclass
class Internet:
    """What is connected to; a public address is the site, so that no test leaves the machine."""

    port: int
    connected: list[str] = field(default_factory=list)

    def look_up(self, host: str, port: int) -> Sequence[str]:
        return [PUBLIC] if host == "shop.example" else resolve(host, port)


@pytest.fixture
def internet(site: Site, monkeypatch: pytest.MonkeyPatch) -> Internet:
    network = Internet(int(site.address.rpartition(":")[2]))
    connect = socket.create_connection

    def connect_here(address: tuple[str, int], *given: Any, **named: Any) -> socket.socket:
        network.connected.append(address[0])
        return connect(("127.0.0.1", address[1]), *given, **named)

    monkeypatch.setattr(socket, "create_connection", connect_here)
    return network
