// One message of the conversation as an element.

import { h, icon, link, safeAddress } from "./elements.js";
import { renderMarkdown } from "./markdown.js";
import { locale, texts } from "./texts.js";

const WEB = new Set(["http:", "https:"]);
const FEEDBACK = ["helpful", "not-helpful", "person"];
const FEEDBACK_ICONS = { helpful: "helpful", "not-helpful": "notHelpful", person: "person" };

/**
 * What the conversation shows of a message. `press(token, label)` is called for a choice and
 * gives nothing back; `rate(token)` for a feedback button resolves to true once it is stored;
 * `isPressed(token)` says what was pressed before this page was loaded.
 */
export function buildMessage(message, { press, rate, isPressed }) {
  const notice = message.kind && message.kind !== "message";
  const own = message.role === "customer";
  const element = h(
    "div",
    {
      class: `message ${message.role}${notice ? " notice" : ""}`,
      "data-testid": "message",
      "data-role": message.role,
      "data-kind": message.kind ?? "message",
    },
    own || notice ? null : avatar(message),
    h(
      "div",
      { class: "body" },
      head(message),
      h("div", { class: "text", "data-testid": "message-text" }, own ? message.text : renderMarkdown(message.text)),
      sources(message.citations ?? []),
      choices(message.choices ?? [], press, isPressed),
      feedback(message.feedback ?? [], rate, isPressed),
    ),
  );
  return element;
}

function nameOf(message) {
  if (message.role === "customer") return texts.you;
  return message.name || (message.role === "agent" ? texts.agentFallback : texts.botName);
}

function avatar(message) {
  const initial = [...nameOf(message)][0].toUpperCase();
  return h("div", { class: "avatar", "aria-hidden": "true" }, message.role === "agent" ? initial : icon("bot"));
}

function head(message) {
  const name = h("span", { class: "name" }, nameOf(message));
  return h("div", { class: "head" }, name, time(message.created_at));
}

/** When a message was written; the day only if it is not today. */
export function time(written) {
  const date = written ? new Date(written) : new Date();
  if (Number.isNaN(date.getTime())) return null;
  const today = date.toDateString() === new Date().toDateString();
  const clock = { hour: "numeric", minute: "2-digit" };
  const style = today ? clock : { month: "short", day: "numeric", ...clock };
  const shown = new Intl.DateTimeFormat(locale, style).format(date);
  return h("time", { datetime: date.toISOString(), title: date.toLocaleString(locale) }, shown);
}

let panels = 0;

function sources(citations) {
  if (!citations.length) return null;
  const shown = citations.map((citation, index) => source(citation, index + 1));
  const chips = h("div", { class: "chips" }, shown.map((one) => one.chip));
  return h(
    "div",
    { class: "sources", role: "group", "aria-label": texts.sources },
    chips,
    shown.map((one) => one.panel),
  );
}

function source(citation, number) {
  const title = [citation.title || citation.id, citation.heading].filter(Boolean).join(" › ");
  panels += 1;
  const id = `source-${panels}`;
  const address = citation.url ? safeAddress(citation.url, WEB) : null;
  const panel = h(
    "div",
    { class: "source", id, hidden: true },
    h("p", { class: "source-title" }, title),
    citation.quote ? h("blockquote", { tabindex: "0" }, renderMarkdown(citation.quote)) : null,
    address ? link(address, texts.openSource, icon("open")) : null,
  );
  const chip = h(
    "button",
    {
      type: "button",
      class: "chip",
      "data-testid": "citation",
      "aria-expanded": "false",
      "aria-controls": id,
      onclick: () => toggle(chip, panel),
    },
    h("span", { class: "number" }, String(number)),
    h("span", { class: "chip-title" }, title),
  );
  return { chip, panel };
}

function toggle(chip, panel) {
  const open = chip.getAttribute("aria-expanded") !== "true";
  for (const other of chip.parentElement.children) other.setAttribute("aria-expanded", "false");
  for (const other of panel.parentElement.querySelectorAll(".source")) other.hidden = true;
  chip.setAttribute("aria-expanded", String(open));
  panel.hidden = !open;
}

function choices(offered, press, isPressed) {
  if (!offered.length) return null;
  const group = h("div", { class: "choices", role: "group", "aria-label": texts.choices });
  const close = (chosen) => {
    for (const button of group.children) button.disabled = true;
    chosen.classList.add("chosen");
  };
  for (const { id, label } of offered) {
    const choose = (event) => {
      close(event.currentTarget);
      press(id, label);
    };
    const button = h("button", { type: "button", class: "choice", "data-testid": "choice", onclick: choose }, label);
    group.append(button);
  }
  offered.forEach((one, index) => isPressed(one.id) && close(group.children[index]));
  return group;
}

function feedback(offered, rate, isPressed) {
  if (!offered.length) return null;
  const status = h("span", { class: "feedback-status", role: "status" });
  const group = h("div", { class: "feedback", role: "group", "aria-label": texts.feedback });
  const buttons = offered.map((one, index) => {
    const action = one.action?.replace("_", "-") ?? FEEDBACK[index] ?? "other";
    const shown = FEEDBACK_ICONS[action] ? icon(FEEDBACK_ICONS[action]) : null;
    const attributes = { type: "button", "data-testid": `feedback-${action}` };
    const button = h("button", attributes, shown, h("span", {}, one.label));
    button.addEventListener("click", () => rated(one.id, button, buttons, status, rate));
    return button;
  });
  offered.forEach((one, index) => isPressed(one.id) && settle(buttons[index], buttons));
  group.append(...buttons, status);
  return group;
}

async function rated(token, button, buttons, status, rate) {
  // Not disabled, which would take the focus away.
  if (button.getAttribute("aria-disabled")) return;
  status.textContent = "";
  for (const one of buttons) one.setAttribute("aria-disabled", "true");
  if (await rate(token)) settle(button, buttons);
  else {
    for (const one of buttons) one.removeAttribute("aria-disabled");
    status.textContent = texts.feedbackFailed;
  }
}

/** Only what was pressed stays; the server's thanks come as a message. */
function settle(pressed, buttons) {
  for (const button of buttons) {
    button.setAttribute("aria-disabled", "true");
    button.hidden = button !== pressed;
  }
  pressed.setAttribute("aria-pressed", "true");
}
