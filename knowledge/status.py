"""The state of a knowledge base, as operators and metrics see it."""

from __future__ import annotations

from collections.abc import Mapping

from kfbot.knowledge_base import KnowledgeStatus
from kfbot.store.chunks import KnowledgeStore
from knowledge.by_hand import overridden_in, said_of
from knowledge.calibrated import Calibrations


async def status_of(
    name: str, store: KnowledgeStore, calibrations: Calibrations, faults: Mapping[str, str]
) -> KnowledgeStatus:
    """The state of one knowledge base.

    Args:
        faults: Why the last load of some failed.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    state = await store.state(name)
    overrides = await overridden_in(store, name) if state.added else {}
    return KnowledgeStatus(
        name=state.name,
        documents=state.documents,
        chunks=state.chunks,
        questions=state.questions,
        generation=state.generation,
        loaded_at=state.loaded_at,
        unreadable=state.unreadable,
        counts=state.counts,
        rolled_back=state.rolled_back,
        fault=faults.get(name, ""),
        added=state.added,
        overridden=said_of(overrides),
        calibration=calibrations.stored(state.name),
        calibration_is_stale=calibrations.is_stale(state.name),
    )
