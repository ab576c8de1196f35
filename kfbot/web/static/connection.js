// The server's events, for as long as the page is open.

const LONGEST_WAIT_MS = 15_000;
const SHOW_LOSS_AFTER_MS = 1_000;
const EVENTS = ["message", "draft", "state", "typing", "ready", "erased"];

export class Connection {
  /** `handlers` has a function for each event, and `online(isOnline)`. */
  constructor(handlers) {
    this.handlers = handlers;
    // The id of the last message's event: where to go on.
    this.mark = "";
    this.failures = 0;
    this.source = null;
    this.timer = null;
    this.lossTimer = null;
    // Always anew: a stream that was cut off meanwhile may still look open.
    window.addEventListener("online", () => this.open());
    window.addEventListener("pageshow", (event) => event.persisted && this.open());
    window.addEventListener("pagehide", () => this.source?.close());
  }

  /** Connect and ask for what was not seen yet. */
  open() {
    clearTimeout(this.timer);
    this.source?.close();
    const source = new EventSource(`/chat/events?after=${this.mark}`);
    this.source = source;
    source.addEventListener("open", () => this.#opened());
    source.addEventListener("error", () => this.#lost(source));
    for (const name of EVENTS) {
      source.addEventListener(name, (event) => this.#take(name, event));
    }
  }

  #take(name, event) {
    let data;
    try {
      data = JSON.parse(event.data || "{}");
    } catch {
      return; // A broken event must not stop those after it.
    }
    if (name === "message") this.mark = event.lastEventId;
    this.handlers[name](data);
  }

  #opened() {
    this.failures = 0;
    clearTimeout(this.lossTimer);
    this.lossTimer = null;
    this.handlers.online(true);
  }

  #lost(source) {
    if (source !== this.source) return;
    // A blink is not worth a line on the page.
    this.lossTimer ??= setTimeout(() => this.handlers.online(false), SHOW_LOSS_AFTER_MS);
    // The browser tries again by itself, but not after an HTTP error; then we do.
    if (source.readyState !== EventSource.CLOSED) return;
    const wait = Math.min(1000 * 2 ** this.failures, LONGEST_WAIT_MS);
    this.failures += 1;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), wait * (0.75 + Math.random() / 2));
  }
}
