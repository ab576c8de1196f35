// What the server tells an open desk, for as long as the page is there.

import { get, signedInAgain } from "./api.js";

const EVENTS = ["ready", "queue", "conversation", "typing", "assigned", "signed_out"];
const LONGEST_WAIT_MS = 15_000;
const SHOW_LOSS_AFTER_MS = 800;
const STALE_AFTER_MS = 60_000;

export class Push {
  /** `handlers` has a function for each event but signed_out, and `online(isOnline)`. */
  constructor(handlers) {
    this.handlers = handlers;
    this.failures = 0;
    this.isOnline = true;
    this.hiddenAt = null;
    window.addEventListener("online", () => this.open());
    window.addEventListener("offline", () => this.#setOnline(false));
    window.addEventListener("pageshow", (event) => event.persisted && this.open());
    window.addEventListener("pagehide", () => this.source?.close());
    document.addEventListener("visibilitychange", () => this.#looked());
  }

  /** Connect; `ready` comes each time, and then everything is to be asked for again. */
  open() {
    clearTimeout(this.timer);
    this.source?.close();
    const source = new EventSource("/desk/api/events");
    this.source = source;
    source.addEventListener("error", () => this.#lost(source));
    for (const name of EVENTS) source.addEventListener(name, (event) => this.#take(name, event));
  }

  #take(name, event) {
    let data = {};
    try {
      data = JSON.parse(event.data || "{}");
    } catch {
      return; // A broken event must not stop those after it.
    }
    if (name === "signed_out") return this.#signIn();
    if (name === "ready") {
      this.failures = 0;
      clearTimeout(this.lossTimer);
      this.lossTimer = null;
      this.#setOnline(true);
    }
    return this.handlers[name](data);
  }

  async #lost(source) {
    if (source !== this.source) return;
    // A blink is not worth a line on the page.
    this.lossTimer ??= setTimeout(() => this.#setOnline(false), SHOW_LOSS_AFTER_MS);
    // The browser tries again by itself, but not after an HTTP error; then we do.
    if (source.readyState !== EventSource.CLOSED) return;
    if (await isSignedOut()) return this.#signIn();
    const wait = Math.min(1000 * 2 ** this.failures, LONGEST_WAIT_MS);
    this.failures += 1;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), wait * (0.75 + Math.random() / 2));
  }

  async #signIn() {
    this.source.close();
    await signedInAgain();
    this.open();
  }

  #setOnline(isOnline) {
    if (this.isOnline === isOnline) return;
    this.isOnline = isOnline;
    this.handlers.online(isOnline);
  }

  /** A machine that slept may hold a line that nobody else does. */
  #looked() {
    if (document.hidden) this.hiddenAt = Date.now();
    else if (this.hiddenAt && Date.now() - this.hiddenAt > STALE_AFTER_MS) this.open();
  }
}

async function isSignedOut() {
  try {
    return (await get("session")).agent === null;
  } catch {
    return false;
  }
}
