"""Which addresses a source may lie at."""

from __future__ import annotations

import ipaddress

import pytest

from knowledge.sources.addresses import AddressRefused, allowed_addresses, check_address

PUBLIC = ["93.184.215.14", "2606:2800:21f:cb07::1", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e"]
PRIVATE = [
    "127.0.0.1",
    "127.8.9.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fc00::1",
    "fd12:3456::1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "64:ff9b::127.0.0.1",
    "2002:7f00:1::",
    "2002:a00:1::1",
]
NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "169.254.169.254",
    "169.254.1.1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "100.100.100.200",
    "168.63.129.16",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "240.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
    # Teredo with 169.254.169.254 behind it, written as its complement.
    "2001:0:5db8:d70e::5601:5601",
]


def is_allowed(text: str, *, allow_private: bool) -> bool:
    try:
        check_address(text, allow_private=allow_private)
    except AddressRefused:
        return False
    return True


@pytest.mark.parametrize("text", PUBLIC)
def test_public_address_is_allowed(text: str) -> None:
    assert is_allowed(text, allow_private=False)


@pytest.mark.parametrize("text", PRIVATE)
def test_private_address_is_allowed_only_where_the_operator_says_so(text: str) -> None:
    assert not is_allowed(text, allow_private=False)
    assert is_allowed(text, allow_private=True)


@pytest.mark.parametrize("text", NEVER)
def test_metadata_and_link_local_addresses_are_never_allowed(text: str) -> None:
    assert not is_allowed(text, allow_private=False)
    assert not is_allowed(text, allow_private=True)


def test_no_address_of_a_private_range_slips_through() -> None:
    ranges = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16"]
    for network in map(ipaddress.IPv4Network, ranges):
        for address in (network[0], network[1], network[-1]):
            assert not is_allowed(str(address), allow_private=False)
            assert not is_allowed(f"::ffff:{address}", allow_private=False)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0177.1", "127.1", "localhost"])
def test_every_spelling_of_this_machine_is_refused(host: str) -> None:
    from knowledge.sources.addresses import resolve

    with pytest.raises(AddressRefused, match="private"):
        allowed_addresses(host, 80, resolve, allow_private=False)


def test_name_that_is_none_is_an_unknown_host() -> None:
    from knowledge.sources.addresses import resolve

    with pytest.raises(OSError, match="no host name"):
        allowed_addresses("a" * 70 + ".example", 80, resolve, allow_private=False)
