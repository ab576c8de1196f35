"""`kfbot model check`: what a chat model can do, and whether it is fit to answer customers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from kfbot.cli.output import progress_bar, say, say_json, say_table
from kfbot.errors import SettingsError
from kfbot.model.checking import STEPS, Measured, measure
from kfbot.settings import Settings


async def check(settings: Settings, parallel: Sequence[int], *, as_json: bool) -> bool:
    """Measure and print; True if every endpoint is fit to answer customers.

    Raises:
        SettingsError: There is no chat model, or it cannot be used like this.
    """
    section = settings.chat_model
    if not (section.base_url or section.model):
        raise SettingsError("there is no chat model: set [chat_model] base_url, or model")
    whole, done = (STEPS + len(parallel)) * (1 + len(section.fallbacks)), 0
    with progress_bar() as progress:

        def step() -> None:
            nonlocal done
            done += 1
            progress("measuring", done, whole)

        progress("measuring", 0, whole)
        found = await measure(section, parallel, step)
    if as_json:
        say_json([{**asdict(one), "verdict": one.verdict or "fit"} for one in found])
    else:
        for one in found:
            _say_measured(one)
    return not any(one.verdict for one in found)


def _say_measured(one: Measured) -> None:
    rows = [("reachable", "no" if one.fault else "yes")]
    if not one.fault:
        rows += [
            ("model", one.model),
            ("first token", f"{one.first_token_ms:.0f} ms"),
            ("alone", f"{one.tokens_per_second:.1f} tokens/s"),
            *(
                (f"{count} at once", f"{speed:.1f} tokens/s together" if speed else "failed")
                for count, speed in one.parallel.items()
            ),
            ("prompt taken", f"{one.context_tokens} tokens" if one.context_tokens else "failed"),
            ("streams", _yes(one.streams)),
            ("stops at max_tokens", _yes(one.stops_at_max_tokens)),
            ("heeds the system role", _yes(one.heeds_system)),
            ("answers and refusals", f"{one.right} of {one.right + len(one.wrong)} right"),
        ]
    say_table(("what", "found"), rows, title=one.address)
    for line in one.wrong:
        say(f"  ✗ {line}", style="red")
    if one.verdict:
        say(f"Not fit to answer customers: {one.verdict}.", style="red")
    else:
        say("Fit to answer customers.", style="green")


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"
