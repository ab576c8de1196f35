"""`/desk/api`: proposals, entries, what was asked in vain, and what is exported of it all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, cast, get_args

from aiohttp import web
from pydantic import Field

from kfbot.agents import Agent, may_see, may_teach
from kfbot.application import Application
from kfbot.errors import EntryRejected
from kfbot.knowledge_base import Entry
from kfbot.learning.lessons import LONGEST_ANSWER, LONGEST_QUESTION, Group, Unanswered, one_line
from kfbot.learning.training_data import FORMATS
from kfbot.store.events import storable
from kfbot.store.proposals import Draft, Proposal, ProposalState
from kfbot.web.access import Refused
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

_PAGE = 50
#: A proposal has so many other ways to ask at most.
MOST_VARIANTS = 50
LONGEST_DAYS = 366
#: Of a group so many questions, conversations and answers are shown.
_SHOWN = 20


class ProposalBody(StrictBody):
    """Body of a proposal's approval."""

    question: Words = Field(max_length=LONGEST_QUESTION)
    answer: Words = Field(max_length=LONGEST_ANSWER)
    knowledge_base: Words = Field(max_length=200)
    variants: list[Annotated[Text, Field(max_length=LONGEST_QUESTION)]] = Field(
        default=[], max_length=MOST_VARIANTS
    )

    def draft(self) -> Draft:
        """The entry that it describes."""
        question = one_line(self.question)
        variants = dict.fromkeys(one_line(variant) for variant in self.variants)
        return Draft(
            question=question,
            answer=self.answer.strip(),
            knowledge_base=self.knowledge_base,
            variants=tuple(variant for variant in variants if variant not in ("", question)),
        )


class NewProposalBody(ProposalBody):
    """Body of a proposal that is written at the desk."""

    #: The turn whose answer it corrects.
    turn_id: int | None = Field(default=None, ge=1, lt=2**62)


class LearningApi:
    """The handlers."""

    def __init__(self, application: Application, sessions: Sessions) -> None:
        self._teaching = application.teaching
        self._audit = application.desk.audit
        self._sessions = sessions
        self._names = tuple(application.settings.knowledge)

    def routes(self) -> list[web.RouteDef]:
        """Proposals, entries, unanswered questions, exports."""
        one = "/desk/api/proposals/{id}"
        return [
            web.get("/desk/api/proposals", self.proposals),
            web.post("/desk/api/proposals", self.add),
            web.get("/desk/api/proposals/count", self.count),
            web.post(f"{one}/approve", self.approve),
            web.post(f"{one}/decline", self.decline),
            web.get("/desk/api/entries", self.entries),
            web.delete("/desk/api/entries/{knowledge_base}/{id:.+}", self.take_back),
            web.get("/desk/api/unanswered", self.unanswered),
            web.get("/desk/api/learned.jsonl", self.export),
        ]

    async def proposals(self, request: web.Request) -> web.Response:
        """Those of one state, the newest first, and how many are open."""
        agent, query = await self._sessions.agent_of(request), request.query
        state = query.get("state", "open")
        if state not in get_args(ProposalState):
            raise BadRequest(f"state: one of {', '.join(get_args(ProposalState))}")
        before = number(query["before"]) if "before" in query else None
        if "before" in query and before is None:
            raise BadRequest("before: the id of a proposal is needed")
        store = self._teaching.proposals
        found = await store.page(
            agent,
            cast("ProposalState", state),
            knowledge_base=query.get("knowledge_base"),
            before=before,
            limit=_PAGE,
        )
        return success(
            {
                "proposals": [_proposal_data(one) for one in found],
                "next": found[-1].id if len(found) == _PAGE else None,
                "open": await store.count_open(agent),
                "knowledge_bases": self._taught_by(agent),
            }
        )

    async def count(self, request: web.Request) -> web.Response:
        """How many proposals are open, up to 1,000."""
        agent = await self._sessions.agent_of(request)
        return success({"open": await self._teaching.proposals.count_open(agent)})

    async def add(self, request: web.Request) -> web.Response:
        """Keep a proposal that an agent wrote."""
        agent = await self._sessions.change_of(request)
        body = await read_body(request, NewProposalBody)
        draft, channel = self._checked(agent, body), ""
        if body.turn_id is not None:
            channel = await self._channel_of(agent, body.turn_id)
        store = self._teaching.proposals
        made = await store.add(agent, draft, channel=channel, turn_id=body.turn_id)
        return success(await self._shown(agent, made), status=201)

    async def approve(self, request: web.Request) -> web.Response:
        """Answer customers with a proposal, as edited, from now on."""
        agent = await self._sessions.change_of(request)
        body = await read_body(request, ProposalBody)
        proposal = await self._named(agent, request)
        draft = self._checked(agent, body)
        try:
            await self._teaching.approve(agent, proposal, draft)
        except EntryRejected as error:
            raise BadRequest(str(error)) from None
        return success(await self._shown(agent, proposal.id))

    async def decline(self, request: web.Request) -> web.Response:
        """Keep a proposal from becoming an entry."""
        agent = await self._sessions.change_of(request)
        await read_body(request, Nothing)
        proposal = await self._named(agent, request)
        await self._teaching.decline(agent, proposal)
        return success(await self._shown(agent, proposal.id))

    async def entries(self, request: web.Request) -> web.Response:
        """What was added by approval and in chats, to one knowledge base or to all."""
        agent = await self._sessions.agent_of(request)
        names = self._taught_by(agent)
        if "knowledge_base" in request.query:
            names = [self._known(request.query["knowledge_base"], names)]
        found = [
            _entry_data(name, entry)
            for name in names
            for entry in reversed(await self._teaching.entries(name))
        ]
        return success({"entries": found, "knowledge_bases": self._taught_by(agent)})

    async def take_back(self, request: web.Request) -> web.Response:
        """Forget an entry that was added."""
        agent = await self._sessions.change_of(request)
        name = self._known(request.match_info["knowledge_base"], self._taught_by(agent))
        entry_id = storable(request.match_info["id"])
        if not await self._teaching.take_back(agent, name, entry_id):
            raise NotFound(f"no entry {entry_id[:40]!r} was added to {name}")
        return success({"knowledge_base": name, "id": entry_id})

    async def unanswered(self, request: web.Request) -> web.Response:
        """What was asked in vain, by meaning."""
        agent = await self._sessions.agent_of(request)
        days = _days(request, default=7)
        found = await self._teaching.groups(agent, days, request.query.get("channel"))
        return success(
            {
                "groups": [_group_data(group) for group in found.groups],
                "left_out": found.left_out,
                "knowledge_bases": self._taught_by(agent),
            }
        )

    async def export(self, request: web.Request) -> web.StreamResponse:
        """A file of JSON lines."""
        agent = await self._sessions.admin_of(request)
        form = request.query.get("format", "questions")
        days = _days(request, default=LONGEST_DAYS)
        if form == "entries":
            parts = self._teaching.export_entries()
        elif form in FORMATS:
            parts = self._teaching.export(agent, form, days)
        else:
            raise BadRequest(f"format: one of entries, {', '.join(FORMATS)}")
        # The first part is made before the answer begins: what fails can still be told.
        first = await anext(parts, b"")
        await self._audit.add(agent.name, "learned_exported", form, days=days)
        response = web.StreamResponse(
            headers={
                "Content-Type": "application/jsonl; charset=utf-8",
                "Content-Disposition": f'attachment; filename="kfbot-{form}.jsonl"',
                "Cache-Control": "no-store",
            }
        )
        await response.prepare(request)
        await response.write(first)
        async for part in parts:
            await response.write(part)
        return response

    def _taught_by(self, agent: Agent) -> list[str]:
        """The knowledge bases whose entries are this agent's to write."""
        return [name for name in self._names if may_teach(agent, name)]

    def _known(self, name: str, names: Sequence[str]) -> str:
        if name not in names:
            raise NotFound(f"there is no knowledge base {name[:40]!r}, only {', '.join(names)}")
        return name

    def _checked(self, agent: Agent, body: ProposalBody) -> Draft:
        """The draft of a body, for a knowledge base that there is."""
        names = self._taught_by(agent)
        if body.knowledge_base not in names:
            raise BadRequest(f"knowledge_base: one of {', '.join(names)}")
        return body.draft()

    async def _channel_of(self, agent: Agent, turn_id: int) -> str:
        place = await self._teaching.proposals.place_of_turn(turn_id)
        if place is None or not may_see(agent, *place):
            raise BadRequest("turn_id: there is no such turn")
        return place[0]

    async def _named(self, agent: Agent, request: web.Request) -> Proposal:
        """The proposal that the path names, if the agent may see it."""
        named = request.match_info["id"]
        proposal_id = number(named)
        store = self._teaching.proposals
        found = None if proposal_id is None else await store.find(agent, proposal_id)
        if found is None:
            raise NotFound(f"there is no proposal {named[:40]!r}")
        if found.draft.knowledge_base and not may_teach(agent, found.draft.knowledge_base):
            raise Refused(403, "this proposal belongs to another team's knowledge base")
        return found

    async def _shown(self, agent: Agent, proposal_id: int) -> dict[str, Any] | None:
        found = await self._teaching.proposals.find(agent, proposal_id)
        return None if found is None else _proposal_data(found)


def _days(request: web.Request, *, default: int) -> int:
    days = number(request.query.get("days", str(default)))
    if days is None or not 1 <= days <= LONGEST_DAYS:
        raise BadRequest(f"days: a number from 1 to {LONGEST_DAYS}")
    return days


def _proposal_data(proposal: Proposal) -> dict[str, Any]:
    return {
        "id": proposal.id,
        "case_id": proposal.case_id,
        "conversation_id": proposal.conversation_id,
        "channel": proposal.channel,
        "knowledge_base": proposal.draft.knowledge_base,
        "question": proposal.draft.question,
        "answer": proposal.draft.answer,
        "variants": list(proposal.draft.variants),
        "bot_said": proposal.bot_said,
        "state": proposal.state,
        "created_at": proposal.created_at.isoformat(),
        "decided_by": proposal.decided_by,
        "decided_at": proposal.decided_at and proposal.decided_at.isoformat(),
        "entry_id": proposal.entry_id,
    }


def _entry_data(name: str, entry: Entry) -> dict[str, Any]:
    return {
        "knowledge_base": name,
        "id": entry.id,
        "question": entry.question,
        "answer": entry.answer,
        "variants": list(entry.variants),
    }


def _group_data(group: Group) -> dict[str, Any]:
    return {
        "question": group.questions[0],
        "count": len(group.asked),
        "people": group.people,
        "questions": list(group.questions[:_SHOWN]),
        "channels": sorted({one.channel for one in group.asked}),
        "knowledge_base": group.knowledge_base,
        "last_at": group.asked[0].at.isoformat(),
        "conversation_ids": list(dict.fromkeys(one.conversation_id for one in group.asked))[
            :_SHOWN
        ],
        "proposal_id": group.proposal_id,
        "answers": [_answer_data(one) for one in group.asked if one.answer][:_SHOWN],
    }


def _answer_data(one: Unanswered) -> dict[str, Any]:
    """An answer that did not help."""
    assert one.answer is not None
    return {
        "turn_id": one.answer.turn_id,
        "question": one.question,
        "text": one.answer.text,
        "entry_id": one.answer.document_id,
        "title": one.answer.title,
        "knowledge_base": one.knowledge_base,
        "conversation_id": one.conversation_id,
        "at": one.at.isoformat(),
    }
