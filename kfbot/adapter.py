"""ChannelAdapter: the contract between the core and one account on one IM platform."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field

from kfbot.errors import MessageRejected, WebhookRejected
from kfbot.handoff.settings import HandoffSettings
from kfbot.messages import (
    Attachment,
    ConversationId,
    DeliveryReceipt,
    InboundEvent,
    OutboundMessage,
)

FilterText = Annotated[str, Field(min_length=1)]


class AdapterSettings(BaseModel):
    """What every `[channels.<name>]` section may hold; a platform adds its own fields."""

    # Errors must not show values: a section holds secrets.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    #: Name of the module in `adapters/`.
    platform: str
    #: Platform user ids, as strings, who may give admin commands.
    admins: tuple[str, ...] = ()
    #: Platform user ids, as strings, by role: who may be answered, in a private chat, from the
    #: knowledge bases that are for a role. `admins` have the role "admins".
    roles: dict[FilterText, tuple[str, ...]] = Field(default={})
    #: Knowledge bases that this channel may use; empty: all of them.
    knowledge: tuple[str, ...] = Field(default=())
    #: Of documents that have such a field only those with this value: {product = "kettle"}.
    filter: dict[FilterText, FilterText] = Field(default={})
    #: Questions that are put to nobody in particular are answered in groups, if the bot is very
    #: sure of the answer.
    overhear: bool = False
    #: Messages of one person in a group that are answered; a group as a whole, or a private
    #: chat, gets three times as many. 0: no limit.
    messages_per_minute: int = Field(default=20, ge=0, le=1000)
    #: Messages a second that go out over all replicas; None: as the platform has it.
    rate_per_second: float | None = Field(default=None, gt=0, le=1000)
    #: Tokens of the chat model a UTC day; when they are spent answers are quoted. 0: no limit
    #: but that of `[chat_model]`.
    tokens_per_day: int = Field(default=0, ge=0)
    #: Conversations are kept for so many days after the last word; 0: for ever; None: as
    #: `[privacy]` says.
    keep_conversations_days: int | None = Field(default=None, ge=0, le=36_500)
    #: How their data is used: every customer is told once, with the first answer, and once more
    #: when the text changes. Empty: nothing is told. With one of them alone it is for everybody.
    consent_en: str = Field(default="", max_length=1000)
    consent_zh: str = Field(default="", max_length=1000)
    #: What differs here from `[handoff]`.
    handoff: HandoffSettings = HandoffSettings()


class AgentsChatSettings(AdapterSettings):
    """Of a platform on which agents can work too: `open_thread` is implemented."""

    #: The platform's id of a chat of agents: every case has a thread in it. Whoever can write
    #: there is an agent. Empty: there is none.
    agents_chat: str = ""
    #: Channels whose cases are shown there; empty: all.
    agents_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What the platform can show; the core shapes its messages after it."""

    #: Longest text of one message, in characters; longer ones are split by the core.
    text_length: int = 4000
    buttons: bool = False
    edit: bool = False
    #: Shortest time between two edits of one message.
    edit_interval_seconds: float = 1.0
    #: Edits over the whole account in any minute; None: they count as messages do.
    edits_per_minute: int | None = None
    files: bool = False
    typing: bool = False
    threads: bool = False
    #: A message can be shown under the one that it answers.
    replies: bool = False
    #: The platform drops a message whose id it has seen.
    idempotency_key: bool = False
    #: Messages a second over the whole account; None: no limit known.
    rate_per_second: float | None = None
    #: How many may go at once after a pause; None: a second's worth.
    burst: int | None = None
    #: Shortest time between two messages in one chat, whatever their threads and members.
    seconds_per_chat: float = 0.0
    #: The other side gets a turn's messages in the response to its own request, or from the
    #: transcript; they are not pushed through `send`.
    pulls_replies: bool = False
    #: The other side reads the whole transcript: not even an agent's words are pushed.
    reads_transcript: bool = False
    #: It reads an answer, too, that is still being written.
    reads_drafts: bool = False
    #: Agents work on the platform itself: a person is got by a message with a `note`, `handback`
    #: and `resolved` are told to the platform too, and what comes in says who has the conversation
    #: (`MessageReceived.owner`).
    help_desk: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRequest:
    """An inbound HTTP request, free of any web framework."""

    method: str
    query: Mapping[str, str]
    #: Names in lower case.
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    #: What follows `/webhooks/<channel>/`; it may hold a secret. "" but for adapters with
    #: `webhook_paths`.
    path: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookReply:
    """What to store and, once it is stored, what to answer."""

    events: tuple[InboundEvent, ...] = ()
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Set where the platform wants the bot's messages in the response: called with the
    #: messages that the events led to, also when the request is a repeat.
    respond: Callable[[Sequence[OutboundMessage]], WebhookReply] | None = None


class PlatformSocket(Protocol):
    """A WebSocket that a platform has opened to us, free of any web framework."""

    async def receive(self) -> str | None:
        """The next text; None: it is closed, or speaks something else."""

    async def send(self, text: str) -> None:
        """Pass on a text.

        Raises:
            ConnectionError: It is closed.
        """


#: Reads a WebSocket until it closes. What comes through it is told by `listen`, so that who reads
#: need not wait for the store.
SocketReader = Callable[[PlatformSocket], Awaitable[None]]


#: Asks the core for a channel's conversations, those with the latest news first, 1000 at most.
KnownConversations = Callable[[], Awaitable[Sequence[ConversationId]]]


class ChannelAdapter(ABC):
    """Connects one account on one IM platform. Translates; never decides, stores or retries.

    An adapter implements `send` and one of `listen` and `receive_webhook`; the rest has
    defaults that follow `capabilities`. `send` and `edit` raise only ChannelUnavailable,
    ChannelUnauthorized or MessageRejected.
    """

    settings_type: ClassVar[type[AdapterSettings]] = AdapterSettings
    capabilities: Capabilities = Capabilities()
    #: True: only our own server calls `receive_webhook`, having checked who asks;
    #: /webhooks/<channel> does not exist.
    internal: ClassVar[bool] = False
    #: True: requests below /webhooks/<channel>/ are for it too; for others there is nothing.
    webhook_paths: ClassVar[bool] = False
    #: True: another process serves it; its conversations are left to that.
    parked: ClassVar[bool] = False
    #: So many `listen` are followed side by side, where storing one event after the other would
    #: make a busy platform wait. Each is asked for its next event once its last one is stored.
    streams: ClassVar[int] = 1

    def __init__(self, channel: str, settings: AdapterSettings) -> None:
        self.channel = channel
        self.settings = settings

    async def open(self) -> None:  # noqa: B027
        """Get ready, as by logging in; by default there is nothing to do.

        Raises:
            ChannelError: It is not ready; the core tries again, or tells a person.
        """

    async def close(self) -> None:  # noqa: B027
        """Let go of what `open` took; it may be opened again."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.close()

    async def check(self) -> str:
        """Who the platform takes us for, in a few words; empty: there is nothing to ask.

        Asked by `kfbot check`, inside of `async with`.

        Raises:
            ChannelUnavailable: It did not answer.
            ChannelUnauthorized: The credentials are refused; its text says what to do.
        """
        return ""

    def seconds_between(self, conversation: ConversationId) -> float:
        """Shortest time between two messages in the chat of a conversation."""
        return self.capabilities.seconds_per_chat

    @abstractmethod
    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        """Deliver one message, once.

        Raises:
            ChannelUnavailable: Not now; the core tries again.
            ChannelUnauthorized: The credentials are refused.
            MessageRejected: The platform will never take it.
        """

    async def edit(self, receipt: DeliveryReceipt, message: OutboundMessage) -> None:
        """Replace a delivered message; by default a new one is sent."""
        await self.send(message)

    async def fetch(self, attachment: Attachment) -> bytes:
        """Get the bytes of an attachment.

        Raises:
            ChannelUnavailable: Not now.
            MessageRejected: This platform carries no files.
        """
        raise MessageRejected(self.channel, "this platform carries no files")

    async def show_typing(self, conversation: ConversationId) -> None:  # noqa: B027
        """Show that an answer is on its way, where the platform can; by default nothing."""

    async def open_thread(self, chat: str, title: str) -> str:
        """Begin a thread in a chat; returns the id for `ConversationId.thread`.

        Raises:
            ChannelUnavailable: Not now; the core tries again.
            ChannelUnauthorized: The credentials are refused.
            MessageRejected: This platform, or this chat, has no threads.
        """
        raise MessageRejected(self.channel, "this platform has no threads")

    async def rename_thread(self, conversation: ConversationId, title: str) -> None:  # noqa: B027
        """Give a thread that `open_thread` began another title; by default nothing is shown of it.

        Raises:
            ChannelError: It could not be done; nothing depends on it.
        """

    async def close_thread(self, conversation: ConversationId) -> None:  # noqa: B027
        """Nobody is expected to write in a thread any more; by default nothing is shown of it.

        Raises:
            ChannelError: It could not be done; nothing depends on it.
        """

    def listen(self) -> AsyncIterator[InboundEvent]:
        """Events of a platform that we call; a `yield` returns once the core has stored it."""
        return _nothing()

    def catch_up(self, conversations: KnownConversations) -> AsyncIterator[InboundEvent]:
        """What was said while nobody listened, of a platform that tells it only if it is asked.

        Followed beside `listen`; an event that was stored before is dropped, so what is in doubt
        may come again. By default there is nothing.

        Args:
            conversations: The channel's; a platform may only be asked about a chat that we know.
        """
        return _nothing()

    async def receive_webhook(self, request: WebhookRequest) -> WebhookReply:
        """Read a request of a platform that calls us; it is answered after storing.

        Raises:
            WebhookRejected: Bad signature, too old, malformed; nothing is stored.
        """
        raise WebhookRejected(self.channel, "this platform sends no webhooks", status=404)

    def follow_socket(self, request: WebhookRequest) -> SocketReader:
        """Check who wants to open a WebSocket at our address; what is returned reads it then.

        Raises:
            WebhookRejected: Not to be let in; no socket is opened.
        """
        raise WebhookRejected(self.channel, "this platform opens no WebSockets", status=404)


async def _nothing() -> AsyncIterator[InboundEvent]:
    return
    yield
