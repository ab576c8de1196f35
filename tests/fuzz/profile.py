"""How hard is looked: the same in every run of `make test`; longer and at random in `make fuzz`."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutation import Pick

IS_DEEP = os.environ.get("FUZZ") == "deep"
_HEALTH = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large)


def fuzz(examples: int, **strategies: st.SearchStrategy[Any]) -> Any:
    """`given`, for so many examples in `make test` and a hundred times as many in `make fuzz`.

    No deadlines: the machine may be busy, and work is counted where it matters.
    """

    def decorate(test: Any) -> Any:
        return settings(
            max_examples=examples * 100 if IS_DEEP else examples,
            derandomize=not IS_DEEP,
            deadline=None,
            database=None,
            suppress_health_check=_HEALTH,
        )(given(**strategies)(test))

    return decorate


#: Numbers below n, for what makes bad input of good.
@st.composite
def _picks(draw: st.DrawFn) -> Pick:
    return lambda below: draw(st.integers(0, below - 1))


PICKS = _picks()
