"""The error tree: its picture and its classes agree, and every error is one line for a person."""

from __future__ import annotations

import re
from inspect import getmembers, isclass

import pytest

from kfbot import errors

CLASSES = {
    name: one
    for name, one in getmembers(errors, isclass)
    if issubclass(one, Exception) and one.__module__ == errors.__name__
}


def drawn() -> dict[str, str]:
    """Each class of the module docstring's tree, with the one above it."""
    above: list[str] = []
    tree = {}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"^((?:│   |    )*)(?:[├└]── )?([A-Z]\w+)(?:\s{2,}|$)", line):
            branch = "── " in line
            depth = len(found[1]) // 4 + branch
            above[depth:] = [found[2]]
            tree[found[2]] = above[depth - 1] if depth else "Exception"
    return tree


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    assert drawn() == {name: one.__bases__[0].__name__ for name, one in CLASSES.items()}


@pytest.mark.parametrize("name", CLASSES)
def test_every_error_says_what_it_means(name: str) -> None:
    assert CLASSES[name].__doc__


def test_an_error_of_a_channel_names_it() -> None:
    error = errors.ChannelUnavailable("shop", "busy", retry_after_seconds=5)
    assert (str(error), error.channel) == ("channel shop: busy", "shop")
    assert error.retry_after_seconds == 5
    refused = errors.WebhookRejected("shop", "bad signature", status=401)
    assert (str(refused), refused.status) == ("channel shop: bad signature", 401)


def test_an_unreadable_document_is_named_with_the_reason() -> None:
    error = errors.DocumentUnreadable("a.pdf", "encrypted")
    assert str(error) == "a.pdf: encrypted"
    assert (error.source, error.reason) == ("a.pdf", "encrypted")
