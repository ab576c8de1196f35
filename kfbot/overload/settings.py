"""`[overload]`: what is done when more is asked than can be answered."""

from __future__ import annotations

from pydantic import Field

from kfbot.model_settings import Section


class OverloadSettings(Section):
    """`[overload]`."""

    #: While so many events wait to be worked on, platforms that call us are told to come again
    #: later with what customers write. What was taken before is answered, in its order.
    most_waiting: int = Field(default=10_000, ge=100, le=10_000_000)
