// Proposed entries: read, edited, approved or declined, by hand or by keys.

import { button, element } from "./elements.js";
import { full } from "./format.js";
import { editor } from "./learning-editor.js";
import { filter } from "./learning-filters.js";
import { keysAreOn } from "./shortcuts.js";
import { complain, toast } from "./toast.js";
import { word } from "./words.js";

const STATES = ["open", "approved", "declined"];
const MODIFIER = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";

/** Fill a section with the proposals of the chosen state and knowledge base. */
export async function proposals(root, tools) {
  const { api, chosen } = tools;
  const load = (before) => {
    const asked = new URLSearchParams({ state: chosen.state });
    if (chosen.knowledge_base) asked.set("knowledge_base", chosen.knowledge_base);
    if (before) asked.set("before", before);
    return api.get(`proposals?${asked}`);
  };
  const found = await load();
  tools.counted(found.open);
  const list = element("ul", { class: "learning-list", "data-testid": "proposals" });
  const isOpen = chosen.state === "open";
  const nothing = element("p", { class: "learning-empty" }, word(isOpen ? "learning.noneOpen" : "learning.none"));
  const more = button("more", { class: "secondary" }, word("learning.more"));
  const take = (page) => {
    list.append(...page.proposals.map((one) => card(one, page.knowledge_bases, tools, () => settle())));
    more.hidden = !page.next;
    more.onclick = () => load(page.next).then(take, complain);
    nothing.hidden = list.childElementCount > 0;
  };
  const settle = () => (list.childElementCount ? undefined : tools.again());
  take(found);
  list.addEventListener("keydown", keys);
  const hint = isOpen && tools.agent.role !== "viewer" && found.proposals.length ? element("p", { class: "soft learning-keys" }, word("learning.keys", { modifier: MODIFIER })) : null;
  root.replaceChildren(
    element("div", { class: "learning-filters" },
      filter("state", word("learning.state"), STATES.map((name) => [name, word(`learning.${name}`)]), tools),
      filter("knowledge_base", word("learning.knowledge"), [["", word("learning.allKnowledge")], ...found.knowledge_bases.map((name) => [name, name])], tools),
      hint),
    nothing, list, more,
  );
  return () => toFirst(list);
}

/** The keys work on the card that has the focus: the first one, unless the reader is elsewhere. */
function toFirst(list) {
  const isFree = !document.activeElement?.closest("input, textarea, select, dialog");
  if (isFree && keysAreOn()) list.firstElementChild?.focus({ preventScroll: true });
}

function card(one, names, tools, gone) {
  const mayWrite = one.state === "open" && tools.agent.role !== "viewer";
  const edited = editor(`proposal ${one.id}`, one, names, mayWrite);
  const fault = element("p", { class: "fault", role: "alert" });
  const root = element("li", { class: "card learning-card", tabindex: "-1", "data-testid": "proposal", "data-id": one.id });
  const decide = async (path, body, said) => {
    if (root.hasAttribute("aria-busy")) return;
    root.setAttribute("aria-busy", "true");
    fault.textContent = "";
    try {
      await tools.api.post(`proposals/${one.id}/${path}`, body);
      edited.done();
      leave(root);
      toast(word(said));
      tools.api.get("proposals/count").then(({ open }) => tools.counted(open), () => undefined);
      gone();
    } catch (failure) {
      root.removeAttribute("aria-busy");
      if (failure.status === 409) fault.textContent = word("learning.decided");
      else if (failure.status === 400) fault.textContent = failure.message;
      else complain(failure);
    }
  };
  const approve = () => {
    const body = edited.read();
    if (body.question && body.answer) return decide("approve", body, "learning.live");
    fault.textContent = word("learning.needed");
    return undefined;
  };
  const decline = () => decide("decline", {}, "learning.declinedNow");
  root.acts = mayWrite ? { approve, decline, edit: () => edited.answer.focus() } : {};
  const acts = mayWrite
    ? element("div", { class: "acts" }, button("approve", { class: "primary", onclick: approve }, word("learning.approve")), button("decline", { class: "quiet", onclick: decline }, word("learning.decline")))
    : null;
  root.append(edited.root);
  if (one.bot_said) root.append(element("details", { class: "bot-said" }, element("summary", {}, word("learning.botSaid")), element("p", { class: "plain" }, one.bot_said)));
  root.append(fault, element("div", { class: "learning-foot" }, facts(one, tools), acts ?? ""));
  return root;
}

/** Where it comes from, and who decided it. */
function facts(one, tools) {
  const from = one.conversation_id
    ? button("open-conversation", { class: "link", onclick: () => tools.open(one.conversation_id) }, `${word("learning.conversation")} ${one.conversation_id}`)
    : element("span", {}, word("learning.atDesk"));
  const said = [one.channel, full(one.created_at)].filter(Boolean).join(" · ");
  const decided = one.decided_by ? ` · ${word(`learning.${one.state}`)}: ${word("learning.by", { name: one.decided_by, time: full(one.decided_at) })}` : "";
  return element("p", { class: "soft" }, from, ` · ${said}${decided}`);
}

/** Take a card off the list; the next one is where the reader is. */
function leave(card) {
  const next = card.nextElementSibling ?? card.previousElementSibling;
  const hadFocus = card.contains(document.activeElement);
  card.remove();
  if (hadFocus) next?.focus();
}

function keys(event) {
  const card = event.target.closest?.(".learning-card");
  if (!card || event.isComposing || event.defaultPrevented) return;
  const isWriting = event.target.closest("input, textarea, select") !== null;
  let act = null;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) act = card.acts.approve;
  else if (event.key === "Escape" && isWriting) act = () => card.focus();
  else if (event.target === card && !event.ctrlKey && !event.metaKey && !event.altKey) act = single(card, event.key);
  if (!act) return;
  event.preventDefault();
  act();
}

/** What a key alone does while a card has the focus. */
function single(card, key) {
  const step = (other) => () => {
    other?.focus();
    other?.scrollIntoView({ block: "nearest" });
  };
  if (key === "ArrowDown") return step(card.nextElementSibling);
  if (key === "ArrowUp") return step(card.previousElementSibling);
  if (key === "Enter") return card.acts.edit;
  if (!keysAreOn()) return null;
  return { j: step(card.nextElementSibling), k: step(card.previousElementSibling), x: card.acts.decline }[key];
}
