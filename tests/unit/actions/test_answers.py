"""Templates of answers: what is put into them, and as what."""

from __future__ import annotations

from typing import Any

import pytest

from kfbot.actions.answers import FieldMissing, field_of, filled_with, is_nothing

ANSWER: dict[str, Any] = {
    "order": {
        "status": "in_transit *now*",
        "count": 3,
        "url": "https://track.example/a_(b)?x=1&y=2",
        "empty": "  ",
        "none": None,
        "open": True,
        "long": "x" * 5000,
    },
    "parcels": [{"id": "P 1/2"}],
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("It is {order.status}.", "It is in\\_transit \\*now\\*."),
        ("{order.count} of {{ number }}", "3 of AB\\_1"),
        ("See {order.url}", "See <https://track.example/a_(b)?x=1&y=2>"),
        ("[Track]({order.url})", "[Track](https://track.example/a_%28b%29?x=1&y=2)"),
        ("https://x.example/{parcels.0.id}", "https://x.example/P%201%2F2"),
        ("{parcels.0.id}", "P 1/2"),
    ],
)
def test_values_are_plain_text_and_addresses_stay_addresses(template: str, text: str) -> None:
    assert filled_with(template, ANSWER, {"number": "AB_1"}).text == text


@pytest.mark.parametrize(
    "name",
    [
        "order", "order.nothing", "order.empty", "order.none", "order.open", "parcels.1.id",
        "parcels.-1.id", "order.status.0", "parcels",
    ],
)  # fmt: skip
def test_a_field_without_anything_to_show_is_missing(name: str) -> None:
    with pytest.raises(FieldMissing, match=name):
        field_of(ANSWER, name)


def test_what_is_no_web_address_is_not_linked_to() -> None:
    with pytest.raises(FieldMissing, match="evil"):
        filled_with("[Track]({evil})", {"evil": "javascript:alert(1)"}, {})


@pytest.mark.parametrize(
    "template", ["{id}", "https://x.example/{id}", "[x](https://x.example/{id})"]
)
def test_what_no_database_takes_is_not_shown(template: str) -> None:
    filled = filled_with(template, {"id": "A\ud800\0B"}, {})
    filled.text.encode()
    assert "\0" not in f"{filled.text}{filled.fields['id']}"


def test_a_long_value_is_cut() -> None:
    assert len(field_of(ANSWER, "order.long")) == 1001


def test_a_value_cannot_bring_fields_or_slots_of_its_own() -> None:
    filled = filled_with("{a} {b}", {"a": "{b}{{number}}", "b": "x"}, {"number": "secret"})
    assert filled.text == "{b}{{number}} x"
    assert filled.fields == {"a": "{b}{{number}}", "b": "x"}


def test_nothing_is_told_from_something() -> None:
    assert all(is_nothing(one) for one in (None, {}, []))
    assert not any(is_nothing(one) for one in (0, "", False, {"a": None}, [{}]))
