"""The token that comes with a slash command, kept in the id of its message: sealed.

With it the command can be answered for 15 minutes where the bot itself may not write. Whoever sends
the answer may be another process than the one that was asked, so it has to be stored; and as it
lets anybody speak in the bot's name, it is stored encrypted, under a key made of the bot's token.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from cryptography.fernet import Fernet, InvalidToken

#: Discord takes a token for 15 minutes.
_GOOD_SECONDS = 14 * 60
#: Discord's are of some 220 characters.
_TOKEN_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class Command:
    """A command that can still be answered by its token."""

    #: At Discord's API; it holds the token.
    path: str = field(repr=False)
    #: Since it was read, to a second.
    age_seconds: float


class InteractionTokens:
    """Seals and opens, for one bot."""

    def __init__(self, secret: str) -> None:
        key = hashlib.sha256(b"kfbot: Discord's interaction tokens\0" + secret.encode()).digest()
        self._cipher = Fernet(base64.urlsafe_b64encode(key))

    def message_id(self, data: Mapping[str, Any]) -> str:
        """What a command is called as a message; without a usable token, its own id alone."""
        number, app, token = (str(data.get(name, "")) for name in ("id", "application_id", "token"))
        if not token or not app.isdigit() or len(token) > _TOKEN_LENGTH:
            return number
        sealed = self._cipher.encrypt(json.dumps([app, token]).encode())
        return f"{number}.{sealed.decode()}"

    def find(self, message_id: str) -> Command | None:
        """The command that is called so; None: it is none, or cannot be answered any more."""
        sealed = message_id.partition(".")[2].encode(errors="replace")
        try:
            app, token = json.loads(self._cipher.decrypt(sealed, ttl=_GOOD_SECONDS))
        except InvalidToken:
            return None
        age_seconds = time.time() - self._cipher.extract_timestamp(sealed)
        return Command(f"/webhooks/{app}/{quote(token, safe='')}", age_seconds)


def is_command(message_id: str) -> bool:
    """Whether a message is called so because it was a command, however long ago."""
    return "." in message_id
