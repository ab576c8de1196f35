// The canned answers: made, changed and deleted by those who write to customers.

import { get, post, put, remove } from "./api.js";
import { button, element, field } from "./elements.js";
import { deleteButton, formDialog, listHead } from "./forms.js";
import { brief } from "./format.js";
import { complain, toast } from "./toast.js";
import { word } from "./words.js";

/** Fill a section with the list of canned answers. */
export async function answers(root, agent) {
  const found = await get("canned");
  const again = () => answers(root, agent);
  const mayWrite = agent.role !== "viewer";
  const add = mayWrite ? button("add-canned", { class: "primary", onclick: () => cannedForm(null, again) }, word("canned.add")) : null;
  const list = found.length
    ? element("ul", { class: "canned-list" }, found.map((one) => row(one, mayWrite, again)))
    : element("p", { class: "soft" }, word("canned.nothing"));
  root.replaceChildren(listHead(word("people.canned"), add), list);
}

function row(one, mayWrite, again) {
  const facts = [one.updated_by && word("canned.changed", { name: one.updated_by }), one.updated_at && brief(one.updated_at)].filter(Boolean);
  const acts = element("div", { class: "acts" },
    button("edit-canned", { class: "secondary", "aria-label": `${word("edit")}: ${one.title}`, onclick: () => cannedForm(one, again) }, word("edit")),
    deleteButton(one.title, () => drop(one.id, again)));
  return element("li", { class: "card", "data-testid": "canned-row" },
    element("div", { class: "list-head" }, element("h3", {}, `/${one.title}`), mayWrite ? acts : null),
    element("p", { class: "plain" }, one.text),
    element("p", { class: "soft" }, facts.join(" · ")));
}

function cannedForm(one, again) {
  const fields = [
    field(word("canned.title"), element("input", { name: "headline", value: one?.title ?? "", required: true, maxlength: 100, autocomplete: "off", "data-testid": "canned-title" })),
    field(word("canned.text"), element("textarea", { name: "text", required: true, rows: 6, maxlength: 20_000, "data-testid": "canned-text" }, one?.text ?? "")),
  ];
  const send = async ({ headline, text }) => {
    const body = { title: headline.value.trim(), text: text.value.trim() };
    await (one ? put(`canned/${one.id}`, body) : post("canned", body));
    await again();
  };
  formDialog(one?.title ?? word("canned.add"), fields, send, word("canned.saved"));
}

async function drop(id, again) {
  try {
    await remove(`canned/${id}`);
    toast(word("canned.deleted"));
    await again();
  } catch (failure) {
    complain(failure);
  }
}
