// The chat page: puts its parts together.

import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { h } from "./elements.js";
import { ConversationLog, fillJump } from "./log.js";
import { Outgoing, storage } from "./outgoing.js";
import { language, texts, translate } from "./texts.js";

const PRESSED_KEY = "kfbot.pressed";
const LONGEST_TYPING_MS = 20_000;
const FAILURES = { 401: texts.failedVisitor, 403: texts.failedVisitor, 413: texts.failedLong, 429: texts.failedMany };

const byId = (id) => document.getElementById(id);
const app = byId("app");
const embedded = new URLSearchParams(location.search).has("embed");

translate(document);
fillJump(byId("jump"));

// --- state ------------------------------------------------------------------------------------

let ready = false;
let state = "bot";
let awaitsAnswer = false;
let typingTimer = null;
const pressed = new Set(storage.read(PRESSED_KEY) ?? []);

function rememberPressed(token) {
  pressed.add(token);
  storage.write(PRESSED_KEY, [...pressed]);
}

// --- the conversation -------------------------------------------------------------------------

const log = new ConversationLog(
  { scroller: byId("scroller"), list: byId("chat-log"), typing: byId("typing"), jump: byId("jump") },
  {
    press: (token, label) => {
      rememberPressed(token);
      outgoing.send({ press: token, label });
      byId("composer").focus();
    },
    rate: async (token) => {
      const stored = await outgoing.pressQuietly(token);
      if (stored) rememberPressed(token);
      return stored;
    },
    isPressed: (token) => pressed.has(token),
    retry: (id) => {
      byId("composer").focus();
      outgoing.retry(id);
    },
    discard: (id) => {
      byId("composer").focus();
      outgoing.drop(id);
      log.discard(id);
      showWelcome();
    },
  },
);

const outgoing = new Outgoing({
  added: (id, label) => {
    log.addOwn(id, label);
    showWelcome();
    awaitsAnswer = true;
  },
  sending: (id) => log.markSending(id),
  sent: (id) => {
    log.markSent(id);
    if (awaitsAnswer && (state === "bot" || state === "closed")) startTyping();
  },
  failed: (id, status) => log.markFailed(id, FAILURES[status] ?? texts.failed),
});

function send(text) {
  outgoing.send({ text });
}

const composer = new Composer(
  { form: byId("form"), field: byId("composer"), button: byId("send"), counter: byId("counter") },
  send,
);

byId("ask-person").addEventListener("click", () => {
  send(texts.askPersonMessage);
  composer.field.focus();
});

// --- what the server says ---------------------------------------------------------------------

const connection = new Connection({
  message: (message) => {
    if (message.client_id) outgoing.drop(message.client_id);
    if (!log.add(message)) return;
    showWelcome();
    if (message.role === "customer") return;
    awaitsAnswer = false;
    stopTyping();
    if (ready) tellHost("kfbot:message");
  },
  draft: ({ text }) => {
    if (text) stopTyping();
    log.showDraft(text);
  },
  state: (data) => showState(data.state, data.agent),
  typing: () => startTyping(),
  ready: () => {
    if (ready) return;
    ready = true;
    outgoing.restore((id) => log.waiting.has(id));
    showWelcome();
    requestAnimationFrame(() => {
      app.classList.remove("loading");
      // The history is not read out, what follows is.
      byId("chat-log").setAttribute("aria-live", "polite");
    });
  },
  // What is shown is kept by nobody any more, and the numbers of messages begin anew.
  erased: () => location.reload(),
  online: (online) => {
    byId("connection").hidden = online;
    if (online && ready) outgoing.retryUnanswered();
  },
});

function startTyping() {
  clearTimeout(typingTimer);
  typingTimer = setTimeout(stopTyping, LONGEST_TYPING_MS);
  log.showTyping(true);
}

function stopTyping() {
  clearTimeout(typingTimer);
  log.showTyping(false);
}

function showState(name, agent) {
  state = name;
  const lines = {
    waiting: texts.waiting,
    agent: texts.withAgent(agent || texts.agentFallback),
    closed: texts.closed,
  };
  const banner = byId("state-banner");
  banner.textContent = lines[name] ?? "";
  banner.dataset.state = name;
  banner.hidden = !lines[name];
  byId("ask-person").disabled = name === "waiting" || name === "agent";
  if (name === "waiting") stopTyping();
}

// --- greeting ---------------------------------------------------------------------------------

function showWelcome() {
  byId("welcome").hidden = !ready || !log.empty;
}

async function loadConfig() {
  let config = {};
  try {
    const response = await fetch(`/chat/config?lang=${language}`);
    if (response.ok) config = await response.json();
  } catch {
    // The page greets by itself.
  }
  byId("title").textContent = config.title || texts.title;
  document.title = config.title || texts.title;
  byId("greeting").textContent = config.greeting || texts.greeting;
  byId("examples").replaceChildren(
    ...(config.examples ?? []).map((example) => {
      const ask = () => {
        send(example);
        composer.field.focus();
      };
      return h("button", { type: "button", class: "example", "data-testid": "example", onclick: ask }, example);
    }),
  );
}

// --- inside the widget of another page --------------------------------------------------------

function tellHost(type) {
  if (embedded) window.parent.postMessage({ type }, "*");
}

if (embedded) {
  document.documentElement.classList.add("embedded");
  byId("close").hidden = false;
  byId("close").addEventListener("click", () => tellHost("kfbot:close"));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.isComposing) tellHost("kfbot:close");
  });
  window.addEventListener("focus", () => {
    if (document.activeElement === document.body) focusComposer();
  });
  // Beside the page there is the launcher to close with.
  window.addEventListener("message", ({ source, data }) => {
    if (source === window.parent && data?.type === "kfbot:layout") byId("close").hidden = !data.full;
  });
}

loadConfig().finally(() => connection.open());
if (!embedded || document.hasFocus()) focusComposer();

/** Not on a phone: the keyboard would cover the greeting. */
function focusComposer() {
  if (matchMedia("(hover: hover)").matches) composer.field.focus();
}
