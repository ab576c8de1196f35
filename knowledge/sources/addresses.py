"""Which addresses a fetch may connect to, checked where the connection is made.

A name is looked up once and the address that was checked is the one connected to: a name server
that answers otherwise the second time changes nothing. TLS still checks the name.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpcore

from kfbot.errors import KnowledgeBaseError

#: Looks up a host name: its addresses as text; raises OSError.
Resolve = Callable[[str, int], Sequence[str]]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: Never a source, also where private addresses are allowed.
_NEVER = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "169.254.0.0/16",  # Link-local, with the metadata of most clouds.
        "100.100.100.200/32",  # Metadata: Alibaba Cloud.
        "168.63.129.16/32",  # Metadata: Azure; a public address by its look.
        "192.0.0.192/32",  # Metadata: Oracle Cloud.
        "240.0.0.0/4",
        "::/128",
        "fe80::/10",
        "fd00:ec2::/32",  # Metadata: AWS.
        "fd20:ce::/32",  # Metadata: Google Cloud.
    )
)
#: IPv6 prefixes that carry an IPv4 address, and how far from the right it stands.
_CARRIERS = tuple(
    (ipaddress.IPv6Network(network), shift)
    for network, shift in (
        ("::ffff:0:0/96", 0),
        ("::/96", 0),
        ("64:ff9b::/96", 0),
        ("64:ff9b:1::/48", 0),
        ("2002::/16", 80),
    )
)


class AddressRefused(KnowledgeBaseError):
    """An address is none that a source may lie at."""


def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host name, as the system knows them.

    Raises:
        OSError: It has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"no host name: {error}") from error
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def check_address(text: str, *, allow_private: bool) -> None:
    """Accept an IP address that a source may lie at.

    Raises:
        AddressRefused: It is private or loopback, unless that is allowed, or it is link-local,
            multicast, reserved, or where a cloud keeps its secrets.
    """
    address: _Address = ipaddress.ip_address(text.partition("%")[0])
    for one in (address, *_carried(address)):
        if one.is_multicast or any(one in network for network in _NEVER):
            raise AddressRefused(f"{text} is no address of a source")
        if not one.is_global and not allow_private and not _is_carrier(one):
            raise AddressRefused(f"{text} is a private address: allow_private = true allows it")


def _carried(address: _Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address may lead to."""
    if not isinstance(address, ipaddress.IPv6Address) or int(address) <= 1:
        return []
    found = [
        ipaddress.IPv4Address(int(address) >> shift & 0xFFFFFFFF)
        for network, shift in _CARRIERS
        if address in network
    ]
    return [*found, *(address.teredo or ())]


def _is_carrier(address: _Address) -> bool:
    # Python calls these private as such; what counts is where they lead.
    return isinstance(address, ipaddress.IPv6Address) and bool(_carried(address))


def allowed_addresses(host: str, port: int, lookup: Resolve, *, allow_private: bool) -> list[str]:
    """Those addresses of a host that a source may lie at; at least one.

    Raises:
        AddressRefused: There is none.
        OSError: The host has no address.
    """
    refused: AddressRefused | None = None
    found = []
    for text in lookup(host, port):
        try:
            check_address(text, allow_private=allow_private)
            found.append(text)
        except AddressRefused as error:
            refused = error
    if not found:
        raise refused or OSError("no address")
    return found


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to allowed addresses only, and lets nothing last longer than until `deadline`."""

    def __init__(self, *, allow_private: bool, lookup: Resolve = resolve) -> None:
        self._inner = httpcore.SyncBackend()
        self._allow_private = allow_private
        self._lookup = lookup
        #: On the clock of `time.monotonic`, for whatever is asked for next.
        self.deadline = float("inf")

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of the host that is allowed and answers.

        Raises:
            AddressRefused: None is allowed.
            httpcore.ConnectError: None answers, or the name is unknown.
            httpcore.ConnectTimeout: It takes too long.
        """
        try:
            addresses = allowed_addresses(
                host, port, self._lookup, allow_private=self._allow_private
            )
        except OSError as error:
            raise httpcore.ConnectError(f"its name is not known ({error.strerror or error})") from (
                error
            )
        failure: Exception | None = None
        for address in addresses:
            try:
                stream = self._inner.connect_tcp(
                    address, port, self.seconds_left(timeout), local_address, socket_options
                )
                return _TimedStream(stream, self)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        assert failure is not None
        raise failure

    def seconds_left(self, timeout: float | None) -> float:
        """The time that one step may take.

        Raises:
            httpcore.ReadTimeout: There is none left.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("it takes too long")
        return left if timeout is None else min(left, timeout)


class _TimedStream(httpcore.NetworkStream):
    """A stream that ends at the backend's deadline: a byte now and then is no way around it."""

    def __init__(self, inner: httpcore.NetworkStream, backend: GuardedBackend) -> None:
        self._inner = inner
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._backend.seconds_left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._backend.seconds_left(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        secured = self._inner.start_tls(
            ssl_context, server_hostname, self._backend.seconds_left(timeout)
        )
        return _TimedStream(secured, self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
