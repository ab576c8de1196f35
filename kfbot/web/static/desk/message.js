// One message of a transcript as an element.

import { renderMarkdown } from "/chat/static/markdown.js";
import { bar, button, element, icon, link, safeAddress } from "./elements.js";
import { clock, full, percent, sureness } from "./format.js";
import { word } from "./words.js";

const WEB = new Set(["http:", "https:"]);

/** What the desk shows of a message; `me` is the agent's display name. */
export function buildMessage(message) {
  const kind = message.internal ? "note" : message.role;
  const isNotice = message.kind && message.kind !== "message" && message.role !== "customer" && !message.internal && !message.decision;
  return element(
    "article",
    {
      class: `message ${kind}${isNotice ? " notice" : ""}`,
      "data-testid": message.internal ? "note" : "message",
      "data-role": message.role,
      "data-kind": message.kind ?? "message",
    },
    head(message),
    text(message),
    (message.attachments ?? []).map(attachment),
    buttons(message.buttons ?? []),
    turn(message),
    delivery(message),
  );
}

function head(message) {
  const name = message.name || word(message.role === "customer" ? "customer" : `message.${message.role}`);
  return element(
    "header",
    { class: "message-head" },
    message.internal ? element("span", { class: "note-mark" }, icon("note"), word("message.note")) : null,
    message.role === "bot" ? icon("bot") : null,
    element("strong", { class: "message-name" }, name),
    element("time", { datetime: message.created_at, title: full(message.created_at) }, clock(message.created_at)),
  );
}

function text(message) {
  // What a customer wrote is theirs, mark by mark; the others are shown as the customer sees them.
  const isPlain = message.role === "customer" || message.internal;
  const attributes = { class: isPlain ? "text plain" : "text", "data-testid": "message-text" };
  return element("div", attributes, isPlain ? message.text : renderMarkdown(message.text));
}

function attachment({ name, media_type: type }) {
  return element("p", { class: "attachment" }, word("attachment", { name: name || type }));
}

function buttons(offered) {
  if (!offered.length) return null;
  const items = offered.map(({ label, pressed }) =>
    element("li", { class: pressed ? "pressed" : null }, pressed ? icon("check") : null, label, pressed ? element("span", { class: "visually-hidden" }, ` (${word("button.pressed")})`) : null),
  );
  return element("ul", { class: "offered", "aria-label": word("buttons") }, items);
}

/** What the bot decided, how sure it was, and what it cited. */
function turn({ role, decision, confidence, citations = [] }) {
  if (role !== "bot" || (!decision && !citations.length)) return null;
  const id = `sources-${Math.random().toString(36).slice(2)}`;
  const panel = citations.length ? element("div", { class: "passages", id, hidden: true }, citations.map(passage)) : null;
  const open = panel && button(
    "citations",
    { class: "link", "aria-expanded": "false", "aria-controls": id },
    word("sources.count", { count: citations.length }),
  );
  open?.addEventListener("click", () => {
    panel.hidden = !panel.hidden;
    open.setAttribute("aria-expanded", String(!panel.hidden));
  });
  return element(
    "footer",
    { class: "turn" },
    element("div", { class: "turn-line" },
      decision ? element("span", { class: "decision", "data-decision": decision }, word(`decision.${decision}`)) : null,
      typeof confidence === "number" ? confidenceMark(confidence) : null,
      open),
    panel,
  );
}

/** A number from 0 to 1 as a bar, a number and a word. */
export function confidenceMark(confidence) {
  const values = { percent: percent(confidence), word: sureness(confidence) };
  return element(
    "span",
    { class: "confidence", "data-testid": "confidence" },
    bar(confidence),
    element("span", { "aria-hidden": "true" }, `${values.percent} · ${values.word}`),
    element("span", { class: "visually-hidden" }, word("confidence", values)),
  );
}

/** A passage that the bot saw or cited. */
export function passage({ title, heading, url, quote, score }) {
  const address = url ? safeAddress(url, WEB) : null;
  return element(
    "details",
    { class: "passage", "data-testid": "passage" },
    element(
      "summary",
      {},
      element("span", { class: "passage-title" }, [title, heading].filter(Boolean).join(" › ")),
      typeof score === "number" ? element("span", { class: "score", title: word("case.score", { score: score.toFixed(2) }) }, bar(score), score.toFixed(2)) : null,
    ),
    quote ? element("blockquote", { class: "text" }, renderMarkdown(quote)) : null,
    address ? link(address, word("source.open"), icon("open")) : null,
  );
}

function delivery({ role, internal, delivery: state }) {
  if (role === "customer" || internal || !["pending", "failed"].includes(state)) return null;
  return element("p", { class: `delivery ${state}`, "data-testid": `delivery-${state}` }, icon(state === "failed" ? "long" : "calm"), word(`delivery.${state}`));
}
