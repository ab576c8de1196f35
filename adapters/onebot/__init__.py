"""QQ, and whatever else speaks OneBot v11: NapCat, Lagrange, go-cqhttp, LLOneBot, …

https://github.com/botuniverse/onebot-11
"""

from adapters.onebot.adapter import OneBotAdapter

__all__ = ["OneBotAdapter"]

ADAPTER = OneBotAdapter
