"""`/desk/api/conversations`: lists, transcripts, and what agents do with a conversation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, get_args

from aiohttp import web
from pydantic import Field, StringConstraints

from kfbot.agents import Agent, may_see
from kfbot.application import Application
from kfbot.conversation import Conversation, Language
from kfbot.errors import ConversationChanged
from kfbot.grounding.suggestions import Suggestion, open_question, suggested
from kfbot.grounding.summaries import needs_summary, questions_of
from kfbot.knowledge_base import NOTHING
from kfbot.store.events import storable
from kfbot.store.queue import Asked, Cursor, Listed, View
from kfbot.web.api import (
    BadRequest,
    NotFound,
    Nothing,
    StrictBody,
    Text,
    Words,
    number,
    read_body,
    success,
)
from kfbot.web.desk.sessions import Sessions
from kfbot.web.desk.shown import case_data, message_data, reply_key, suggestion_data, summary_data

_VIEWS: tuple[View, ...] = ("waiting", "mine", "all", "closed")
_LONGEST_PAGE = 100
_LONGEST_SEARCH = 200


class AssignBody(StrictBody):
    """Body of an assignment; null: back to the queue."""

    agent: Text | None = Field(max_length=100)


class ReplyBody(StrictBody):
    """Body of a reply, or of a note for other agents."""

    text: Words = Field(max_length=20_000)
    internal: bool = False
    #: Made by the page; the same for every try of one message.
    client_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~-]{1,64}$")]


class ConversationsApi:
    """The handlers; an agent who may not see a conversation is told that there is none."""

    def __init__(self, application: Application, sessions: Sessions) -> None:
        self._application = application
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        """Everything under /desk/api/conversations."""
        one = "/desk/api/conversations/{id}"
        return [
            web.get("/desk/api/conversations", self.list),
            web.get(one, self.show),
            web.get(f"{one}/earlier", self.earlier),
            web.post(f"{one}/claim", self.claim),
            web.post(f"{one}/handback", self.hand_back),
            web.post(f"{one}/resolve", self.resolve),
            web.post(f"{one}/assign", self.assign),
            web.post(f"{one}/reply", self.reply),
            web.post(f"{one}/suggest", self.suggest),
            web.post(f"{one}/typing", self.typing),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """One view, a page at a time, and how many each view has."""
        agent = await self._sessions.agent_of(request)
        asked = _asked(request)
        page, further = await self._application.desk.queue.list(agent, asked)
        return success(
            {
                "conversations": [summary_data(listed) for listed in page],
                "next": further and f"{further.at.isoformat()}~{further.id}",
                "counts": await self._application.desk.queue.counts(agent),
            }
        )

    async def show(self, request: web.Request) -> web.Response:
        """One conversation with a page of its transcript, internal notes included."""
        agent = await self._sessions.agent_of(request)
        listed = await self._named(request, agent)
        messages, has_older = await self._application.desk.transcripts.page(
            listed.id, after=_message_id(request, "after"), before=_message_id(request, "before")
        )
        return success(
            summary_data(listed)
            | {
                "case": listed.case and case_data(listed.case, whole=True),
                "transcript": [message_data(message) for message in messages],
                "has_older": has_older,
                "summary": await self._about(agent, listed, _language(request)),
                "may_write": agent.role != "viewer" and listed.agent in (None, agent.name),
            }
        )

    async def earlier(self, request: web.Request) -> web.Response:
        """The customer's closed cases, in this conversation and in others."""
        agent = await self._sessions.agent_of(request)
        listed = await self._named(request, agent)
        cases = await self._application.desk.queue.earlier(agent, listed.id)
        return success(
            {
                "cases": [
                    case_data(case) | {"conversation_id": case.conversation_id, "channel": channel}
                    for case, channel in cases
                ]
            }
        )

    async def claim(self, request: web.Request) -> web.Response:
        """Take the conversation."""
        agent, listed = await self._chosen(request)
        await self._application.handoff.claim(listed.id, agent.name)
        await self._record(agent, "case_claimed", listed)
        return await self._summary(agent, listed)

    async def hand_back(self, request: web.Request) -> web.Response:
        """Let the bot answer again."""
        hand_back = partial(self._application.handoff.hand_back, only_own=True)
        return await self._close(request, "case_handed_back", hand_back)

    async def resolve(self, request: web.Request) -> web.Response:
        """The matter is settled."""
        resolve = partial(self._application.handoff.resolve, only_own=True)
        return await self._close(request, "case_resolved", resolve)

    async def assign(self, request: web.Request) -> web.Response:
        """Give the case to a colleague, or back to the queue."""
        agent = await self._sessions.change_of(request)
        body = await read_body(request, AssignBody)
        listed = await self._named(request, agent)
        if body.agent is not None:
            await self._check_assignee(body.agent, listed)
        await self._application.desk.actions.assign(listed.id, body.agent, by=agent.name)
        return await self._summary(agent, listed)

    async def reply(self, request: web.Request) -> web.Response:
        """Write to the customer, or a note to other agents; the same client_id is stored once."""
        agent = await self._sessions.change_of(request)
        body = await read_body(request, ReplyBody)
        listed = await self._named(request, agent)
        message_id = await self._application.handoff.reply(
            listed.id,
            agent.name,
            body.text,
            internal=body.internal,
            shown_as=agent.display_name,
            key=reply_key(agent.name, body.client_id),
        )
        action = "note_written" if body.internal else "reply_written"
        await self._record(agent, action, listed, message=message_id)
        message = await self._application.desk.transcripts.message(listed.id, message_id)
        assert message is not None
        return success(message_data(message))

    async def suggest(self, request: web.Request) -> web.Response:
        """What the agent might reply; nothing is stored or sent."""
        agent, listed = await self._chosen(request)
        if listed.agent not in (None, agent.name):
            raise ConversationChanged(f"{listed.agent} has conversation {listed.id}")
        context = await self._application.transcripts.context(listed.id)
        question, before = open_question(
            context.history, listed.case.question if listed.case else ""
        )
        suggestion = Suggestion()
        if question:
            suggestion = await suggested(
                question,
                before,
                self._application.knowledge,
                scope=self._application.scopes.get(listed.channel, NOTHING),
                writer=self._application.answering.writer,
                channel=listed.channel,
            )
        return success(suggestion_data(suggestion))

    async def _about(
        self, agent: Agent, listed: Listed, language: Language | None
    ) -> dict[str, Any] | None:
        """What an open case is about, in the language of a page; the first look has it made."""
        if listed.case is None or listed.case.closed_at is not None or language is None:
            return None
        if text := listed.case.summary.get(language, ""):
            return {"by": "model", "text": text, "questions": []}
        if agent.role != "viewer" and language not in listed.case.summary:
            self._application.summarising.want(listed.case, language)
        said = (await self._application.transcripts.context(listed.id)).history
        if not needs_summary(said):
            return None
        return {"by": "customer", "text": "", "questions": list(questions_of(said))}

    async def typing(self, request: web.Request) -> web.Response:
        """Show on the customer's side that somebody writes, where that can be shown."""
        agent, listed = await self._chosen(request)
        if listed.agent == agent.name:
            conversation = await self._application.conversations.get(listed.id)
            self._application.typing.show(conversation.address)
            await self._application.desk.actions.tell_typing(listed.id)
        return success(None)

    async def _check_assignee(self, name: str, listed: Listed) -> None:
        """A case must not be given to somebody who cannot see it.

        Raises:
            BadRequest: There is no such colleague, or it is no case of their teams'.
        """
        member = await self._application.desk.agents.find(name)
        if member is None or not member.active or member.agent.role == "viewer":
            raise BadRequest(f"agent: there is no agent {name[:40]} who takes cases")
        if not may_see(member.agent, listed.channel, listed.knowledge_base):
            raise BadRequest(f"agent: this is no case of the teams of {name[:40]}")

    async def _chosen(self, request: web.Request) -> tuple[Agent, Listed]:
        """Who wants to do something that needs no words, and to which conversation."""
        agent = await self._sessions.change_of(request)
        await read_body(request, Nothing)
        return agent, await self._named(request, agent)

    async def _close(
        self,
        request: web.Request,
        action: str,
        change: Callable[[int, str], Awaitable[Conversation]],
    ) -> web.Response:
        """End an agent's part, which nobody does for another."""
        agent, listed = await self._chosen(request)
        await change(listed.id, agent.name)
        await self._record(agent, action, listed)
        return await self._summary(agent, listed)

    async def _summary(self, agent: Agent, listed: Listed) -> web.Response:
        now = await self._application.desk.queue.find(agent, listed.id)
        return success(summary_data(now or listed))

    async def _record(self, agent: Agent, action: str, listed: Listed, **details: Any) -> None:
        target = f"conversation {listed.id}"
        await self._application.desk.audit.add(agent.name, action, target, **details)

    async def _named(self, request: web.Request, agent: Agent) -> Listed:
        """The conversation that the path names, if the agent may see it."""
        named = request.match_info["id"]
        found = number(named)
        listed = None if found is None else await self._application.desk.queue.find(agent, found)
        if listed is None:
            raise NotFound(f"there is no conversation {named[:40]}")
        return listed


def _asked(request: web.Request) -> Asked:
    query = request.query
    view = next((view for view in _VIEWS if view == query.get("view", "waiting")), None)
    if view is None:
        raise BadRequest(f"view: one of {', '.join(_VIEWS)}")
    limit = number(query.get("limit", "50"))
    if not limit or limit > _LONGEST_PAGE:
        raise BadRequest(f"limit: 1 to {_LONGEST_PAGE}")
    words = storable(query.get("q", "")).strip()
    if len(words) > _LONGEST_SEARCH:
        raise BadRequest(f"q: at most {_LONGEST_SEARCH} characters")
    return Asked(
        view=view,
        words=words,
        channel=storable(query.get("channel", "")),
        after=_cursor(query.get("before")),
        limit=limit,
    )


def _language(request: web.Request) -> Language | None:
    """Of the page that asks."""
    return next((one for one in get_args(Language) if one == request.query.get("language")), None)


def _cursor(text: str | None) -> Cursor | None:
    if not text:
        return None
    at, _, found = text.partition("~")
    last = number(found)
    try:
        time = datetime.fromisoformat(at).astimezone(UTC)
    except (ValueError, OverflowError):
        last = None
    if last is None:
        raise BadRequest("before: what an answer gave as next is needed")
    return Cursor(time, last)


def _message_id(request: web.Request, name: str) -> int | None:
    if name not in request.query:
        return None
    found = number(request.query[name])
    if found is None:
        raise BadRequest(f"{name}: the id of a message is needed")
    return found
