// What an agent does with a conversation, and what is said where a colleague was quicker.

import { Failure, get, post } from "./api.js";
import { button, element, icon } from "./elements.js";
import { complain, toast } from "./toast.js";
import { word } from "./words.js";

/** Which actions a conversation offers this agent, in their order. */
export function offered({ state, agent }, me) {
  if (me.role === "viewer") return [];
  const isMine = state === "agent" && agent === me.name;
  // A colleague's case changes hands first: by a transfer, which may be to oneself.
  if (state === "agent" && !isMine) return ["assign"];
  const actions = [];
  if (!isMine) actions.push("claim");
  if (state === "waiting" || state === "agent") actions.push("assign", "handback");
  if (state !== "closed") actions.push("resolve");
  return actions;
}

/** Claim, hand back or resolve; gives the new state, or null where it was not done. */
export function perform(action, id, me) {
  return attempt(id, me, () => post(`conversations/${id}/${action}`), () => word(`${action}.done`));
}

/** Give a conversation to a colleague, or back to the queue. */
export function assign(id, colleague, me) {
  const done = () => (colleague ? word("assign.done", { name: colleague.display_name }) : word("assign.returned"));
  return attempt(id, me, () => post(`conversations/${id}/assign`, { agent: colleague?.name ?? null }), done);
}

async function attempt(id, me, act, done) {
  try {
    const summary = await act();
    toast(done());
    return summary;
  } catch (failure) {
    if (failure instanceof Failure && failure.status === 409) await tellRace(id, me);
    else complain(failure);
    return null;
  }
}

/** Say who was quicker. */
async function tellRace(id, me) {
  const now = await get(`conversations/${id}`).catch(() => null);
  const name = now?.state === "agent" && now.agent !== me.name ? now.agent_name || now.agent : null;
  toast(name ? word("race", { name }) : word("race.unknown"), { bad: true });
}

/** A dialog to choose a colleague from: who is at the desk comes first. Resolves to undefined if left. */
export async function chooseColleague(me) {
  let colleagues;
  try {
    colleagues = await get("agents");
  } catch (failure) {
    complain(failure);
    return undefined;
  }
  const able = colleagues.filter(({ active, role }) => active !== false && role !== "viewer");
  const rank = (one) => ["present", "away", "absent"].indexOf(presence(one));
  able.sort((a, b) => rank(a) - rank(b) || a.open_cases - b.open_cases || a.display_name.localeCompare(b.display_name));
  return new Promise((resolve) => showChoice(able, me, resolve));
}

function showChoice(able, me, resolve) {
  let chosen;
  const dialog = element("dialog", { class: "sheet assign", "aria-label": word("assign.title"), "data-testid": "assign-dialog" });
  const choose = (colleague) => {
    chosen = colleague;
    dialog.close();
  };
  const search = element("input", { type: "search", "aria-label": word("assign.search"), placeholder: word("assign.search"), "data-testid": "assign-search" });
  const list = element("ul", { class: "choices" });
  const draw = () => {
    const query = search.value.trim().toLowerCase();
    const fits = able.filter(({ name, display_name: shown }) => `${name}\n${shown}`.toLowerCase().includes(query));
    const back = query ? [] : [element("li", {}, button("assign-queue", { class: "choice", onclick: () => choose(null) }, icon("returned"), word("assign.queue")))];
    const none = element("li", { class: "soft" }, word("assign.none"));
    list.replaceChildren(...(fits.length ? fits.map((one) => colleagueRow(one, me, choose)) : [none]), ...back);
  };
  search.addEventListener("input", draw);
  search.addEventListener("keydown", (event) => event.key === "Enter" && !event.isComposing && list.querySelector("button")?.click());
  dialog.addEventListener("keydown", (event) => step(event, dialog));
  dialog.addEventListener("close", () => {
    dialog.remove();
    resolve(chosen);
  });
  dialog.append(element("h2", {}, word("assign.title")), search, list, button("assign-cancel", { class: "quiet", onclick: () => dialog.close() }, word("cancel")));
  draw();
  document.body.append(dialog);
  dialog.showModal();
}

/** "present", "away" or "absent". */
export const presence = ({ present, away }) => (away ? "away" : present ? "present" : "absent");

function colleagueRow(colleague, me, choose) {
  const state = presence(colleague);
  const name = colleague.name === me.name ? word("assign.me", { name: colleague.display_name }) : colleague.display_name;
  return element("li", {}, button("assign-to", { class: "choice", "data-name": colleague.name, onclick: () => choose(colleague) },
    element("span", { class: `presence ${state}` }),
    element("strong", {}, name),
    element("span", { class: "soft" }, `${word(`agent.${state}`)} · ${word("agent.cases", { count: colleague.open_cases })}`)));
}

/** Arrow keys go through what can be chosen. */
function step(event, dialog) {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  const stops = [...dialog.querySelectorAll("input, .choice")];
  stops[(stops.indexOf(document.activeElement) + by + stops.length) % stops.length].focus();
}
