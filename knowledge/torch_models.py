"""torch and transformers, which are an extra."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from kfbot.errors import KnowledgeBaseUnavailable
from kfbot.extras import how_to_install


def torch_and_transformers(needed_by: str) -> tuple[Any, Any]:
    """The two modules.

    Args:
        needed_by: What cannot work without them, as in "The reranker x".

    Raises:
        KnowledgeBaseUnavailable: They are not installed.
    """
    try:
        return import_module("torch"), import_module("transformers")
    except ImportError as error:
        raise KnowledgeBaseUnavailable(
            f"{needed_by} needs torch: `{how_to_install('model')}`."
        ) from error
