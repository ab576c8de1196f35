"""OpenIM, the platform of OpenKF: docs/openim.md."""

from __future__ import annotations

from adapters.openim.adapter import OpenImAdapter

ADAPTER = OpenImAdapter
