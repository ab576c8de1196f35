// The messages of one conversation in their order, each once, with a line for each day.

import { button, element, icon } from "./elements.js";
import { day } from "./format.js";
import { buildMessage } from "./message.js";
import { word } from "./words.js";

const NEAR_PIXELS = 80;
const OLDER_AT_PIXELS = 200;
const TOGETHER_MS = 5 * 60_000;

export class Transcript {
  /** `older()` asks for earlier messages; `outgoing` has retry(id) and discard(id). */
  constructor({ older = null, outgoing = null } = {}) {
    Object.assign(this, { older, outgoing });
    this.messages = new Map();
    this.unsent = new Map();
    this.atEnd = true;
    this.hasOlder = false;
    this.list = element("div", { class: "messages", role: "log", "aria-live": "off", "aria-label": word("conversation") });
    this.loading = element("p", { class: "older", hidden: true }, word("older"));
    this.typing = element("p", { class: "typing", role: "status" });
    this.scroller = element("div", { class: "transcript", "data-testid": "transcript", tabindex: "0", role: "region", "aria-label": word("conversation") },
      this.loading, this.list, this.typing);
    this.pill = button("new-messages", { class: "pill", hidden: true, onclick: () => this.toEnd() }, icon("down"), word("new"));
    this.root = element("div", { class: "transcript-box" }, this.scroller, this.pill);
    this.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.atEnd && this.toEnd()).observe(this.scroller);
  }

  get firstId() {
    return Math.min(...this.messages.keys());
  }

  /** The smallest id of those whose delivery is still open, else Infinity. */
  get openId() {
    const open = [...this.messages.values()].filter(({ message }) => message.delivery === "pending");
    return Math.min(...open.map(({ message }) => message.id));
  }

  /** Show messages; those that are there are drawn again where they changed. */
  add(messages) {
    let isNew = false;
    for (const message of messages) isNew = this.#put(message) || isNew;
    this.#arrange();
    if (isNew) this.#follow(false);
  }

  /** Show earlier messages without moving what is being read. */
  addOlder(messages, hasOlder) {
    this.hasOlder = hasOlder;
    this.loading.hidden = true;
    const fromEnd = this.scroller.scrollHeight - this.scroller.scrollTop;
    for (const message of messages) this.#put(message);
    this.#arrange();
    this.scroller.scrollTop = this.scroller.scrollHeight - fromEnd;
  }

  /** From now on what comes is read out. */
  live() {
    this.list.setAttribute("aria-live", "polite");
  }

  #put(message) {
    const known = this.messages.get(message.id);
    const state = JSON.stringify(message);
    if (known?.state === state) return false;
    const shown = buildMessage(message);
    const own = known?.element ?? this.unsent.get(message.client_id)?.element;
    if (own) own.replaceWith(shown);
    this.unsent.delete(message.client_id);
    this.messages.set(message.id, { message, element: shown, state });
    return !known;
  }

  /** Order, days, and who goes on speaking. */
  #arrange() {
    const ids = [...this.messages.keys()].sort((a, b) => a - b);
    const wanted = ids.map((id) => this.messages.get(id));
    let previous = null;
    const nodes = [];
    for (const one of wanted) {
      const label = day(one.message.created_at);
      if (!previous || day(previous.created_at) !== label) nodes.push(this.#dayLine(label));
      one.element.classList.toggle("follows", goesOn(previous, one.message));
      nodes.push(one.element);
      previous = one.message;
    }
    for (const { element: pending } of this.unsent.values()) nodes.push(pending);
    place(this.list, nodes);
  }

  #dayLine(label) {
    const known = [...this.list.querySelectorAll(".day")].find((line) => line.textContent === label);
    return known ?? element("p", { class: "day" }, label);
  }

  /** Show what was written here before the server has it. `state` is sending, unsent or failed. */
  showUnsent({ client_id: id, text, internal, name, state, reason }) {
    const known = this.unsent.get(id);
    const shown = known?.element ?? buildMessage({ role: "agent", name, text, internal, kind: "message", created_at: new Date().toISOString() });
    shown.dataset.state = state;
    shown.querySelector(".delivery")?.remove();
    shown.append(this.#unsentLine(id, state, reason));
    if (known) return;
    this.unsent.set(id, { element: shown });
    this.list.append(shown);
    this.#follow(true);
  }

  #unsentLine(id, state, reason) {
    const words = { sending: word("message.sending"), unsent: word("message.unsent"), failed: word("message.failed", { reason }) };
    const act = (name, run) => element("button", { type: "button", class: "link", "data-testid": name, onclick: () => run(id) }, word(name));
    return element(
      "p",
      { class: `delivery ${state}`, "data-testid": `delivery-${state}` },
      icon(state === "failed" ? "long" : "calm"),
      words[state],
      state === "failed" ? [act("retry", this.outgoing.retry), act("discard", this.outgoing.discard)] : null,
    );
  }

  dropUnsent(id) {
    this.unsent.get(id)?.element.remove();
    this.unsent.delete(id);
  }

  /** Say who is writing; null: nobody. */
  showTyping(name) {
    this.typing.textContent = name === null ? "" : word("typing", { name });
    if (name !== null && this.atEnd) this.toEnd();
  }

  toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.pill.hidden = true;
    this.atEnd = true;
  }

  #follow(always) {
    if (always || this.atEnd) this.toEnd();
    else this.pill.hidden = false;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.atEnd = scrollHeight - scrollTop - clientHeight < NEAR_PIXELS;
    if (this.atEnd) this.pill.hidden = true;
    if (scrollTop < OLDER_AT_PIXELS && this.hasOlder && this.older) {
      this.hasOlder = false;
      this.loading.hidden = false;
      this.older();
    }
  }
}

function goesOn(previous, message) {
  if (!previous || previous.kind !== message.kind || previous.internal !== message.internal) return false;
  const isSame = previous.role === message.role && previous.name === message.name;
  return isSame && new Date(message.created_at) - new Date(previous.created_at) < TOGETHER_MS && message.role !== "bot";
}

/** Put nodes in this order with as few moves as possible: what stays is not read out again. */
function place(parent, nodes) {
  const kept = new Set(nodes);
  for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
  nodes.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
}
