// The desk tab: queue, conversation and case, and what the server's events do to them.

import { get } from "./api.js";
import { alertAgent } from "./attention.js";
import { CasePanel } from "./case.js";
import { ConversationView } from "./conversation.js";
import { element } from "./elements.js";
import { customerOf } from "./format.js";
import { read, write } from "./kept.js";
import { Outgoing } from "./outgoing.js";
import { atMostEvery } from "./pace.js";
import { Queue, VIEWS } from "./queue.js";
import { toast } from "./toast.js";
import { Unread } from "./unread.js";
import { word } from "./words.js";

export class Desk {
  /** `go(id)` moves the page's address to a conversation, null to none. */
  constructor(me, go) {
    Object.assign(this, { me, go });
    this.waiting = null;
    this.unread = new Unread(me);
    this.outgoing = new Outgoing(me.name, {
      show: (entry) => this.view.showUnsent(entry),
      sent: (entry, message) => this.view.sent(entry, message),
    });
    this.queue = new Queue({
      me,
      unread: this.unread,
      open: (id, byKeyboard) => this.#openFromList(id, byKeyboard),
      counted: (counts) => this.#counted(counts),
    });
    this.view = new ConversationView({
      me,
      outgoing: this.outgoing,
      changed: (conversation) => this.#changed(conversation),
      back: () => go(null),
      toggleCase: () => this.toggleCase(),
    });
    this.case = new CasePanel({
      me,
      useDraft: (text) => this.#useDraft(text),
      sendDraft: (text) => this.view.say(text),
      close: () => this.toggleCase(),
    });
    this.lookAtMine = atMostEvery(1000, () => this.#lookAtMine());
    this.root = element("div", { class: "desk" }, this.queue.root, this.view.root, this.case.root);
    this.root.classList.toggle("case-closed", read("case", true) === false);
  }

  async show(id) {
    this.root.classList.toggle("has-open", id !== null);
    this.root.classList.remove("case-over");
    this.queue.select(id);
    await this.view.open(id);
    this.root.classList.toggle("has-conversation", this.view.id !== null);
  }

  async #openFromList(id, byKeyboard) {
    await this.go(id);
    if (byKeyboard) this.view.composer.focus();
  }

  #changed(conversation) {
    this.root.classList.add("has-conversation");
    this.case.show(conversation);
    if (document.hasFocus()) this.unread.read(conversation);
    const { transcript, ...summary } = conversation;
    this.queue.update(summary);
  }

  #useDraft(text) {
    this.root.classList.remove("case-over");
    this.view.composer.use(text);
  }

  toggleCase() {
    // Where there is no room for three columns, the case lies over the conversation.
    if (matchMedia("(max-width: 1180px)").matches) {
      this.root.classList.toggle("case-over");
      if (this.root.classList.contains("case-over")) this.case.root.focus();
      else this.view.caseButton.focus();
      return;
    }
    write("case", !this.root.classList.toggle("case-closed"));
  }

  // --- what the server tells -------------------------------------------------------------------

  /** Connected, or connected again: nothing that came meanwhile is missed. */
  ready() {
    this.queue.reload();
    this.view.refresh();
    this.lookAtMine();
    this.outgoing.flush();
  }

  changedSomewhere() {
    this.queue.reload();
  }

  changedIn(id) {
    if (id === this.view.id) this.view.refresh();
    if (this.unread.isMine(id) && (id !== this.view.id || !document.hasFocus())) this.lookAtMine();
  }

  async assigned({ id, by }) {
    const action = { label: word("assigned.open"), run: () => this.go(id) };
    const text = by ? word("assigned.toYou", { name: by }) : word("assigned.itself");
    toast(text, { action });
    alertAgent(text, action.run, { evenIfLooking: true });
    this.lookAtMine();
    this.queue.reload();
  }

  #counted({ waiting }) {
    const more = this.waiting !== null && waiting > this.waiting;
    this.waiting = waiting;
    if (more) alertAgent(word("alert.waiting"), () => this.queue.show("waiting"), { evenIfLooking: true });
  }

  /** Which conversations are this agent's, and whether their customers wrote. */
  async #lookAtMine() {
    const { conversations } = await get("conversations?view=mine&limit=50").catch(() => ({ conversations: null }));
    if (!conversations) return;
    const news = this.unread.take(conversations);
    this.queue.redraw();
    const first = news.find(({ id }) => id !== this.view.id || !document.hasFocus());
    if (first) alertAgent(`${word("alert.message")}: ${customerOf(first)}`, () => this.go(first.id), { evenIfLooking: true });
  }

  /** The reader looks at the page again. */
  looked() {
    if (!this.view.conversation) return;
    this.unread.read(this.view.conversation);
    this.queue.redraw();
  }

  // --- keys ------------------------------------------------------------------------------------

  keys() {
    const { queue, view } = this;
    const write = (isNote) => () => {
      if (!view.conversation || view.composer.root.hidden) return;
      view.composer.setNote(isNote);
      view.composer.focus();
    };
    const draft = () => {
      if (view.conversation?.case?.draft && !view.composer.root.hidden) this.#useDraft(view.conversation.case.draft);
    };
    return {
      ...Object.fromEntries(VIEWS.map((name, index) => [String(index + 1), () => queue.show(name)])),
      j: () => queue.move(1),
      k: () => queue.move(-1),
      "/": () => queue.focusSearch(),
      c: () => view.act("claim"),
      a: () => view.act("assign"),
      h: () => view.act("handback"),
      e: () => view.act("resolve"),
      i: () => this.toggleCase(),
      r: write(false),
      n: write(true),
      d: draft,
    };
  }

  /** Escape leads one step back. */
  escape() {
    if (this.root.classList.contains("case-over")) this.toggleCase();
    else if (matchMedia("(max-width: 760px)").matches) this.go(null);
  }
}
