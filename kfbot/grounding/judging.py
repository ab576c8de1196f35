"""The chat model as judge: asked whether a sentence says what its passage says."""

from __future__ import annotations

import re
from typing import Literal

from kfbot.chat_model import ChatMessage, ChatModel, Usage
from kfbot.errors import ChatModelError
from kfbot.grounding.prompting import inert, template
from kfbot.grounding.support import Verdict
from kfbot.language import language_of

#: What the judge writes first where the passage says so; anything else is a no.
YES = "YES"
_TOKENS = 4
_SPACES = re.compile(r"\s+")


def is_for_the_judge(verdict: Verdict, judge: Literal["cross_language", "always", "never"]) -> bool:
    """Whether a sentence with this verdict is shown only if the judge says yes."""
    if verdict == "foreign":
        return judge != "never"
    return verdict == "supported" and judge == "always"


async def judged(
    sentence: str, passage: str, model: ChatModel, *, usage: Usage, channel: str = ""
) -> bool:
    """Ask whether a passage says all that a sentence says.

    Both are inert inside the prompt: they cannot end what they stand in. No is also what a model
    that fails, is too late or writes anything else has said; nothing is raised.
    """
    rules = template("judge", language_of(sentence)).substitute(yes=YES)
    asked = (
        f"<passage>\n{inert(passage)}\n</passage>\n\n<sentence>{_on_one_line(sentence)}</sentence>"
    )
    prompt = [ChatMessage("system", rules), ChatMessage("user", asked)]
    said = ""
    try:
        async for piece in model.complete(prompt, max_tokens=_TOKENS, usage=usage, channel=channel):
            said += piece
    except ChatModelError:
        return False
    return re.match(rf"\s*{YES}(?![A-Za-z])", said) is not None


def _on_one_line(sentence: str) -> str:
    return _SPACES.sub(" ", inert(sentence)).strip()
