"""Every error that kfbot raises on purpose. A class says what the catcher does.

KfbotError
├── SettingsError                  a person must correct the settings; the start is refused
├── StoreError                     the database cannot be used
│   ├── StoreUnavailable           locked, full or gone: nothing was stored, try later
│   ├── RowUnreadable              a newer version wrote it, or it is damaged; the rest goes on
│   ├── BackupFailed               there is no backup; the database is as it was
│   ├── RestoreFailed              the backup is not put back; the database is as it was
│   └── Conflict                   what was asked for clashes with what is stored
├── ChannelError                   (carries the channel)
│   ├── ChannelUnavailable         try later (retry_after_seconds)
│   ├── ChannelUnauthorized        stop the channel, tell a person
│   ├── MessageRejected            the platform will never take this message
│   └── WebhookRejected            the request is refused with its status; nothing is stored
├── KnowledgeBaseError
│   ├── KnowledgeBaseUnavailable   cannot be asked or loaded now
│   ├── EntryRejected              this entry cannot be stored as it is
│   └── DocumentUnreadable         this document is left out; the rest is loaded
├── ChatModelError
│   ├── ChatModelUnavailable       try later (retry_after_seconds)
│   └── CompletionInvalid          the model's text cannot be used
│       └── CompletionUnsupported  its passages do not say it (carries what they lack)
├── ConversationChanged            somebody else moved the conversation on; read it again
├── Overloaded                     more is asked than can be answered (retry_after_seconds)
├── ServerRefused                  the running server said no to a command
└── AlreadyRunning                 another process owns the data folder
"""

from __future__ import annotations


class KfbotError(Exception):
    """Root of all errors that kfbot raises on purpose; its text is one line for a person."""


class SettingsError(KfbotError):
    """A setting is missing, unknown or wrong."""


class StoreError(KfbotError):
    """The database cannot be used."""


class StoreUnavailable(StoreError):
    """The database is locked, full or gone; nothing was stored."""


class RowUnreadable(StoreError):
    """A row of inbox or outbox (`kind`) is not what this version can read."""

    def __init__(self, kind: str, row_id: int, reason: str) -> None:
        super().__init__(f"{kind} row {row_id} cannot be read: {reason}")
        self.kind = kind
        self.row_id = row_id


class BackupFailed(StoreError):
    """A backup could not be made, or cannot be trusted; nothing is left of it."""


class RestoreFailed(StoreError):
    """A backup was not restored; the database is as it was."""


class Conflict(StoreError):
    """What was asked for clashes with what is stored; nothing was changed."""


class ChannelError(KfbotError):
    """Something failed on one channel."""

    def __init__(self, channel: str, message: str) -> None:
        super().__init__(f"channel {channel}: {message}")
        self.channel = channel


class ChannelUnavailable(ChannelError):
    """The platform did not take it now; later it may."""

    def __init__(
        self, channel: str, message: str, *, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(channel, message)
        self.retry_after_seconds = retry_after_seconds


class ChannelUnauthorized(ChannelError):
    """The platform refuses our credentials."""


class MessageRejected(ChannelError):
    """The platform will never take this message."""


class WebhookRejected(ChannelError):
    """An inbound request is refused; `status` is the HTTP status to answer with (400 to 499)."""

    def __init__(self, channel: str, message: str, *, status: int) -> None:
        super().__init__(channel, message)
        self.status = status


class KnowledgeBaseError(KfbotError):
    """The knowledge base could not do what was asked."""


class KnowledgeBaseUnavailable(KnowledgeBaseError):
    """The knowledge base cannot be asked or loaded now."""


class EntryRejected(KnowledgeBaseError):
    """An entry cannot be stored as it is: its text says why, for whoever wrote it."""


class DocumentUnreadable(KnowledgeBaseError):
    """One document cannot be read; the others are not touched."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason


class ChatModelError(KfbotError):
    """The chat model could not do what was asked."""


class ChatModelUnavailable(ChatModelError):
    """The chat model did not answer; later it may."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class CompletionInvalid(ChatModelError):
    """The chat model answered something that cannot be used."""


class CompletionUnsupported(CompletionInvalid):
    """Too much of what the chat model wrote is not in its passages."""

    def __init__(self, message: str, *, dropped: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        #: By sentence, what its passage lacked.
        self.dropped = dropped


class ConversationChanged(KfbotError):
    """The conversation is no longer in the state that this step needs."""


class Overloaded(KfbotError):
    """More is asked than can be answered; nothing was stored, and later there is room again."""

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(f"{message}: try again in {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


class ServerRefused(KfbotError):
    """The running server did not do what a command asked of it."""


class AlreadyRunning(KfbotError):
    """Another process owns the data folder."""
