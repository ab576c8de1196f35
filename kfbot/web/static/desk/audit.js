// Who did what, newest first.

import { get } from "./api.js";
import { button, element } from "./elements.js";
import { listHead, table } from "./forms.js";
import { full } from "./format.js";
import { complain } from "./toast.js";
import { word } from "./words.js";

/** Fill a section with the audit log. */
export async function audit(root) {
  const entries = [];
  const place = element("div", {});
  const more = button("audit-more", { class: "more", hidden: true, onclick: () => load().catch(complain) }, word("audit.more"));
  const titles = ["audit.at", "audit.actor", "audit.action", "audit.target", "audit.details"].map((key) => word(key));

  async function load() {
    const found = await get(entries.length ? `audit?before=${entries.at(-1).id}` : "audit");
    entries.push(...found);
    more.hidden = !found.length;
    place.replaceChildren(entries.length ? table(word("people.audit"), titles, entries.map(row)) : element("p", { class: "soft" }, word("audit.none")));
  }

  await load();
  root.replaceChildren(listHead(word("people.audit"), null), place, more);
}

function row({ at, actor, action, target, details }) {
  return [element("time", { datetime: at }, full(at)), actor, element("code", {}, action), target ?? "", written(details)];
}

function written(details) {
  if (!details || typeof details !== "object") return String(details ?? "");
  const text = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
  return Object.entries(details).map(([name, value]) => `${name}: ${text(value)}`).join(", ");
}
