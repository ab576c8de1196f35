"""Where tests keep the embedding model between runs."""

from __future__ import annotations

import os
from pathlib import Path

MODEL_CACHE = Path(
    os.environ.get("KFBOT_TEST_CACHE") or Path(__file__).resolve().parents[1] / ".test-cache"
)
