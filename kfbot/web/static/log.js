// The conversation: messages in their order, each once, scrolled to where the reader wants.

import { h, icon } from "./elements.js";
import { renderMarkdown } from "./markdown.js";
import { buildMessage } from "./message.js";
import { texts } from "./texts.js";

const NEAR_PIXELS = 80;

export class ConversationLog {
  /** `actions` are those of `buildMessage`, with `retry` and `discard` for what was not sent. */
  constructor({ scroller, list, typing, jump }, actions) {
    Object.assign(this, { scroller, list, typing, jump, actions });
    this.shownIds = new Set();
    this.lastId = 0;
    this.waiting = new Map();
    this.draft = null;
    this.atEnd = true;
    this.lastTop = 0;
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    jump.addEventListener("click", () => this.scrollToEnd());
    new ResizeObserver(() => this.atEnd && this.scrollToEnd("instant")).observe(scroller);
  }

  get empty() {
    return this.list.childElementCount === 0;
  }

  /** Show a message of the server. False if it was shown before. */
  add(message) {
    const id = Number(message.id);
    if (this.shownIds.has(id)) return false;
    this.shownIds.add(id);
    this.lastId = Math.max(this.lastId, id);
    const own = message.client_id && this.waiting.get(message.client_id);
    const element = buildMessage(message, this.actions);
    element.dataset.id = id;
    if (own) {
      this.waiting.delete(message.client_id);
      // The reader has heard it once; the copy of the server takes its place.
      own.replaceWith(element);
    }
    if (this.draft && message.role === "bot") this.#settleDraft(element);
    this.#place(element, id);
    this.#follow(message.role === "customer");
    return true;
  }

  /** Show a message of the customer before the server has it. */
  addOwn(clientId, text) {
    if (this.waiting.has(clientId)) return;
    const element = buildMessage({ role: "customer", text }, this.actions);
    element.append(h("div", { class: "delivery", role: "status" }));
    // Behind what is there now; the server's copy moves it to where it came to stand.
    element.dataset.id = this.lastId + 0.5;
    this.waiting.set(clientId, element);
    if (this.draft) this.draft.before(element);
    else this.list.append(element);
    this.#group(element);
    this.markSending(clientId);
    this.#follow(true);
  }

  /** Show an answer that is being written, as it is so far; an empty text takes it away. */
  showDraft(text) {
    if (!text) {
      this.draft?.remove();
      this.draft = null;
      return;
    }
    if (!this.draft) {
      this.draft = buildMessage({ role: "bot", text }, this.actions);
      this.draft.classList.add("draft");
      this.draft.dataset.testid = "draft";
      // Below all that comes; read out once, when it is complete.
      this.draft.dataset.id = Infinity;
      this.draft.setAttribute("aria-live", "off");
      this.draft.setAttribute("aria-busy", "true");
      this.list.append(this.draft);
      this.#group(this.draft);
    } else this.draft.querySelector(".text").replaceChildren(renderMarkdown(text));
    this.#follow(false);
  }

  /** The message takes the place of the draft, without coming in anew. */
  #settleDraft(element) {
    element.classList.add("settled");
    this.draft.replaceWith(element);
    this.draft = null;
  }

  markSending(clientId) {
    const element = this.waiting.get(clientId);
    element?.classList.remove("failed");
    element?.classList.add("sending");
    element?.querySelector(".delivery").replaceChildren(h("span", { class: "visually-hidden" }, texts.sending));
  }

  markSent(clientId) {
    const element = this.waiting.get(clientId);
    element?.classList.remove("sending", "failed");
    element?.querySelector(".delivery").replaceChildren();
  }

  /** Say that a message was not sent, with a way to try again. */
  markFailed(clientId, reason) {
    const element = this.waiting.get(clientId);
    if (!element) return;
    element.classList.remove("sending");
    element.classList.add("failed");
    const button = (name, label, action) =>
      h("button", { type: "button", "data-testid": name, onclick: () => action(clientId) }, label);
    element.querySelector(".delivery").replaceChildren(
      h("span", {}, reason),
      button("retry", texts.retry, this.actions.retry),
      button("discard", texts.discard, this.actions.discard),
    );
    this.#follow(true);
  }

  discard(clientId) {
    this.waiting.get(clientId)?.remove();
    this.waiting.delete(clientId);
  }

  showTyping(shown) {
    if (this.typing.hidden === !shown) return;
    this.typing.hidden = !shown;
    this.#follow(false);
  }

  scrollToEnd(behavior) {
    this.scroller.scrollTo({ top: this.scroller.scrollHeight, behavior });
    this.jump.hidden = true;
    this.atEnd = true;
  }

  #place(element, id) {
    let before = this.list.lastElementChild;
    const later = (other) => other !== element && !(Number(other.dataset.id) < id);
    while (before && later(before)) before = before.previousElementSibling;
    if (before === element) return this.#group(element);
    if (before) before.after(element);
    else this.list.prepend(element);
    return this.#group(element);
  }

  /** A message that follows one of the same sender says no name again. */
  #group(element) {
    for (const one of [element, element.nextElementSibling]) {
      const previous = one?.previousElementSibling;
      const same = (part) => previous?.querySelector(part)?.textContent === one.querySelector(part)?.textContent;
      const follows = previous && previous.className.split(" ")[1] === one.className.split(" ")[1] && same(".name");
      one?.classList.toggle("follows", Boolean(follows));
    }
  }

  #follow(always) {
    if (always || this.atEnd) this.scrollToEnd();
    else this.jump.hidden = false;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const near = scrollHeight - scrollTop - clientHeight < NEAR_PIXELS;
    // On the way down to the end the reader is still at it; only going up leaves it.
    if (near || scrollTop < this.lastTop) this.atEnd = near;
    this.lastTop = scrollTop;
    if (this.atEnd) this.jump.hidden = true;
  }
}

/** The button that leads to what came while the reader was further up. */
export function fillJump(button) {
  button.append(icon("down"), texts.newMessages);
}
