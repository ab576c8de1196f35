"""WeCom (企业微信): a self-built app, or customer-service accounts (微信客服): docs/wecom.md."""

from __future__ import annotations

from adapters.wecom.adapter import WeComAdapter
from adapters.wecom.settings import WeComSettings

__all__ = ["ADAPTER", "WeComAdapter", "WeComSettings"]

ADAPTER = WeComAdapter
