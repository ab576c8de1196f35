"""`/api/v1`: questions and conversations. Answers are {"code", "msg", "data"}."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, TypeVar

from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from kfbot.application import API_CHANNEL, Application
from kfbot.conversation import Case, Conversation, State
from kfbot.errors import ConversationChanged
from kfbot.store.conversations import ConversationSummary
from kfbot.store.transcripts import TranscriptMessage

#: A question may be so long, in characters.
LONGEST_QUERY = 200_000
Body = TypeVar("Body", bound=BaseModel)


class BadRequest(Exception):
    """The request's body or query is wrong; the text says how."""


class NotFound(Exception):
    """There is no such thing; the text names it."""


def _storable(text: str) -> str:
    # PostgreSQL keeps no NUL in a text.
    return text.replace("\0", "\ufffd")


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "Must not be blank")
    return text


#: A text that every database takes.
Text = Annotated[str, AfterValidator(_storable)]
#: One that says something.
Words = Annotated[Text, AfterValidator(_not_blank)]


class StrictBody(BaseModel):
    """A body that holds what is known, of the right types, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Nothing(StrictBody):
    """Body of what needs no words."""


class AskBody(StrictBody):
    """Body of `POST /api/v1/ask`."""

    query: Text = Field(max_length=LONGEST_QUERY)
    conversation: Text | None = Field(default=None, min_length=1, max_length=200)


class AgentBody(StrictBody):
    """Body of claim, handback and resolve."""

    agent: Words = Field(default="agent", max_length=100)


class ReplyBody(AgentBody):
    """Body of a reply or an internal note."""

    text: Words = Field(max_length=20_000)
    internal: bool = False


def success(data: Any, *, status: int = 200, message: str = "success") -> web.Response:
    """A successful answer."""
    body = {"code": status, "msg": message, "data": data}
    return web.json_response(body, status=status, dumps=_readable)


def failure(status: int, message: str) -> web.Response:
    """A failed answer; the HTTP status equals the code."""
    body = {"code": status, "msg": message, "data": None}
    return web.json_response(body, status=status, dumps=_readable)


#: Chinese as it is, not as escapes.
_readable = partial(json.dumps, ensure_ascii=False)


class Api:
    """The handlers; each is a few lines over the application."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def routes(self) -> list[web.RouteDef]:
        """Everything under /api/v1."""
        one = "/api/v1/conversations/{id}"
        return [
            web.post("/api/v1/ask", self.ask),
            web.get("/api/v1/conversations", self.conversations),
            web.get(one, self.conversation),
            web.post(f"{one}/claim", self.claim),
            web.post(f"{one}/reply", self.reply),
            web.post(f"{one}/handback", self.hand_back),
            web.post(f"{one}/resolve", self.resolve),
        ]

    async def ask(self, request: web.Request) -> web.Response:
        """Answer; without a conversation nothing is stored."""
        body = await read_body(request, AskBody)
        if body.conversation is None:
            return success((await self._application.ask(body.query)).as_data())
        data = await self._application.ask_in(body.conversation, body.query)
        if data is None:
            return failure(504, "the turn takes long; its answer will be in the transcript")
        return success(data)

    async def conversations(self, request: web.Request) -> web.Response:
        """List conversations by state, the longest waiting first; or all those of a chat."""
        named = request.query.get("state", "waiting,agent").split(",")
        try:
            states = [State(name) for name in named]
        except ValueError:
            raise BadRequest(f"state: one of {', '.join(State)}") from None
        if (chat := request.query.get("chat")) is not None:
            channel = request.query.get("channel", API_CHANNEL)
            listed = await self._application.conversations.in_chat(channel, chat)
        else:
            listed = await self._application.conversations.list(states)
        return success([_summary_data(summary) for summary in listed])

    async def conversation(self, request: web.Request) -> web.Response:
        """One conversation with its transcript, internal notes included."""
        if (after := number(request.query.get("after", "0"))) is None:
            raise BadRequest("after: the id of a message is needed")
        conversation = await self._named(request)
        transcript = await self._application.transcripts.transcript(
            conversation.id, after=after, internal=True
        )
        case = await self._application.conversations.open_case(conversation.id)
        return success(
            _state_data(conversation)
            | {
                "case": case and _case_data(case),
                "transcript": [message_data(message) for message in transcript],
            }
        )

    async def claim(self, request: web.Request) -> web.Response:
        """An agent takes the conversation."""
        return await self._change(request, "case_claimed", self._application.handoff.claim)

    async def hand_back(self, request: web.Request) -> web.Response:
        """The bot answers again."""
        return await self._change(request, "case_handed_back", self._application.handoff.hand_back)

    async def resolve(self, request: web.Request) -> web.Response:
        """The matter is settled."""
        return await self._change(request, "case_resolved", self._application.handoff.resolve)

    async def reply(self, request: web.Request) -> web.Response:
        """An agent writes to the customer, or a note to other agents."""
        body = await read_body(request, ReplyBody)
        conversation = await self._named(request)
        message_id = await self._application.handoff.reply(
            conversation.id, body.agent, body.text, internal=body.internal
        )
        action = "note_written" if body.internal else "reply_written"
        await self._record(action, conversation.id, body.agent, message=message_id)
        return success({"message_id": message_id})

    async def _change(
        self,
        request: web.Request,
        action: str,
        change: Callable[[int, str], Awaitable[Conversation]],
    ) -> web.Response:
        body = await read_body(request, AgentBody)
        conversation = await self._named(request)
        after = await change(conversation.id, body.agent)
        await self._record(action, conversation.id, body.agent)
        return success(_state_data(after))

    async def _record(self, action: str, number: int, agent: str, **details: Any) -> None:
        """Whoever has the token may write in any agent's name: both are written down."""
        target = f"conversation {number}"
        await self._application.desk.audit.add("token", action, target, agent=agent, **details)

    async def _named(self, request: web.Request) -> Conversation:
        """The conversation that the path names."""
        named = request.match_info["id"]
        if (conversation_id := number(named)) is None:
            raise NotFound(f"{named[:40]!r} is no id")
        try:
            return await self._application.conversations.get(conversation_id)
        except ConversationChanged as error:
            raise NotFound(str(error)) from None


def message_data(message: TranscriptMessage) -> dict[str, Any]:
    """A transcript message as JSON, without what only agents' pages need."""
    return {
        "id": message.id,
        "role": message.role,
        "name": message.sender_name,
        "kind": message.kind,
        "text": message.text,
        "internal": message.internal,
        "citations": message.extras.get("citations", []),
        "created_at": message.created_at.isoformat(),
    }


def _state_data(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "channel": conversation.address.channel,
        "state": str(conversation.state),
        "agent": conversation.agent,
    }


def _summary_data(summary: ConversationSummary) -> dict[str, Any]:
    conversation, case = summary.conversation, summary.case
    return {
        **_state_data(conversation),
        "customer": summary.customer_name,
        "last_text": summary.last_text,
        "updated_at": summary.updated_at.isoformat(),
        "case": case and _case_data(case),
    }


def _case_data(case: Case) -> dict[str, Any]:
    return {
        "id": case.id,
        "reason": case.reason,
        "question": case.question,
        "draft": case.draft,
        "opened_at": case.opened_at.isoformat(),
    }


async def read_body(request: web.Request, model: type[Body]) -> Body:
    """The body of a request.

    Raises:
        BadRequest: It is not of this form; says what is wrong first.
    """
    raw = await request.read()
    try:
        return model.model_validate_json(raw or b"{}")
    except ValidationError as error:
        raise BadRequest(_fault(error, model)) from None


def _fault(error: ValidationError, model: type[BaseModel]) -> str:
    """What is wrong first, without the value."""
    fault = error.errors(include_input=False, include_url=False)[0]
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"body: {name[:40]!r} is unknown, there are only {', '.join(model.model_fields)}"
    return f"{name or 'body'}: {fault['msg']}"


def number(text: str) -> int | None:
    """An id, if the text is one that a database can hold."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None
