// The list of conversations: views with counts, search, channel, and what is new.

import { get } from "./api.js";
import { button, element, icon } from "./elements.js";
import { brief, customerOf } from "./format.js";
import { read, write } from "./kept.js";
import { atMostEvery } from "./pace.js";
import { waitBadge } from "./waiting.js";
import { word } from "./words.js";

export const VIEWS = ["waiting", "mine", "all", "closed"];
const PAGE = 50;
const MOST_RELOADED = 200;
const SEARCH_AFTER_MS = 200;

export class Queue {
  /** `open(id, byKeyboard)` shows a conversation; `counted(counts)` hears of the counts. */
  constructor({ me, unread, open, counted }) {
    Object.assign(this, { me, unread, openConversation: open, counted });
    this.view = VIEWS.includes(read("view")) ? read("view") : "waiting";
    this.query = "";
    this.channel = "";
    this.channels = new Set();
    this.shown = new Map();
    this.order = [];
    this.next = null;
    this.selected = null;
    this.asked = 0;
    this.reload = atMostEvery(1000, () => this.load());
    this.root = this.#build();
  }

  #build() {
    this.tabs = new Map(VIEWS.map((view) => [view, this.#tab(view)]));
    this.searchField = element("input", {
      type: "search",
      class: "search",
      "data-testid": "search",
      placeholder: word("search.short"),
      "aria-label": word("search"),
      maxlength: 200,
      autocomplete: "off",
    });
    let timer;
    this.searchField.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.#ask({ query: this.searchField.value.trim() }), SEARCH_AFTER_MS);
    });
    this.searchField.addEventListener("keydown", (event) => this.#searchKey(event));
    this.channelField = element("select", { "aria-label": word("channel"), "data-testid": "channel", class: "channel", hidden: true });
    this.channelField.addEventListener("change", () => this.#ask({ channel: this.channelField.value }));
    this.list = element("ul", { class: "items", "data-testid": "queue-list" });
    this.empty = element("div", { class: "list-state", role: "status" });
    this.more = button("load-more", { class: "more", hidden: true, onclick: () => this.#loadMore() }, word("queue.more"));
    return element(
      "section",
      { class: "queue", "data-testid": "queue", "aria-label": word("queue") },
      element("div", { class: "views", role: "group", "aria-label": word("view.label") }, [...this.tabs.values()]),
      element("div", { class: "filters" }, element("span", { class: "search-box" }, icon("search"), this.searchField), this.channelField),
      element("div", { class: "list-scroller", tabindex: "-1" }, this.list, this.empty, this.more),
    );
  }

  #tab(view) {
    return button(
      `view-${view}`,
      { class: "view", "aria-pressed": String(view === this.view), onclick: () => this.show(view) },
      element("span", {}, word(`view.${view}`)),
      view === "closed" ? null : element("span", { class: "count", "data-count": view }),
    );
  }

  /** Change to another view. */
  show(view) {
    write("view", view);
    return this.#ask({ view });
  }

  #ask(changes) {
    Object.assign(this, changes);
    for (const [view, tab] of this.tabs) tab.setAttribute("aria-pressed", String(view === this.view));
    this.order = [];
    return this.load();
  }

  async #fetch(before) {
    const query = new URLSearchParams({ view: this.view, limit: PAGE });
    if (this.query) query.set("q", this.query);
    if (this.channel) query.set("channel", this.channel);
    if (before) query.set("before", before);
    return get(`conversations?${query}`);
  }

  /** Ask for as much as is shown, anew. */
  async load() {
    this.asked += 1;
    const turn = this.asked;
    const wanted = Math.min(this.order.length, MOST_RELOADED);
    const found = [];
    let next = null;
    try {
      do {
        const page = await this.#fetch(next);
        if (turn !== this.asked) return; // Another view was chosen meanwhile.
        found.push(...page.conversations);
        next = page.next;
        this.#count(page.counts);
      } while (next && found.length < wanted);
    } catch {
      if (turn === this.asked && !this.shown.size) this.#say(word("queue.failed"));
      return;
    }
    this.#draw(found, next);
  }

  async #loadMore() {
    const turn = this.asked;
    try {
      const page = await this.#fetch(this.next);
      if (turn !== this.asked) return;
      const known = new Set(this.order);
      const added = page.conversations.filter(({ id }) => !known.has(id));
      this.#draw([...this.order.map((id) => this.shown.get(id).summary), ...added], page.next);
    } catch {
      this.#say(word("queue.failed"));
    }
  }

  #count(counts) {
    for (const [view, count] of Object.entries(counts)) {
      const place = this.root.querySelector(`[data-count="${view}"]`);
      if (place) place.textContent = count || "";
    }
    this.counted(counts);
  }

  #draw(summaries, next) {
    this.next = next;
    this.more.hidden = !next;
    this.order = summaries.map(({ id }) => id);
    const kept = new Set(this.order);
    for (const [id, { row }] of this.shown) {
      if (kept.has(id)) continue;
      row.remove();
      this.shown.delete(id);
    }
    summaries.forEach((summary, index) => {
      const row = this.#row(summary);
      if (this.list.children[index] !== row) this.list.insertBefore(row, this.list.children[index] ?? null);
    });
    this.#learnChannels(summaries);
    if (summaries.length) this.#say("");
    else this.#say(this.query ? word("queue.none", { q: this.query }) : word(`queue.empty.${this.view}`));
  }

  /** Draw what is shown again, because of what was read or opened. */
  redraw() {
    for (const id of this.order) this.#row(this.shown.get(id).summary);
  }

  /** Take a newer state of one conversation, without asking for the list. */
  update(summary) {
    if (this.shown.has(summary.id)) this.#row({ ...this.shown.get(summary.id).summary, ...summary });
  }

  #row(summary) {
    const state = JSON.stringify([summary, this.unread.has(summary), summary.id === this.selected]);
    const known = this.shown.get(summary.id);
    if (known?.state === state) return known.row;
    const row = known?.row ?? element("li", {}, this.#link(summary.id));
    const link = row.firstElementChild;
    link.replaceChildren(...this.#content(summary));
    link.classList.toggle("unread", this.unread.has(summary));
    if (summary.id === this.selected) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
    this.shown.set(summary.id, { row, summary, state });
    return row;
  }

  #link(id) {
    const attributes = { href: `#/c/${id}`, class: "item", "data-testid": "queue-item", "data-id": id };
    const link = element("a", attributes);
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      this.openConversation(id, event.detail === 0);
    });
    return link;
  }

  #content(summary) {
    const time = summary.waiting_since && summary.state === "waiting"
      ? waitBadge(summary.waiting_since)
      : element("time", { class: "soft", datetime: summary.updated_at }, brief(summary.updated_at));
    const dot = this.unread.has(summary) ? element("span", { class: "dot" }, element("span", { class: "visually-hidden" }, word("queue.unread"))) : null;
    return [
      element("span", { class: "item-top" }, dot, element("strong", { class: "customer-name" }, customerOf(summary)), time),
      element("span", { class: "item-text" }, lastWords(summary)),
      element("span", { class: "item-foot" }, reasonMark(summary), this.#owner(summary), element("span", { class: "item-channel" }, summary.channel)),
    ];
  }

  #owner(summary) {
    const { me } = this;
    if (summary.state === "agent") {
      const own = summary.agent === me.name;
      return element("span", { class: own ? "owner own" : "owner" }, icon("person"), own ? word("queue.you") : summary.agent_name || summary.agent);
    }
    if (summary.state !== "waiting" || !summary.assigned_to) return null;
    const own = summary.assigned_to === me.name;
    const text = own ? word("queue.forYou") : word("queue.for", { name: summary.assigned_to });
    return element("span", { class: own ? "owner own" : "owner", "data-testid": own ? "for-me" : "for-other" }, icon("assign"), text);
  }

  #learnChannels(summaries) {
    const before = this.channels.size;
    for (const { channel } of summaries) this.channels.add(channel);
    if (this.channels.size === before) return;
    const options = [...this.channels].sort().map((name) => element("option", { value: name }, name));
    this.channelField.replaceChildren(element("option", { value: "" }, word("channel.all")), ...options);
    this.channelField.value = this.channel;
    this.channelField.hidden = this.channels.size < 2;
  }

  #say(text) {
    this.empty.textContent = text;
    this.empty.hidden = !text;
  }

  /** Mark the open conversation. */
  select(id) {
    this.selected = id;
    this.redraw();
  }

  /** Open the conversation `step` places further, and put the focus on it. */
  move(step) {
    if (!this.order.length) return;
    const at = this.order.indexOf(this.selected);
    const to = at < 0 ? (step > 0 ? 0 : this.order.length - 1) : Math.min(Math.max(at + step, 0), this.order.length - 1);
    const id = this.order[to];
    this.shown.get(id).row.firstElementChild.focus();
    this.openConversation(id, false);
  }

  /** Enter opens the first that was found, Escape ends the search. */
  #searchKey(event) {
    if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
    event.preventDefault();
    this.searchField.blur();
    if (event.key === "Enter") {
      this.selected = null;
      this.move(1);
    } else if (this.query || this.searchField.value) {
      this.searchField.value = "";
      this.#ask({ query: "" });
    }
  }

  focusSearch() {
    this.searchField.focus();
    this.searchField.select();
  }
}

function reasonMark(summary) {
  if (!summary.case || ["bot", "closed"].includes(summary.state)) return element("span", { class: "reason plain" }, stateWord(summary));
  return element("span", { class: "reason", "data-reason": summary.case.reason }, reasonWord(summary.case.reason));
}

/** Why a person was called; a reason that this page does not know stays as it is. */
export function reasonWord(reason) {
  const key = `reason.${reason}`;
  const found = word(key);
  return found === key ? reason.replaceAll("_", " ") : found;
}

/** Who has a conversation. */
export function stateWord({ state, agent, agent_name: name }) {
  return word(`state.${state}`, { name: name || agent });
}

function lastWords({ last_text: text, last_role: role, state, case: opened }) {
  // That the bot has called a person is plain; what was asked is not.
  if (state === "waiting" && role === "bot" && opened?.question) return opened.question.slice(0, 160);
  const words = (text ?? "").replace(/\s+/g, " ").slice(0, 160) || word("queue.noText");
  if (role === "bot") return word("queue.botSaid", { text: words });
  return role === "agent" ? word("queue.agentSaid", { text: words }) : words;
}
