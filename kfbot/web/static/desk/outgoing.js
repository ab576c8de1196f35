// Replies and notes on their way: each kept until the server has it, and taken once.

import { post } from "./api.js";
import { read, write } from "./kept.js";
import { reasonOf } from "./toast.js";
import { word } from "./words.js";

const AGAIN_AFTER_MS = 5_000;
/** What is older waits for its writer's word: the conversation has gone on. */
const STALE_AFTER_MS = 10 * 60_000;

/** Unique also where a page without TLS has no crypto.randomUUID. */
function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Half an emoji would make the whole request invalid. */
const wellFormed = (text) =>
  text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");

/** No answer, or one that says "later". */
const mayGoThroughLater = (status) => status === 0 || status === 408 || status === 429 || status >= 500;

const stateOf = (entry) => (Date.now() - entry.written_at > STALE_AFTER_MS ? "failed" : "unsent");

export class Outgoing {
  /** `show(entry)` hears of each change of state; `sent(entry, message)` of what the server took. */
  constructor(agent, { show, sent }) {
    this.key = `unsent.${agent}`;
    this.show = show;
    this.sent = sent;
    this.entries = new Map(read(this.key, []).map((entry) => [entry.client_id, { ...entry, state: stateOf(entry), reason: word("message.stale") }]));
    this.queue = Promise.resolve();
  }

  /** What was written in a conversation and has not arrived. */
  of(conversation) {
    return [...this.entries.values()].filter((entry) => entry.conversation === conversation);
  }

  /** Send a reply or note; `claim` takes the conversation first. */
  send({ conversation, text, internal, claim }) {
    const entry = { client_id: newId(), conversation, text: wellFormed(text), internal, claim, state: "sending", written_at: Date.now() };
    this.#keep(entry);
    return this.#deliver(entry.client_id);
  }

  /** Send again, under the same id. */
  retry(id) {
    const entry = this.entries.get(id);
    return entry ? this.#deliver(id) : Promise.resolve();
  }

  /** The server has it, or nobody wants it any more. */
  discard(id) {
    if (this.entries.delete(id)) this.#save();
  }

  /** The connection is back. */
  flush() {
    for (const { client_id: id, state } of this.entries.values()) if (state === "unsent") this.#deliver(id);
  }

  #deliver(id) {
    this.queue = this.queue.then(() => this.#transmit(id));
    return this.queue;
  }

  async #transmit(id) {
    const entry = this.entries.get(id);
    if (!entry) return;
    this.#keep({ ...entry, state: "sending" });
    try {
      const path = `conversations/${entry.conversation}`;
      if (entry.claim) await post(`${path}/claim`);
      const { text, internal } = entry;
      const message = await post(`${path}/reply`, { text, internal, client_id: id });
      this.discard(id);
      this.sent(entry, message);
    } catch (failure) {
      // The answer was lost, but the transcript brought the message meanwhile.
      if (!this.entries.has(id)) return;
      const state = mayGoThroughLater(failure.status) ? stateOf(entry) : "failed";
      this.#keep({ ...entry, state, reason: reasonOf(failure) });
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.flush(), AGAIN_AFTER_MS);
    }
  }

  #keep(entry) {
    this.entries.set(entry.client_id, entry);
    this.#save();
    this.show(entry);
  }

  #save() {
    write(this.key, this.entries.size ? [...this.entries.values()] : null);
  }
}
