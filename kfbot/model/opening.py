"""The chat model of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from kfbot.chat_model import ChatModel
from kfbot.errors import ChatModelError
from kfbot.model_settings import ChatModelSettings
from kfbot.store.token_use import TokenUse


@dataclass(frozen=True, slots=True)
class EndpointState:
    """An endpoint that was asked for a token."""

    address: str
    #: "": it could not be asked.
    model: str = ""
    #: "": it answers.
    fault: str = ""


def open_chat_model(
    settings: ChatModelSettings,
    *,
    use: TokenUse | None = None,
    by_channel: Mapping[str, int] | None = None,
) -> ChatModel | None:
    """The chat model of the settings, asked for nothing yet; None: there is none.

    Args:
        use: Where tokens are counted and budgets kept; None: nowhere.
        by_channel: Tokens a UTC day of single channels; 0 or absent: no limit.

    Raises:
        SettingsError: The model of this process does not exist, or cannot be used.
    """
    if not (settings.base_url or settings.model):
        return None
    # The SDK takes seconds to import.
    from kfbot.model.budget import Budgeted

    model = _endpoints(settings) if settings.base_url else _in_process(settings)
    if use is None:
        return model
    return Budgeted(
        model,
        use,
        lambda: datetime.now(UTC),
        tokens_per_day=settings.tokens_per_day,
        by_channel=by_channel,
    )


def _endpoints(settings: ChatModelSettings) -> ChatModel:
    from kfbot.model.endpoint import Endpoint
    from kfbot.model.failover import Failover

    endpoints = [Endpoint(one, settings) for one in (settings, *settings.fallbacks)]
    return Failover(endpoints, settings)


def _in_process(settings: ChatModelSettings) -> ChatModel:
    from kfbot.model.in_process import InProcess

    return InProcess(settings)


async def check_endpoints(settings: ChatModelSettings) -> list[EndpointState]:
    """Ask every endpoint of the settings for a token."""
    from kfbot.model.endpoint import Endpoint

    found = []
    for section in (settings, *settings.fallbacks):
        endpoint = Endpoint(section, settings)
        try:
            state = EndpointState(section.base_url, model=await endpoint.check())
        except ChatModelError as error:
            state = EndpointState(section.base_url, fault=str(error))
        finally:
            await endpoint.aclose()
        found.append(state)
    return found
