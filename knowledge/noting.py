"""Notes how loads of knowledge bases end."""

from __future__ import annotations

import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

from kfbot.errors import KfbotError
from kfbot.observability import metrics


@contextmanager
def noted(name: str, faults: MutableMapping[str, str]) -> Iterator[None]:
    """Count the load inside; why it failed is in `faults` until one ends well.

    One that is broken off is neither.
    """
    began = time.monotonic()
    try:
        yield
    except Exception as error:
        is_ours = isinstance(error, KfbotError)
        faults[name] = str(error) if is_ours else f"{type(error).__name__}: the log says more"
        metrics.load_failed(name)
        raise
    faults.pop(name, None)
    metrics.loaded(name, time.monotonic() - began)
