"""robots.txt of each host: read once a load, obeyed for what is fetched and how fast."""

from __future__ import annotations

import httpx
from protego import Protego

from knowledge.sources.http import ROBOT, Client, FetchFault

_MOST_CHARS = 500 * 1024
_MOST_REDIRECTS = 5


class Robots:
    """What the hosts of a load allow."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._rules: dict[str, Protego] = {}

    def check(self, url: httpx.URL) -> None:
        """Accept an address that its host lets us fetch, and take up the pause that it asks for.

        As RFC 9309 has it, a host without robots.txt allows everything, and one that cannot say
        now allows nothing for now.

        Raises:
            FetchFault: "refused", or "unreachable" or "down" when nobody can say.
        """
        place = str(url.copy_with(raw_path=b"/robots.txt", fragment=None, userinfo=b""))
        if place not in self._rules:
            rules = self._rules[place] = Protego.parse(self._read(httpx.URL(place)))
            if delay := rules.crawl_delay(ROBOT):
                self._client.slow_down(url.host, delay)
        if not self._rules[place].can_fetch(str(url), ROBOT):
            raise FetchFault("refused", "robots.txt does not allow it to kfbot")

    def _read(self, url: httpx.URL) -> str:
        for _ in range(_MOST_REDIRECTS):
            answer = self._client.get(url)
            target = answer.headers.get("location", "")
            if not 300 <= answer.status < 400 or not target:
                break
            try:
                url = url.join(target)
            except httpx.InvalidURL:
                return ""
            if url.scheme not in ("http", "https"):
                return ""
        if answer.status >= 500:
            raise FetchFault("unreachable", f"its robots.txt answers {answer.status}")
        return answer.body[:_MOST_CHARS].decode("utf-8", "replace")
