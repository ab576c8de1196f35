// The learning tab: proposed entries, what was asked in vain, entries that were added, exports.

import { button, element } from "./elements.js";
import "./learning-words.js";
import { entries } from "./learning-entries.js";
import { proposals } from "./learning-proposals.js";
import { unanswered } from "./learning-unanswered.js";
import { reasonOf } from "./toast.js";
import { word } from "./words.js";

const BADGE_MS = 60_000;
const FORMATS = ["questions", "sft", "preferences", "entries"];
const PARTS = { proposals, unanswered, entries, export: exports };
let showCount = () => undefined;

/** Show the number of open proposals on the tab, and keep it true. */
export function badge(tab, api) {
  const count = element("span", { class: "learning-badge", "data-testid": "learning-badge" });
  count.hidden = true;
  tab.append(count);
  showCount = (open) => {
    count.hidden = open === 0;
    count.replaceChildren(
      element("span", { "aria-hidden": "true" }, String(open)),
      element("span", { class: "visually-hidden" }, word("learning.openCount", { count: open })),
    );
  };
  const look = () => document.hidden || api.get("proposals/count").then(({ open }) => showCount(open), () => undefined);
  look();
  setInterval(look, BADGE_MS);
}

/** Put the tab into a page. */
export function mount(root, context) {
  const names = Object.keys(PARTS).filter((name) => name !== "export" || context.agent.role === "admin");
  const tabs = names.map((name) => button(`learning-${name}`, { class: "view", onclick: () => show(name) }, word(`learning.${name}`)));
  const body = element("div", { class: "learning-body" });
  const chosen = { state: "open", knowledge_base: "", days: 7 };
  let shown = names[0];
  let isMounted = true;

  async function show(name) {
    shown = name;
    tabs.forEach((tab, index) => tab.setAttribute("aria-pressed", String(names[index] === name)));
    const part = element("section", { "aria-label": word(`learning.${name}`) });
    const tools = { ...context, chosen, counted: showCount, go: show, again: () => show(name) };
    body.setAttribute("aria-busy", "true");
    let drawn;
    try {
      drawn = await PARTS[name](part, tools);
    } catch (failure) {
      part.replaceChildren(element("p", { class: "fault", role: "alert" }, reasonOf(failure)));
    }
    body.removeAttribute("aria-busy");
    if (!isMounted || shown !== name) return;
    body.replaceChildren(part);
    drawn?.();
  }

  const groups = element("div", { class: "views learning-tabs", role: "group", "aria-label": word("learning.title") }, tabs);
  root.replaceChildren(
    element("main", { class: "page learning", "data-testid": "learning", tabindex: "-1" },
      element("h1", { class: "visually-hidden" }, word("learning.title")), groups, body),
  );
  show(shown);
  return {
    refresh: () => show(shown),
    unmount: () => {
      isMounted = false;
      root.replaceChildren();
    },
  };
}

async function exports(root) {
  const links = FORMATS.map((format) =>
    element("li", {}, element("a", { href: `/desk/api/learned.jsonl?format=${format}`, download: true, "data-testid": `export-${format}` }, word(`learning.export.${format}`))),
  );
  root.replaceChildren(element("p", { class: "soft" }, word("learning.exportText")), element("ul", { class: "learning-exports" }, links));
}
