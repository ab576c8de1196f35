"""Matrix: one account in direct rooms, groups and their threads, over any homeserver."""

from __future__ import annotations

from adapters.matrix.adapter import MatrixAdapter

ADAPTER = MatrixAdapter
