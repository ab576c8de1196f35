"""Cleaning: what is done to a text between its file and its chunks, each step counted."""

from __future__ import annotations

from knowledge.cleaning.encoding import Encoding, clean, find_encoding
from knowledge.cleaning.steps import CleaningPolicy, clean_document

__all__ = ["CleaningPolicy", "Encoding", "clean", "clean_document", "find_encoding"]
