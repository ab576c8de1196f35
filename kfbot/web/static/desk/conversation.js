// The open conversation: its head with the actions, its transcript, and the composer below.

import { get } from "./api.js";
import { assign, chooseColleague, offered, perform } from "./actions.js";
import { Composer } from "./composer.js";
import { button, element, icon } from "./elements.js";
import { customerOf } from "./format.js";
import { atMostEvery } from "./pace.js";
import { summaryBox } from "./summary.js";
import { stateWord } from "./queue.js";
import { complain } from "./toast.js";
import { Transcript } from "./transcript.js";
import { waitBadge } from "./waiting.js";
import { language, word } from "./words.js";

const TYPING_SHOWN_MS = 6_000;
const ICONS = { claim: "claim", assign: "assign", handback: "returned", resolve: "check" };
const KEYS = { claim: "c", assign: "a", handback: "h", resolve: "e" };

export class ConversationView {
  /** `changed(conversation)` hears of each new state; `back()` and `toggleCase()` are the page's. */
  constructor({ me, outgoing, changed, back, toggleCase }) {
    Object.assign(this, { me, outgoing, changed });
    this.id = null;
    this.conversation = null;
    this.refresh = atMostEvery(150, () => this.#catchUp());
    this.composer = new Composer({ me, send: (written) => outgoing.send({ conversation: this.id, ...written }) });
    this.title = element("h2", { class: "who", tabindex: "-1", "data-testid": "conversation-name" });
    this.facts = element("p", { class: "facts" });
    this.acts = element("div", { class: "acts", role: "toolbar", "aria-label": word("conversation") });
    this.place = element("div", { class: "transcript-place" });
    this.summary = element("div", { class: "summary-place" });
    this.caseButton = button("case-toggle", { class: "bare", "aria-label": word("case.show"), title: `${word("case.show")} (i)`, onclick: toggleCase }, icon("info"));
    this.nothing = element("div", { class: "nothing" }, icon("empty"), element("p", {}, element("strong", {}, word("pick"))), element("p", { class: "soft keys-hint" }, word("pick.text")));
    this.head = element(
      "header",
      { class: "conversation-head" },
      button("back", { class: "bare only-narrow", "aria-label": word("back"), onclick: back }, icon("back")),
      element("div", { class: "who-box" }, this.title, this.facts),
      this.acts,
      this.caseButton,
    );
    this.viewerNote = me.role === "viewer" ? element("p", { class: "viewer-note" }, word("viewer.only")) : null;
    this.root = element("main", { class: "conversation", id: "main", tabindex: "-1", "aria-label": word("conversation") }, this.nothing);
  }

  /** Show a conversation; null shows none. */
  async open(id) {
    if (id === this.id) return;
    this.id = id;
    this.conversation = null;
    this.upTo = 0;
    this.hasNews = false;
    clearTimeout(this.typingTimer);
    if (id === null) return this.root.replaceChildren(this.nothing);
    const transcript = new Transcript({
      older: () => this.#loadOlder(transcript),
      outgoing: { retry: (one) => this.outgoing.retry(one), discard: (one) => this.#discard(one) },
    });
    this.transcript = transcript;
    try {
      const found = await get(`conversations/${id}?language=${language}`);
      if (this.id !== id) return;
      this.place.replaceChildren(transcript.root);
      this.root.replaceChildren(...[this.head, this.summary, this.place, this.viewerNote, this.composer.root].filter(Boolean));
      this.#take(found);
      if (this.hasNews) this.#catchUp();
      transcript.hasOlder = found.has_older;
      transcript.toEnd();
      for (const entry of this.outgoing.of(id)) transcript.showUnsent({ ...entry, name: this.me.display_name });
      requestAnimationFrame(() => transcript.live());
    } catch (failure) {
      if (this.id !== id) return;
      this.id = null;
      this.root.replaceChildren(this.nothing);
      complain(failure);
    }
  }

  /** What came since, and the deliveries that were open. */
  async #catchUp() {
    const { id, transcript } = this;
    if (id === null) return;
    if (!this.conversation) {
      // What is on its way may be from before.
      this.hasNews = true;
      return;
    }
    try {
      let found;
      do {
        const { upTo } = this;
        found = await get(`conversations/${id}?language=${language}&after=${Math.min(upTo, transcript.openId - 1)}`);
        if (this.id !== id) return;
        this.#take(found);
        if (this.upTo === upTo) return;
      } while (found.transcript.length);
    } catch (failure) {
      // Without a connection the next one asks again.
      if (failure.status !== 0) complain(failure);
    }
  }

  #take(found) {
    const newest = found.transcript.at(-1);
    // Not what a reply was answered with: before it there may be a message that was not seen yet.
    this.upTo = Math.max(this.upTo, newest?.id ?? 0);
    for (const { client_id: id } of found.transcript) if (id) this.outgoing.discard(id);
    if (newest?.role === "agent") this.#stopTyping();
    this.transcript.add(found.transcript);
    // The case comes with its passages at the first time, and may come without them later.
    const passages = found.case?.passages ?? (this.conversation?.case?.id === found.case?.id ? this.conversation?.case?.passages : undefined);
    this.conversation = { ...found, case: found.case && { ...found.case, passages } };
    this.#drawHead();
    this.#drawSummary(found.summary);
    this.composer.show(this.conversation);
    this.changed(this.conversation);
  }

  async #loadOlder(transcript) {
    const { id } = this;
    try {
      const found = await get(`conversations/${id}?before=${transcript.firstId}`);
      transcript.addOlder(found.transcript, found.has_older);
    } catch {
      transcript.addOlder([], true);
    }
  }

  #drawHead() {
    const { conversation, me } = this;
    const isMine = conversation.state === "agent" && conversation.agent === me.name;
    this.title.textContent = customerOf(conversation);
    const state = element("span", { class: `state ${conversation.state}`, "data-testid": "state" }, isMine ? word("state.mine") : stateWord(conversation));
    const waits = conversation.state === "waiting" && conversation.waiting_since ? waitBadge(conversation.waiting_since) : null;
    this.facts.replaceChildren(...[state, waits, element("span", { class: "soft" }, conversation.channel)].filter(Boolean));
    const actions = offered(conversation, me);
    const key = `${conversation.id} ${actions.join()}`;
    if (this.acts.dataset.key === key) return;
    const held = document.activeElement?.dataset?.testid;
    this.acts.dataset.key = key;
    this.acts.replaceChildren(...actions.map((action) => this.#action(action)));
    // The button that was pressed may be gone; the focus must not be.
    if (actions.concat(Object.keys(ICONS)).includes(held) && document.activeElement === document.body) this.focusAction(held);
  }

  #drawSummary(summary) {
    const state = JSON.stringify(summary);
    if (this.summary.dataset.state === state) return;
    this.summary.dataset.state = state;
    this.summary.replaceChildren(...(summary ? [summaryBox(summary)] : []));
  }

  focusAction(action) {
    (this.acts.querySelector(`[data-testid="${action}"]`) ?? this.title).focus();
  }

  #action(action) {
    const isMain = action === "claim" && this.conversation.state === "waiting";
    const title = `${word(`${action}.hint`)} (${KEYS[action]})`;
    const attributes = { class: isMain ? "primary act" : "secondary act", title, "aria-keyshortcuts": KEYS[action], onclick: () => this.act(action) };
    return button(action, attributes, icon(ICONS[action]), element("span", {}, word(action)));
  }

  /** Claim, assign, hand back or resolve, if the conversation offers it. */
  async act(action) {
    const { id, conversation, me } = this;
    if (!conversation || !offered(conversation, me).includes(action) || this.isActing) return;
    this.isActing = true;
    try {
      if (action === "assign") {
        const colleague = await chooseColleague(me);
        if (colleague !== undefined) await assign(id, colleague, me);
      } else {
        await perform(action, id, me);
      }
    } finally {
      this.isActing = false;
    }
    this.refresh();
    if (action === "claim") this.composer.focus();
  }

  /** Send a text to the customer as it is. */
  say(text) {
    const { conversation, me } = this;
    const isMine = conversation.state === "agent" && conversation.agent === me.name;
    return this.outgoing.send({ conversation: this.id, text, internal: false, claim: !isMine });
  }

  /** What was written here has a new state. */
  showUnsent(entry) {
    if (entry.conversation === this.id && this.conversation) this.transcript.showUnsent({ ...entry, name: this.me.display_name });
  }

  /** The server took it. */
  sent(entry, message) {
    if (entry.conversation !== this.id || !this.conversation) return;
    this.transcript.add([message]);
    this.refresh();
  }

  #discard(id) {
    this.outgoing.discard(id);
    this.transcript.dropUnsent(id);
  }

  /** The colleague who has a conversation is writing. */
  typing(id) {
    if (id !== this.id || !this.conversation) return;
    const { agent, agent_name: name } = this.conversation;
    this.transcript.showTyping(name || agent || word("message.agent"));
    clearTimeout(this.typingTimer);
    this.typingTimer = setTimeout(() => this.#stopTyping(), TYPING_SHOWN_MS);
  }

  #stopTyping() {
    clearTimeout(this.typingTimer);
    this.transcript.showTyping(null);
  }
}
