"""Whose program on this machine is at the other end of a connection."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

#: Accounts below this are of services (Debian, Red Hat, Alpine), but for root; 65534 is nobody.
_FIRST_PERSON, _NOBODY = 1000, 65534
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def is_a_service(peer: tuple[str, int], own: tuple[str, int]) -> bool:
    """True where the other end belongs to a service's account, such as a web server's.

    False for people, root, and the account that we run as; and where the system does not say.

    Args:
        peer: Address and port of the other end, which is on this machine.
        own: Address and port of ours.
    """
    for table in _TABLES:
        try:
            lines = table.read_text("ascii").splitlines()
        except OSError:
            continue
        account = account_of(lines, peer, own)
        if account is not None:
            is_person = account == 0 or (account >= _FIRST_PERSON and account != _NOBODY)
            return not is_person and account != os.geteuid()
    return False


def account_of(lines: Iterable[str], peer: tuple[str, int], own: tuple[str, int]) -> int | None:
    """The account that holds the other end's socket, by the lines of /proc/net/tcp or tcp6."""
    wanted = (_end(*peer), _end(*own))
    for line in lines:
        words = line.split()
        if len(words) > 7 and (_read(words[1]), _read(words[2])) == wanted:
            return int(words[7])
    return None


def _read(text: str) -> tuple[IPv4Address | IPv6Address, int] | None:
    """An end as the kernel writes it: words of 32 bits in the machine's order, then the port."""
    address, _, port = text.partition(":")
    try:
        raw = bytes.fromhex(address)
        if sys.byteorder == "little":
            raw = b"".join(raw[place : place + 4][::-1] for place in range(0, len(raw), 4))
        return _end(str(ip_address(raw)), int(port, 16))
    except ValueError:  # The line with the names of the columns.
        return None


def _end(address: str, port: int) -> tuple[IPv4Address | IPv6Address, int]:
    found = ip_address(address)
    plain = (found.ipv4_mapped or found) if found.version == 6 else found
    return plain, port
