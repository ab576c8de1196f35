"""What the Bot API knows of groups: whether they have topics, and what the bot may do in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.platforms.telegram_texts import Fault

NAME_LENGTH = 128
_BOT: dict[str, Any] = {"id": 4242, "is_bot": True, "first_name": "Shop"}
_RIGHTS = (
    "can_be_edited", "is_anonymous", "can_manage_chat", "can_delete_messages",
    "can_manage_video_chats", "can_restrict_members", "can_promote_members", "can_change_info",
    "can_invite_users", "can_post_stories", "can_edit_stories", "can_delete_stories",
    "can_send_welcome_messages",
)  # fmt: skip
_FULL_INFO = {
    "accent_color_id": 0,
    "max_reaction_count": 11,
    "accepted_gift_types": dict.fromkeys(
        ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription",
         "gifts_from_channels"), False,
    ),
}  # fmt: skip


class Groups:
    """The part of `BotApi` that has to do with groups and their topics."""

    def __init__(self) -> None:
        self._chats: dict[int, Mapping[str, Any]] = {}
        #: Groups in which the bot is an admin who may manage topics.
        self.manages: set[int] = set()
        #: Groups that became supergroups: old id → new id.
        self.moved: dict[int, int] = {}
        #: Topics that the bot began: name and whether it is open, by group and topic.
        self.topics: dict[tuple[int, int], tuple[str, bool]] = {}

    def joins(self, chat: Mapping[str, Any], *, manages_topics: bool = True) -> None:
        """The bot was added to a group."""
        # The first message is the note on it: 1 is the number of every forum's first topic.
        self._new_message(chat, _BOT, None)
        if manages_topics:
            self.manages.add(chat["id"])

    def _new_message(
        self, chat: Mapping[str, Any], sender: Mapping[str, Any], text: str | None, **fields: Any
    ) -> dict[str, Any]:
        raise NotImplementedError

    def _chat(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """A bot can write only where it was written to, or added."""
        number = int(given.get("chat_id") or 0)
        if number in self.moved:
            raise Fault(
                400, "Bad Request: group chat was upgraded to a supergroup chat",
                migrate_to_chat_id=self.moved[number],
            )  # fmt: skip
        if (chat := self._chats.get(number)) is None:
            raise Fault(400, "Bad Request: chat not found")
        return chat

    async def _on_getChat(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._chat(given), **_FULL_INFO}

    async def _on_getChatMember(self, given: Mapping[str, Any]) -> dict[str, Any]:
        number = self._chat(given)["id"]
        user = _BOT | {"id": int(given["user_id"])}
        if number not in self.manages:
            return {"status": "member", "user": user}
        rights = dict.fromkeys(_RIGHTS, False) | {"can_manage_topics": True}
        return {"status": "administrator", "user": user, **rights}

    async def _on_createForumTopic(self, given: Mapping[str, Any]) -> dict[str, Any]:
        chat, name = self._managed(given, "create"), str(given.get("name") or "").strip()
        if not name:
            raise Fault(400, "Bad Request: topic name must be non-empty")
        name = name[:NAME_LENGTH]
        note = self._new_message(chat, _BOT, None)
        topic = int(note["message_id"])
        self.topics[chat["id"], topic] = (name, True)
        return {"message_thread_id": topic, "name": name, "icon_color": 7322096}

    async def _on_editForumTopic(self, given: Mapping[str, Any]) -> bool:
        return self._changed(given, name=str(given["name"])[:NAME_LENGTH])

    async def _on_closeForumTopic(self, given: Mapping[str, Any]) -> bool:
        return self._changed(given, is_open=False)

    def _changed(
        self, given: Mapping[str, Any], *, name: str | None = None, is_open: bool = True
    ) -> bool:
        key = (self._managed(given, "edit")["id"], int(given["message_thread_id"]))
        if (before := self.topics.get(key)) is None:
            raise Fault(400, "Bad Request: TOPIC_ID_INVALID")
        after = (name or before[0], before[1] and is_open)
        if after == before:
            raise Fault(400, "Bad Request: TOPIC_NOT_MODIFIED")
        self.topics[key] = after
        return True

    def _managed(self, given: Mapping[str, Any], what: str) -> Mapping[str, Any]:
        chat = self._chat(given)
        if not chat.get("is_forum"):
            raise Fault(400, "Bad Request: the chat is not a forum")
        if chat["id"] not in self.manages:
            raise Fault(400, f"Bad Request: not enough rights to {what} a topic")
        return chat
