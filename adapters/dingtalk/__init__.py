"""DingTalk (钉钉): a robot in stream mode, which needs no public address.

https://open.dingtalk.com/document/orgapp/robot-overview
"""

from adapters.dingtalk.adapter import DingTalkAdapter

__all__ = ["DingTalkAdapter"]

ADAPTER = DingTalkAdapter
