"""Fetches pages into the cache: robots.txt, redirects, conditional requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from knowledge.sources import page_cache
from knowledge.sources.contract import Fetching
from knowledge.sources.http import Answer, Client, FetchFault
from knowledge.sources.page_cache import Kept
from knowledge.sources.page_kinds import as_utf8, file_name
from knowledge.sources.robots import Robots
from knowledge.sources.web_addresses import canonical, without_login

_MOST_REDIRECTS = 10


@dataclass(frozen=True, slots=True)
class Page:
    """A page that lies on this machine."""

    #: Where it was found in the end; without user name and password.
    url: httpx.URL
    path: Path
    #: See `Kept.robots`.
    robots: str
    #: Why it could not be fetched now: what lies here is from an earlier time. "": it is fresh.
    stale: str = ""


@contextmanager
def open_fetcher(cache: Path, fetching: Fetching) -> Iterator[Fetcher]:
    """A fetcher with a client of its own; closed at the end.

    Args:
        cache: See `Fetcher`.
        fetching: Which addresses it may connect to.
    """
    with Client(allow_private=fetching.allow_private) as client:
        yield Fetcher(cache, client)


class Fetcher:
    """Fetches pages one after the other; what did not change is not fetched again."""

    def __init__(self, cache: Path, client: Client) -> None:
        """Prepare, without fetching.

        Args:
            cache: Folder for pages; kept from one load to the next.
            client: Closed by its owner.
        """
        self._cache = cache
        self._client = client
        self._robots = Robots(client)

    def log_in(self, url: httpx.URL) -> httpx.URL:
        """Use the user name and password of an address for its host; the address without them."""
        self._client.log_in(url)
        return without_login(url)

    def is_down(self, host: str) -> bool:
        """True for a host that is not asked any more, having failed."""
        return self._client.is_down(host)

    def fetch(self, url: httpx.URL) -> Page:
        """The page at an address, after all redirects.

        Raises:
            FetchFault: There is none, or none that we may have.
            OSError: The cache cannot be written.
        """
        trail: set[str] = set()
        while True:
            trail.add(str(url))
            kept, stale = self._ask(url)
            if not kept.redirect:
                path = page_cache.folder_of(self._cache, str(url)) / kept.file
                return Page(url, path, kept.robots, stale)
            target = canonical(kept.redirect, url)
            if target is None:
                raise FetchFault("refused", "redirects to what is no web address")
            target = without_login(target)
            if str(target) in trail or len(trail) > _MOST_REDIRECTS:
                raise FetchFault("unreachable", "redirects in a circle")
            url = target

    def _ask(self, url: httpx.URL) -> tuple[Kept, str]:
        """What an address gives, and why that is what it gave some time ago, if it is."""
        kept = page_cache.load(self._cache, str(url))
        try:
            self._robots.check(url)
            answer = self._client.get(url, _conditions(kept))
            return self._taken(url, kept, answer), ""
        except FetchFault as fault:
            if fault.fate == "gone":
                page_cache.forget(self._cache, str(url))
            if kept is None or fault.fate != "unreachable":
                raise
            return kept, fault.reason

    def _taken(self, url: httpx.URL, kept: Kept | None, answer: Answer) -> Kept:
        if answer.status == 304 and kept is not None:
            return kept
        if answer.status == 200:
            return self._save(url, answer)
        target = answer.headers.get("location", "")
        if answer.status in (301, 302, 303, 307, 308) and target:
            moved = Kept(redirect=_as_sent(target))
            page_cache.save(self._cache, str(url), moved)
            return moved
        if answer.status in (404, 410):
            raise FetchFault("gone", f"gone ({answer.status})")
        if 400 <= answer.status < 500:
            raise FetchFault("barred", f"the server does not show it ({answer.status})")
        raise FetchFault("unreachable", f"the server answers {answer.status}")

    def _save(self, url: httpx.URL, answer: Answer) -> Kept:
        headers = answer.headers
        if not answer.body:
            raise FetchFault("unreachable", "the server answers with nothing")
        kept = Kept(
            file=file_name(url, headers, answer.body),
            etag=headers.get("etag", ""),
            last_modified=headers.get("last-modified", ""),
            robots=headers.get("x-robots-tag", ""),
        )
        page_cache.save(self._cache, str(url), kept, as_utf8(headers, answer.body))
        return kept


def _conditions(kept: Kept | None) -> dict[str, str]:
    if kept is None:
        return {}
    said = {"If-None-Match": kept.etag, "If-Modified-Since": kept.last_modified}
    return {name: value for name, value in said.items() if value}


def _as_sent(location: str) -> str:
    """A Location as its server meant it: many send UTF-8 as it is."""
    try:
        return location.encode("latin-1").decode()
    except UnicodeError:
        return location
