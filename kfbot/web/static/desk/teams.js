// Teams: which channels and knowledge bases their agents look after.

import { get, put, remove } from "./api.js";
import { button, element, field } from "./elements.js";
import { deleteButton, formDialog, listHead, names, table } from "./forms.js";
import { complain, toast } from "./toast.js";
import { word } from "./words.js";

/** Fill a section with the list of teams. */
export async function teams(root) {
  const found = await get("teams");
  const again = () => teams(root);
  const add = button("add-team", { class: "primary", onclick: () => teamForm(null, again) }, word("teams.add"));
  const all = (list) => list.join(", ") || word("teams.all");
  const titles = [word("teams.name"), word("teams.channels"), word("teams.bases"), word("edit")];
  const rows = found.map((one) => [
    element("strong", {}, one.name),
    all(one.channels),
    all(one.knowledge_bases),
    element("span", { class: "acts" },
      button("edit-team", { class: "secondary", "aria-label": `${word("edit")}: ${one.name}`, onclick: () => teamForm(one, again) }, word("edit")),
      deleteButton(one.name, () => drop(one.name, again))),
  ]);
  const list = found.length ? table(word("people.teams"), titles, rows) : element("p", { class: "soft" }, word("teams.none"));
  root.replaceChildren(listHead(word("people.teams"), add), list);
}

function teamForm(one, again) {
  const input = (name, value, attributes = {}) => element("input", { name, value, maxlength: 500, autocomplete: "off", "data-testid": `team-${name}`, ...attributes });
  const fields = [
    one ? null : field(word("teams.name"), input("team", "", { required: true, maxlength: 60 })),
    field(word("teams.channels"), input("channels", one?.channels.join(", ") ?? ""), word("teams.hint")),
    field(word("teams.bases"), input("bases", one?.knowledge_bases.join(", ") ?? ""), word("teams.hint")),
  ].filter(Boolean);
  const send = async ({ team, channels, bases }) => {
    const name = one?.name ?? team.value.trim();
    await put(`teams/${encodeURIComponent(name)}`, { channels: names(channels.value), knowledge_bases: names(bases.value) });
    await again();
  };
  formDialog(one?.name ?? word("teams.add"), fields, send, word("teams.saved", { name: one?.name ?? "" }));
}

async function drop(name, again) {
  try {
    await remove(`teams/${encodeURIComponent(name)}`);
    toast(word("teams.deleted", { name }));
    await again();
  } catch (failure) {
    complain(failure);
  }
}
