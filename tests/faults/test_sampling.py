"""What a process is charged with: its own files, not the connections that others keep to it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.faults.sampling import of_process


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def files(port: int) -> int:
    return of_process(os.getpid(), port)[1]


def connected(stack: ExitStack) -> tuple[int, socket.socket, socket.socket]:
    """A port, and both ends of a connection to it, the caller's first."""
    listening = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
    address = listening.getsockname()
    caller = stack.enter_context(closing(socket.create_connection(address)))
    accepted = stack.enter_context(closing(listening.accept()[0]))
    return address[1], caller, accepted


def test_a_connection_that_a_customer_keeps_open_is_no_file_of_the_server(stack: ExitStack) -> None:
    another = 1
    port, caller, accepted = connected(stack)
    assert files(port) == files(another) - 1
    caller.shutdown(socket.SHUT_WR)
    assert accepted.recv(1) == b""
    # Now nobody but the server keeps it: that is a leak.
    assert files(port) == files(another)


def test_of_a_process_that_is_gone_there_is_nothing() -> None:
    assert of_process(2**22 + 1, 1) == (0.0, 0, 0)
