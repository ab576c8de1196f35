"""Web sources: one page, the pages of a sitemap, or the pages linked under an address."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import httpx

from kfbot.errors import DocumentUnreadable
from knowledge.documents import SourceFile
from knowledge.sources.contract import SourceUnreachable, without_credentials
from knowledge.sources.fetching import Fetcher, Page
from knowledge.sources.folders import io_reason
from knowledge.sources.http import FetchFault
from knowledge.sources.page_look import Look, look_at
from knowledge.sources.sitemap import SitemapDamaged, read_sitemap, sitemap_kind
from knowledge.sources.web_addresses import (
    canonical,
    is_same_page,
    is_same_site,
    name_of,
    without_login,
)

_UNDER = "/**"
_SHOWN_NAMES = 3
_MOST_SITEMAPS = 1000
#: What a page links to that is no document.
_NO_DOCUMENT = re.compile(
    r"\.(?:css|js|mjs|map|json|xml|rss|atom|ico|svg|gif|png|jpe?g|webp|avif|bmp|woff2?|ttf|otf|eot"
    r"|mp[34]|m4[av]|avi|mov|webm|ogg|wav|flv|exe|msi|dmg|apk|ipa|iso|jar|deb|rpm|7z|rar|bin)$",
    re.IGNORECASE,
)
# A relative link in a page that is shown at every address below itself: a/b/a/b/a/b/…
_MOST_REPEATS = 3
_LOGIN = "shows a login page instead"

Found = SourceFile | DocumentUnreadable


def find_web(source: str, fetcher: Fetcher, max_pages: int) -> Iterator[Found]:
    """The pages of a web source: `https://host/page`, a sitemap's address, `https://host/docs/**`.

    A page that cannot be fetched now is given as it was last, where that is known, and named in a
    SourceUnreachable too; so is the whole source when its host is down, or when something that
    leads to more pages cannot be read. Pages that are gone, or that we may not read, are named.
    """
    shown = without_credentials(source)
    is_many = source.endswith(_UNDER)
    start = canonical(source.removesuffix("**") if is_many else source)
    if start is None or (source.endswith("*") and not is_many):
        yield DocumentUnreadable(shown, "no web address; all pages under one end with /**")
        return
    walk = _Walk(shown, fetcher, max_pages, fetcher.log_in(start), is_many)
    try:
        yield from walk.under() if is_many else walk.listed()
    except FetchFault as fault:
        if fault.fate in ("gone", "refused") and not (walk.follows or walk.lists):
            yield DocumentUnreadable(shown, fault.reason)
        else:
            yield SourceUnreachable(shown, fault.reason, kept=[shown])
    except OSError as error:
        yield SourceUnreachable(shown, io_reason(error), kept=[shown])
    yield from walk.reports()


@dataclass(slots=True)
class _Walk:
    """One way through the pages of a source."""

    source: str
    fetcher: Fetcher
    max_pages: int
    start: httpx.URL
    #: Pages are found by links, so that one that is missing may hide others.
    follows: bool
    #: The source is a sitemap.
    lists: bool = False
    #: Names of pages that are not given, by the reason.
    _left_out: dict[str, list[str]] = field(default_factory=dict)
    #: The same of those that stay loaded.
    _unreachable: dict[str, list[str]] = field(default_factory=dict)
    #: Why pages may exist that we did not come to.
    _incomplete: str = ""
    _given: set[str] = field(default_factory=set)
    _asked: int = 0

    def listed(self) -> Iterator[Found]:
        """The one page at the address, or the pages of the sitemap that it is.

        Raises:
            FetchFault: There is no page.
            OSError: The cache cannot be used.
        """
        page = self.fetcher.fetch(self.start)
        if sitemap_kind(page.path):
            self.lists = True
            yield from self._of_sitemap(page)
            return
        look = _look(page)
        if look and _asks_for_login(page, look, self.start):
            raise FetchFault("barred", _LOGIN)
        if page.stale:
            yield SourceUnreachable(self.source, page.stale, kept=[self.source])
        yield SourceFile(page.path, name_of(page.url), url=str(page.url), origin=self.source)

    def under(self) -> Iterator[Found]:
        """The pages that are linked under the address, the nearest first.

        Raises:
            FetchFault: The first page, or the whole host, cannot be had.
            OSError: The cache cannot be used.
        """
        queue = deque([self.start])
        known = {str(self.start)}
        while queue and self._asked < self.max_pages:
            asked = queue.popleft()
            page = self._visit(asked)
            if page is None or not self._stays_under(asked, page):
                continue
            known.add(str(page.url))
            look = _look(page)
            yield from self._file(page, look, asked)
            for url in self._links(page, look):
                if str(url) not in known:
                    known.add(str(url))
                    queue.append(url)
        self._leave_out_rest([name_of(url) for url in queue])

    def reports(self) -> Iterator[DocumentUnreadable]:
        """What was left out, one line for each reason."""
        for reason, names in self._left_out.items():
            yield DocumentUnreadable(self.source, f"{_some(names)}: {reason}")
        for reason, names in self._unreachable.items():
            kept = [f"{self.source}/{name}" for name in names]
            yield SourceUnreachable(self.source, f"{_some(names)}: {reason}", kept=kept)
        if self._incomplete:
            yield SourceUnreachable(self.source, self._incomplete, kept=[self.source])

    def _of_sitemap(self, sitemap: Page) -> Iterator[Found]:
        known: set[str] = set()
        rest: list[str] = []
        for url in self._entries(sitemap):
            if str(url) in known:
                continue
            known.add(str(url))
            if not is_same_site(url, self.start):
                self._leave_out("on another host than the sitemap", name_of(url))
            elif self._asked >= self.max_pages:
                rest.append(name_of(url))
            elif page := self._visit(url):
                yield from self._file(page, _look(page), url)
        self._leave_out_rest(rest)

    def _entries(self, sitemap: Page) -> Iterator[httpx.URL]:
        """The pages of a sitemap, or of the sitemaps of an index, down to the last."""
        waiting = deque([sitemap])
        read = {str(sitemap.url)}
        while waiting:
            page = waiting.popleft()
            kind = sitemap_kind(page.path)
            if page.stale:
                self._incomplete = f"{name_of(page.url)}: {page.stale}"
            for url in self._addresses(page):
                if kind == "urlset":
                    yield url
                elif str(url) not in read and len(read) < _MOST_SITEMAPS:
                    read.add(str(url))
                    waiting.extend(self._sitemap_below(url))

    def _sitemap_below(self, url: httpx.URL) -> Iterator[Page]:
        try:
            page = self.fetcher.fetch(url)
        except FetchFault as fault:
            if fault.fate == "gone":
                self._leave_out(fault.reason, name_of(url))
            else:
                self._incomplete = f"{name_of(url)}: {fault.reason}"
            return
        if sitemap_kind(page.path):
            yield page
        else:
            self._incomplete = f"{name_of(url)}: no sitemap"

    def _addresses(self, sitemap: Page) -> Iterator[httpx.URL]:
        try:
            for text in read_sitemap(sitemap.path):
                if url := canonical(text, sitemap.url):
                    yield without_login(url)
        except SitemapDamaged as error:
            self._incomplete = f"{name_of(sitemap.url)}: {error}"

    def _visit(self, url: httpx.URL) -> Page | None:
        self._asked += 1
        try:
            page = self.fetcher.fetch(url)
        except FetchFault as fault:
            if url == self.start or self.fetcher.is_down(self.start.host):
                raise
            if fault.fate in ("gone", "refused", "barred"):
                self._leave_out(fault.reason, name_of(url))
            else:
                self._unreachable.setdefault(fault.reason, []).append(name_of(url))
                if self.follows:
                    self._incomplete = "pages may be missing that are linked from those"
            return None
        if page.stale:
            self._unreachable.setdefault(page.stale, []).append(name_of(page.url))
        return page

    def _stays_under(self, asked: httpx.URL, page: Page) -> bool:
        if self._is_under(page.url):
            return True
        if asked == self.start:
            raise FetchFault("unreachable", f"it leads to {page.url}: name that instead")
        self._leave_out("leads out of the address", name_of(asked))
        return False

    def _file(self, page: Page, look: Look | None, asked: httpx.URL) -> Iterator[SourceFile]:
        """The page as a file, unless it was given before or is none to be read."""
        url = page.url
        if look is not None:
            if _asks_for_login(page, look, asked):
                return self._barred(asked)
            if "noindex" in look.robots:
                return self._leave_out("asks robots not to take it up (noindex)", name_of(url))
            says = canonical(look.canonical, url) if look.canonical else None
            if says is not None and is_same_page(says, url):
                url = says
        name = name_of(url)
        if str(url) in self._given:
            if url != page.url:
                self._leave_out("the same page as another, it says (canonical)", name_of(page.url))
            return
        self._given.add(str(url))
        yield SourceFile(page.path, name, url=str(url), origin=f"{self.source}/{name}")

    def _barred(self, asked: httpx.URL) -> None:
        if asked == self.start:
            raise FetchFault("barred", _LOGIN)
        self._leave_out(_LOGIN, name_of(asked))

    def _links(self, page: Page, look: Look | None) -> Iterator[httpx.URL]:
        if look is None or "nofollow" in look.robots:
            return
        base = canonical(look.base, page.url) or page.url
        for link in look.links:
            url = canonical(link, base)
            if url is not None and self._is_document(url):
                yield without_login(url).copy_with(scheme=self.start.scheme)

    def _is_document(self, url: httpx.URL) -> bool:
        parts = Counter(part for part in url.path.split("/") if part)
        repeats = max(parts.values(), default=0)
        is_other = _NO_DOCUMENT.search(url.path)
        return self._is_under(url) and not is_other and repeats <= _MOST_REPEATS

    def _is_under(self, url: httpx.URL) -> bool:
        folder = self.start.path
        is_here = (url.host, url.port) == (self.start.host, self.start.port)
        return is_here and (url.path.startswith(folder) or url.path == folder.rstrip("/"))

    def _leave_out(self, reason: str, name: str) -> None:
        self._left_out.setdefault(reason, []).append(name)

    def _leave_out_rest(self, names: Sequence[str]) -> None:
        if names:
            reason = f"not read: max_pages is {self.max_pages}"
            self._left_out.setdefault(reason, []).extend(names)


def _look(page: Page) -> Look | None:
    """What an HTML page says besides its text; None: it is of another kind."""
    return look_at(page.path, page.robots) if page.path.suffix == ".html" else None


def _asks_for_login(page: Page, look: Look, asked: httpx.URL) -> bool:
    """A password is asked for, and that is all, or what we asked for led here."""
    return look.is_login or (look.has_password and not is_same_page(page.url, asked))


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
