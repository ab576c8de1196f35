// The case beside a conversation: why, what the bot saw, what it would say, and what was before.

import { renderMarkdown } from "/chat/static/markdown.js";
import { get } from "./api.js";
import { button, element } from "./elements.js";
import { brief, customerOf, duration } from "./format.js";
import { confidenceMark, passage } from "./message.js";
import { reasonWord } from "./queue.js";
import { Transcript } from "./transcript.js";
import { word } from "./words.js";

export class CasePanel {
  /** `useDraft(text)` puts it into the composer, `sendDraft(text)` sends it. */
  constructor({ me, useDraft, sendDraft, close }) {
    Object.assign(this, { me, useDraft, sendDraft });
    this.state = "";
    this.earlierOf = null;
    this.main = element("div", {});
    this.earlier = element("section", { class: "card", "data-testid": "earlier" });
    this.root = element(
      "aside",
      { class: "case", "aria-label": word("case"), "data-testid": "case", tabindex: "-1" },
      element("div", { class: "case-head" }, element("h2", {}, word("case")), button("case-close", { class: "quiet", onclick: close }, word("close"))),
      element("div", { class: "case-body", tabindex: "0", role: "region", "aria-label": word("case") }, this.main, this.earlier),
    );
  }

  /** Show the case of a conversation; its earlier ones are asked for once. */
  show(conversation) {
    const state = JSON.stringify([conversation.id, conversation.case, conversation.state]);
    if (state === this.state) return;
    this.state = state;
    this.main.replaceChildren(...(conversation.case ? this.#parts(conversation) : [element("p", { class: "card soft" }, word("case.none"))]));
    const key = `${conversation.id} ${conversation.case?.id} ${conversation.state}`;
    if (this.earlierOf === key) return;
    this.earlierOf = key;
    this.#loadEarlier(conversation, key);
  }

  #parts(conversation) {
    const { case: opened } = conversation;
    const times = [word("case.opened", { time: brief(opened.opened_at) })];
    if (opened.first_reply_at) {
      const time = duration(new Date(opened.first_reply_at) - new Date(opened.opened_at));
      times.push(word("case.firstReply", { time }));
    }
    const why = card(
      word("case.reason"),
      element("p", { class: "why" }, element("span", { class: "reason", "data-reason": opened.reason }, reasonWord(opened.reason)),
        typeof opened.confidence === "number" ? confidenceMark(opened.confidence) : null),
      element("p", { class: "soft" }, times.join(" · ")),
    );
    const question = opened.question ? card(word("case.question"), element("p", { class: "plain", "data-testid": "question" }, opened.question)) : null;
    const seen = opened.passages?.length
      ? opened.passages.map(passage)
      : [element("p", { class: "soft" }, word("case.sawNothing"))];
    return [why, question, this.#draft(conversation), card(word("case.saw"), ...seen)].filter(Boolean);
  }

  #draft({ case: opened, state }) {
    if (!opened.draft) return card(word("case.draft"), element("p", { class: "soft" }, word("case.noDraft")));
    const acts = this.me.role === "viewer" || state === "closed" || opened.closed_at ? null : element(
      "div",
      { class: "acts" },
      button("use-draft", { class: "secondary", onclick: () => this.useDraft(opened.draft) }, word("case.useDraft")),
      button("send-draft", { class: "secondary", onclick: () => this.sendDraft(opened.draft) }, word("case.sendDraft")),
    );
    return card(word("case.draft"), element("div", { class: "text draft", "data-testid": "draft" }, renderMarkdown(opened.draft)), acts);
  }

  async #loadEarlier({ id }, key) {
    this.earlier.replaceChildren(element("h3", {}, word("case.earlier")), element("p", { class: "soft" }, word("loading")));
    let body;
    try {
      const { cases } = await get(`conversations/${id}/earlier`);
      body = cases.length
        ? element("ul", { class: "earlier" }, cases.map((one) => earlierRow(one, id)))
        : element("p", { class: "soft" }, word("case.noEarlier"));
    } catch {
      body = element("p", { class: "soft" }, word("case.earlierFailed"));
    }
    if (this.earlierOf === key) this.earlier.replaceChildren(element("h3", {}, word("case.earlier")), body);
  }
}

function card(title, ...children) {
  return element("section", { class: "card" }, element("h3", {}, title), ...children);
}

function earlierRow(one, current) {
  const text = one.question || reasonWord(one.reason ?? "unsure");
  const facts = [brief(one.opened_at), one.channel, word(`outcome.${one.outcome ?? "open"}`)].filter(Boolean);
  const row = [element("span", { class: "earlier-text" }, text), element("span", { class: "soft" }, facts.join(" · "))];
  // An earlier case of the conversation that is open can be read where it is.
  if (one.conversation_id === current) return element("li", { class: "earlier-here" }, ...row);
  return element("li", {}, button("earlier-open", { class: "earlier-open", onclick: () => readOnly(one.conversation_id) }, ...row));
}

/** Show another conversation over the page, to be read only. */
async function readOnly(id) {
  const dialog = element("dialog", { class: "sheet wide", "aria-label": word("case.readOnly"), "data-testid": "read-only" });
  const transcript = new Transcript({ older: () => more(transcript, id) });
  const title = element("h2", {}, word("case.readOnly"));
  dialog.append(element("div", { class: "sheet-head" }, title, button("read-only-close", { class: "quiet", onclick: () => dialog.close() }, word("close"))), transcript.root);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  try {
    const found = await get(`conversations/${id}`);
    title.textContent = `${word("case.readOnly")}: ${customerOf(found)}`;
    transcript.add(found.transcript);
    transcript.hasOlder = found.has_older;
    transcript.toEnd();
  } catch {
    title.textContent = word("case.earlierFailed");
  }
}

async function more(transcript, id) {
  const found = await get(`conversations/${id}?before=${transcript.firstId}`).catch(() => ({ transcript: [], has_older: true }));
  transcript.addOlder(found.transcript, found.has_older);
}
