"""Who owns a conversation: every step from every state, and what holds over any sequence."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfbot.conversation import (
    Conversation,
    State,
    Turn,
    bot_may_speak,
    claim,
    hand_back,
    hand_off,
    reopen,
    requeue,
    resolve,
)
from kfbot.errors import ConversationChanged
from kfbot.messages import ConversationId

Step = Callable[[Conversation], Conversation]
STEPS: dict[str, Step] = {
    "claim by ann": lambda conversation: claim(conversation, "ann"),
    "claim by bob": lambda conversation: claim(conversation, "bob"),
    "requeue": requeue,
    "hand_back": hand_back,
    "resolve": resolve,
    "hand_off": hand_off,
    "reopen": reopen,
}
#: All but threads of agents, whose state never changes.
CUSTOMERS = [state for state in State if state is not State.THREAD]
#: For each step, from which state (an agent's: ann's) to which; what is absent is refused.
ALLOWED: dict[str, dict[State, State]] = {
    "claim by ann": dict.fromkeys(CUSTOMERS, State.AGENT),
    "claim by bob": {state: State.AGENT for state in CUSTOMERS if state is not State.AGENT},
    "requeue": {State.AGENT: State.WAITING},
    "hand_back": {State.WAITING: State.BOT, State.AGENT: State.BOT},
    "resolve": {state: State.CLOSED for state in CUSTOMERS if state is not State.CLOSED},
    "hand_off": {State.BOT: State.WAITING, State.CLOSED: State.WAITING},
    "reopen": {State.CLOSED: State.BOT},
}


def conversation(state: State) -> Conversation:
    agent = "ann" if state is State.AGENT else None
    address = ConversationId("shop", "chat")
    return Conversation(id=1, address=address, state=state, ownership_epoch=7, agent=agent)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("step", STEPS)
def test_every_step_is_allowed_or_refused_as_the_table_says(step: str, state: State) -> None:
    before = conversation(state)
    if state not in ALLOWED[step]:
        with pytest.raises(ConversationChanged, match="conversation 1"):
            STEPS[step](before)
        return
    after = STEPS[step](before)
    assert after.state is ALLOWED[step][state]
    assert after.agent == (step.removeprefix("claim by ") if after.state is State.AGENT else None)
    assert (after.id, after.address) == (before.id, before.address)


def test_claiming_again_changes_nothing() -> None:
    mine = conversation(State.AGENT)
    assert claim(mine, "ann") is mine


@pytest.mark.parametrize("state", State)
def test_the_bot_may_speak_unless_a_person_is_in_charge_or_awaited(state: State) -> None:
    assert bot_may_speak(conversation(state)) is (state in (State.BOT, State.CLOSED))


@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=40))
def test_the_epoch_rises_with_every_change_of_owner_and_never_falls(steps: list[str]) -> None:
    current = conversation(State.BOT)
    for step in steps:
        try:
            after = STEPS[step](current)
        except ConversationChanged:
            continue
        moved = (after.state, after.agent) != (current.state, current.agent)
        assert after.ownership_epoch == current.ownership_epoch + moved
        assert (after.agent is not None) == (after.state is State.AGENT)
        current = after


def test_the_data_of_a_turn_has_every_field_that_the_api_promises() -> None:
    data = Turn(question="q", decision="silent", confidence=0.123456, text="").as_data()
    assert data == {
        "text": "",
        "context": "",
        "question": "q",
        "decision": "silent",
        "confidence": 0.1235,
        "choices": [],
        "citations": [],
    }
