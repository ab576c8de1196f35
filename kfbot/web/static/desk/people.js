// The people tab: agents, teams, canned answers, and who did what.

import { agents } from "./agents.js";
import { audit } from "./audit.js";
import { answers } from "./answers.js";
import { button, element } from "./elements.js";
import { teams } from "./teams.js";
import { reasonOf } from "./toast.js";

const PARTS = { agents, teams, canned: answers, audit };

/** Put the tab into a page; agents who are no admins have the canned answers only. */
export function mount(root, { agent, word }) {
  const open = agent.role === "admin" ? Object.keys(PARTS) : ["canned"];
  const body = element("div", { class: "people-body" });
  const tabs = open.map((name) => button(`people-${name}`, { class: "view", onclick: () => show(name) }, word(`people.${name}`)));
  let shown = open[0];

  async function show(name) {
    shown = name;
    tabs.forEach((tab, index) => tab.setAttribute("aria-pressed", String(open[index] === name)));
    const part = element("div", {});
    try {
      await PARTS[name](part, agent);
    } catch (failure) {
      part.replaceChildren(element("p", { class: "fault", role: "alert" }, reasonOf(failure)));
    }
    if (shown === name) body.replaceChildren(part);
  }

  const groups = tabs.length > 1 ? element("div", { class: "views people-tabs", role: "group", "aria-label": word("people") }, tabs) : null;
  root.replaceChildren(element("div", { class: "page", "data-testid": "people" }, groups, body));
  show(shown);
  return { refresh: () => show(shown), unmount: () => root.replaceChildren() };
}
