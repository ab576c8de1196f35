// The people who sign in: who they are, what they may do, whether they are here.

import { presence } from "./actions.js";
import { get, patch, post } from "./api.js";
import { button, element, field } from "./elements.js";
import { formDialog, listHead, table } from "./forms.js";
import { word } from "./words.js";

const ROLES = ["agent", "admin", "viewer"];

/** Fill a section with the list of agents. */
export async function agents(root) {
  const [found, teams] = await Promise.all([get("agents"), get("teams")]);
  const again = () => agents(root);
  const add = button("add-agent", { class: "primary", onclick: () => agentForm(null, teams, again) }, word("agents.add"));
  const titles = ["agents.display", "agents.name", "agents.role", "agents.teams", "agents.state", "agents.openCases", "edit"].map((key) => word(key));
  const rows = found.map((one) => [
    element("strong", {}, one.display_name),
    one.name,
    word(`role.${one.role}`),
    teamNames(one).join(", ") || "–",
    stateOf(one),
    `${one.open_cases} / ${one.capacity}`,
    button("edit-agent", { class: "secondary", "aria-label": `${word("edit")}: ${one.display_name}`, onclick: () => agentForm(one, teams, again) }, word("edit")),
  ]);
  root.replaceChildren(listHead(word("people.agents"), add), table(word("people.agents"), titles, rows));
}

const nameOf = (team) => (typeof team === "string" ? team : team.name);
const teamNames = (agent) => (agent.teams ?? []).map(nameOf);

function stateOf(agent) {
  if (agent.active === false) return word("agents.inactive");
  const state = presence(agent);
  return element("span", { class: "presence-line" }, element("span", { class: `presence ${state}` }), word(`agent.${state}`));
}

function agentForm(one, teams, again) {
  const input = (name, attributes) => element("input", { name, maxlength: 100, "data-testid": `agent-${name}`, ...attributes });
  const role = element("select", { name: "role", "data-testid": "agent-role" }, ROLES.map((value) => element("option", { value, selected: value === (one?.role ?? "agent") }, word(`role.${value}`))));
  const active = element("input", { type: "checkbox", name: "active", checked: one?.active !== false });
  const fields = [
    one ? null : field(word("agents.name"), input("name", { required: true, autocomplete: "off", autocapitalize: "none" })),
    field(word("agents.display"), input("display", { required: true, value: one?.display_name ?? "", autocomplete: "off" })),
    field(word("agents.role"), role),
    teamBoxes(one, teams),
    field(word("agents.capacity"), input("capacity", { type: "number", min: 0, max: 100, required: true, value: one?.capacity ?? 5 })),
    field(word(one ? "agents.newPassword" : "agents.password"), input("password", { type: "password", required: !one, minlength: 10, maxlength: 200, autocomplete: "new-password" }), word("setup.hint")),
    one ? element("label", { class: "switch" }, element("span", {}, word("agents.active")), active) : null,
  ].filter(Boolean);
  const send = async (elements) => {
    await save(one, elements);
    await again();
  };
  formDialog(one ? one.display_name : word("agents.add"), fields, send, word("agents.saved", { name: one?.display_name ?? "" }).trim());
}

function teamBoxes(one, teams) {
  if (!teams.length) return null;
  const has = new Set(one ? teamNames(one) : []);
  const boxes = teams.map(({ name }) => element("label", {}, element("input", { type: "checkbox", name: "teams", value: name, checked: has.has(name) }), element("span", {}, name)));
  return element("fieldset", { class: "boxes" }, element("legend", {}, word("agents.teams")), boxes);
}

function save(one, elements) {
  const boxes = elements.teams ? [elements.teams].flatMap((list) => (list instanceof RadioNodeList ? [...list] : [list])) : [];
  const body = {
    display_name: elements.display.value.trim(),
    role: elements.role.value,
    capacity: Number(elements.capacity.value),
    teams: boxes.filter(({ checked }) => checked).map(({ value }) => value),
  };
  if (elements.password.value) body.password = elements.password.value;
  if (!one) return post("agents", { name: elements.name.value.trim(), ...body });
  return patch(`agents/${encodeURIComponent(one.name)}`, { ...body, active: elements.active.checked });
}
