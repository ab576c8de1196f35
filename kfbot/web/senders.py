"""Where a request comes from, as far as proxies of ours say it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from aiohttp import web


class Proxies:
    """Whose X-Forwarded-For is believed."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(one) for one in trusted]

    def sender_of(self, request: web.Request) -> str:
        """The last address that no proxy of ours has, else the last; of IPv6 its /64."""
        return _network_of(self._last(request))

    def stranger_of(self, request: web.Request) -> str | None:
        """The same; None where it is a proxy's, behind which there may be anybody."""
        last = self._last(request)
        return None if self._have(last) else _network_of(last)

    def _last(self, request: web.Request) -> str:
        # A proxy may add a line of its own below the one that a guesser made up.
        lines = request.headers.getall("X-Forwarded-For", ())
        way = [one.strip() for one in ",".join(lines).split(",")]
        address = request.remote or ""
        while self._have(address) and way and way[-1]:
            address = way.pop()
        return address

    def _have(self, address: str) -> bool:
        found = _ip_of(address)
        return found is not None and any(found in network for network in self._networks)


def _network_of(address: str) -> str:
    """What one sender has: an IPv4 address, or the /64 that every IPv6 customer gets."""
    found = _ip_of(address)
    if found is None:
        return address[:64]
    if found.version == 4:
        return str(found)
    return str(ipaddress.ip_network((found, 64), strict=False))


def _ip_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a proxy or a socket named; None for what is none."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        # Some proxies write the port with it, another one for every connection.
        try:
            found = ipaddress.ip_address(urlsplit(f"//{text}").hostname or "")
        except ValueError:
            return None
    # Where one socket takes both, IPv4 comes in IPv6's clothes: all of it is one /64.
    return found.ipv4_mapped or found if found.version == 6 else found
