// What the customer sends: one after the other, kept until the server has it.

const KEY = "kfbot.unsent";
const TIMEOUT_MS = 20_000;

/** A page that may not keep anything (a browser's choice) works, it only forgets. */
export const storage = {
  read(key) {
    try {
      return JSON.parse(sessionStorage.getItem(key));
    } catch {
      return null;
    }
  },
  write(key, value) {
    try {
      sessionStorage.setItem(key, JSON.stringify(value));
    } catch {
      // Full or forbidden.
    }
  },
};

/** Unique also where a page without TLS has no crypto.randomUUID. */
export function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Resolves to the HTTP status, 0 where no answer came. */
async function post(payload) {
  try {
    const response = await fetch("/chat/messages", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(payload),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    return response.status;
  } catch {
    return 0;
  }
}

export class Outgoing {
  /** `show` has added(id, label), sending(id), sent(id), failed(id, status). */
  constructor(show) {
    this.show = show;
    // Left over by an earlier page of this tab; the history may yet show that it arrived.
    this.unsent = new Map(storage.read(KEY) ?? []);
    this.queue = Promise.resolve();
  }

  /** Send a text, or the press of a button together with the label to show for it. */
  send({ text, press, label }) {
    const id = newId();
    // Half an emoji would make the whole request invalid.
    const payload = press ? { message_id: id, press } : { message_id: id, text: wellFormed(text) };
    this.#keep(id, { payload, label: label ?? text });
    this.show.added(id, label ?? text);
    return this.#transmit(id);
  }

  /** Try again, under the same id: the server takes it once. */
  retry(id) {
    if (!this.unsent.has(id)) return Promise.resolve(false);
    this.show.sending(id);
    return this.#transmit(id);
  }

  /** Try again what no answer came for. */
  retryUnanswered() {
    for (const [id, { status }] of this.unsent) if (status === 0) this.retry(id);
  }

  /** The server has it, or the customer does not want it any more. */
  drop(id) {
    if (this.unsent.delete(id)) this.#save();
  }

  /** Show what an earlier page could not send and the history does not have. */
  restore(isShown) {
    for (const [id, kept] of this.unsent) {
      if (isShown(id)) continue;
      this.show.added(id, kept.label);
      this.show.failed(id, kept.status ?? 0);
    }
  }

  /** A press that shows no message of its own: true once it is stored. */
  async pressQuietly(token) {
    return (await post({ message_id: newId(), press: token })) === 202;
  }

  #transmit(id) {
    const turn = this.queue.then(() => this.#deliver(id));
    this.queue = turn;
    return turn;
  }

  async #deliver(id) {
    const kept = this.unsent.get(id);
    if (!kept) return true;
    const status = await post(kept.payload);
    if (status >= 200 && status < 300) {
      this.drop(id);
      this.show.sent(id);
      return true;
    }
    if (!this.unsent.has(id)) return true; // The stream brought it meanwhile.
    this.#keep(id, { ...kept, status });
    this.show.failed(id, status);
    return false;
  }

  #keep(id, kept) {
    this.unsent.set(id, kept);
    this.#save();
  }

  #save() {
    storage.write(KEY, [...this.unsent]);
  }
}

const wellFormed = (text) =>
  text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");
