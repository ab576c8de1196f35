"""Requests of platforms with any fault in them: refused with a 4xx, or stored as they are."""

from __future__ import annotations

import pytest

from tests.fuzz.mutation import Pick
from tests.fuzz.profile import PICKS, fuzz
from tests.fuzz.requests import PLATFORMS, check_received, mutated_request


@pytest.mark.parametrize("platform", PLATFORMS)
@fuzz(60, pick=PICKS)
def test_a_request_with_faults_is_refused_or_means_events_that_can_be_stored(
    platform: str, pick: Pick
) -> None:
    check_received(platform, mutated_request(platform, pick))
