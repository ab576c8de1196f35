"""What customers of service accounts call themselves."""

from __future__ import annotations

import logging
from collections import OrderedDict

from adapters.requests import whole
from adapters.wecom.api import WeComApi
from kfbot.errors import ChannelError, ChannelUnavailable

logger = logging.getLogger(__name__)

_REMEMBERED = 10_000
_NAME_LENGTH = 60


class People:
    """Names, each asked for once."""

    def __init__(self, api: WeComApi) -> None:
        self._api = api
        self._names: OrderedDict[str, str] = OrderedDict()
        self._refused = False

    def known(self, customer: str) -> str:
        """A name, or where there is none the id."""
        return self._names.get(customer) or customer

    async def name(self, customer: str) -> str:
        """A name; "" where WeCom does not tell it, on which nothing depends."""
        if customer in self._names or self._refused:
            return self._names.get(customer, "")
        try:
            answer = await self._api.call(
                "/cgi-bin/kf/customer/batchget", {"external_userid_list": [customer]}
            )
        except ChannelError as error:
            self._refused = not isinstance(error, ChannelUnavailable)
            logger.warning("no names: %s", error, extra={"event": "wecom_names_unknown"})
            return ""
        found = next(iter(answer.get("customer_list") or ()), None)
        nickname = found.get("nickname") if isinstance(found, dict) else None
        shown = " ".join(str(whole(nickname or "")).split())[:_NAME_LENGTH]
        self._names[customer] = shown
        while len(self._names) > _REMEMBERED:
            self._names.popitem(last=False)
        return shown
