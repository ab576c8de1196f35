"""Passwords of agents: argon2id, reckoned in threads and a few at a time."""

from __future__ import annotations

import asyncio
import secrets
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argon2 import PasswordHasher

#: A password has so many characters. NIST SP 800-63B asks for 8; length is all that counts.
SHORTEST, LONGEST = 10, 256
#: Each takes 64 MiB and tens of milliseconds of a core: a crowd at the door must wait.
_AT_ONCE = 2


def fault_of(password: str, *names: str) -> str | None:
    """What is wrong with a new password, in one line; None for nothing.

    Args:
        names: What anybody would try first.
    """
    if len(password) < SHORTEST:
        return f"a password needs at least {SHORTEST} characters"
    if len(password) > LONGEST:
        return f"a password has at most {LONGEST} characters"
    if password.casefold() in {name.casefold() for name in names} or len(set(password)) < 4:
        return "this password is too easy to guess"
    return None


class Passwords:
    """Makes and checks hashes, in PHC string format (RFC 9106's second set of parameters)."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def hash(self, password: str) -> str:
        """The hash to keep."""
        async with self._places:
            return await asyncio.to_thread(self._hasher.hash, _bytes(password))

    async def matches(self, kept: str | None, password: str) -> bool:
        """True for the password of this hash.

        With None it takes as long and is false: an unknown name is not told from a wrong
        password by the time it takes.
        """
        async with self._places:
            return await asyncio.to_thread(self._verify, kept, password)

    @cached_property
    def _hasher(self) -> PasswordHasher:
        from argon2 import PasswordHasher

        return PasswordHasher()

    @cached_property
    def _decoy(self) -> str:
        return self._hasher.hash(secrets.token_bytes())

    def _verify(self, kept: str | None, password: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        # Made before any is checked, else the first unknown name would take twice as long.
        decoy = self._decoy
        try:
            return self._hasher.verify(kept or decoy, _bytes(password)) and kept is not None
        except (VerificationError, InvalidHashError):
            return False


def _bytes(password: str) -> bytes:
    # Half a surrogate pair is no password of anybody's, and no reason to fail.
    return password.encode(errors="surrogatepass")
