"""Feishu and Lark, by events over HTTP: docs/feishu.md."""

from __future__ import annotations

from adapters.feishu.adapter import FeishuAdapter

ADAPTER = FeishuAdapter
