"""`[handoff]`, `[channels.<name>.handoff]`: when agents are there, and what is done meanwhile."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from kfbot.handoff.business_hours import DAYS, BusinessHours, Span, read_dates, read_days, read_span


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ValueError(f'"{name}": write a time zone as "Asia/Shanghai" or "UTC"') from None
    return name


def _spans(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        read_span(text)
    return texts


def _dates(text: str) -> str:
    read_dates(text)
    return text


def _keyword(word: str) -> str:
    if not any(character.isalnum() for character in word):
        raise ValueError(f'"{word}" holds neither letters nor digits')
    return word


#: A year in minutes.
_LONGEST = 60 * 24 * 366
_WHOLE_DAY: Span = (0, 24 * 60)
_Minutes = Annotated[float, Field(ge=0, le=_LONGEST)]
_Dates = Annotated[str, AfterValidator(_dates)]


class HandoffSettings(BaseModel):
    """When a person is got, who, and what becomes of those who wait.

    In a channel's section what is not set is as in `[handoff]`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    #: Customers who write one of these words get a person.
    keywords: tuple[Annotated[str, Field(max_length=100), AfterValidator(_keyword)], ...] = Field(
        default=(), max_length=500
    )
    #: Who asks the same so often again, though it was answered, gets a person; 0: never.
    repetitions: int = Field(default=2, ge=0, le=10)
    #: Customers who swear or shout get a person.
    angry: bool = True
    #: Whose case it is. "queue": anybody's who claims it; "automatic": it is given to the agent
    #: at the desk who has waited longest for one.
    assign: Literal["queue", "automatic"] = "queue"
    #: Who was given a case and does not claim it for so long loses it again.
    claim_within_seconds: float = Field(default=60, ge=5, le=86_400)
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    #: {mon-fri = ["09:00-12:00", "13:00-18:00"], sat = ["10:00-14:00"]}; empty: always open.
    hours: dict[str, Annotated[tuple[str, ...], AfterValidator(_spans)]] = {}
    #: "2026-10-01" or "2026-10-01/2026-10-07".
    holidays: tuple[_Dates, ...] = ()
    #: Days that are worked on although they are weekend or holiday.
    workdays: tuple[_Dates, ...] = ()
    #: While nobody has claimed the case the customer is told after so long that it takes longer.
    notice_after_minutes: tuple[_Minutes, ...] = Field(default=(2,), max_length=20)
    #: After so long the customer is told that the message is kept and answered later, and the
    #: bot answers other questions meanwhile; 0: never.
    give_up_after_minutes: _Minutes = 15
    #: Where the customer has waited so long for the agent's answer, the case goes back to the
    #: queue; 0: never.
    agent_silent_minutes: _Minutes = 0
    #: The bot has the conversation back when nobody has written for so long; 0: never.
    hand_back_after_minutes: _Minutes = 0

    @model_validator(mode="after")
    def _have_days(self) -> Self:
        taken: set[int] = set()
        for names in self.hours:
            days = set(read_days(names))
            if twice := days & taken:
                raise ValueError(f"hours: {DAYS[min(twice)]} is set twice")
            taken |= days
        if self.hours and not any(self.hours.values()):
            raise ValueError("hours: no day has any, and without hours somebody is always there")
        return self

    @cached_property
    def business_hours(self) -> BusinessHours:
        """The hours, as they are reckoned with."""
        week: dict[int, tuple[Span, ...]] = {}
        for names, spans in self.hours.items():
            week |= dict.fromkeys(read_days(names), tuple(sorted(map(read_span, spans))))
        if not week and self.holidays:
            week = dict.fromkeys(range(7), (_WHOLE_DAY,))
        holidays, workdays = (
            tuple(map(read_dates, texts)) for texts in (self.holidays, self.workdays)
        )
        return BusinessHours(ZoneInfo(self.time_zone), week, holidays, workdays)

    def with_channel(self, own: HandoffSettings) -> HandoffSettings:
        """What holds for a channel that has settings of its own."""
        values: dict[str, Any] = {
            name: getattr(section, name)
            for section in (self, own)
            for name in section.model_fields_set
        }
        return HandoffSettings(**values)
