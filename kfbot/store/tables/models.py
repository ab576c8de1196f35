"""Tables of what chat models took."""

from __future__ import annotations

import sqlalchemy as sa

from kfbot.store.tables.columns import metadata

#: Tokens of prompts and completions together.
token_use = sa.Table(
    "token_use",
    metadata,
    #: UTC.
    sa.Column("day", sa.Date, primary_key=True),
    #: As the settings name it, also where they do no more; "": of none.
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("tokens", sa.BigInteger, nullable=False),
)
