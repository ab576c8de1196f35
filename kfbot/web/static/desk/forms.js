// Small forms over the page, and what stands in tables beside them.

import { button, element } from "./elements.js";
import { reasonOf, toast } from "./toast.js";
import { word } from "./words.js";

/** A form over the page; `send(elements)` does it, then `said` is told. */
export function formDialog(title, fields, send, said) {
  const dialog = element("dialog", { class: "sheet", "aria-label": title, "data-testid": "form" });
  const fault = element("p", { class: "fault", role: "alert" });
  const save = element("button", { type: "submit", class: "primary", "data-testid": "form-save" }, word("save"));
  const cancel = button("form-cancel", { class: "quiet", onclick: () => dialog.close() }, word("cancel"));
  const form = element("form", { class: "sign-in" }, element("h2", {}, title), ...fields, fault, element("div", { class: "acts" }, save, cancel));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    save.disabled = true;
    try {
      await send(form.elements);
      dialog.close();
      toast(said);
    } catch (failure) {
      fault.textContent = failure.status === 0 ? reasonOf(failure) : failure.message;
      save.disabled = false;
    }
  });
  dialog.addEventListener("close", () => dialog.remove());
  dialog.append(form);
  document.body.append(dialog);
  dialog.showModal();
}

/** A button that deletes at the second click. */
export function deleteButton(name, run) {
  const label = `${word("delete")}: ${name}`;
  const act = () => {
    if (shown.dataset.asked) return run();
    shown.dataset.asked = "yes";
    shown.textContent = word("delete.sure");
    shown.removeAttribute("aria-label");
    return undefined;
  };
  const shown = button("delete", { class: "quiet", "aria-label": label, onclick: act }, word("delete"));
  shown.addEventListener("blur", () => {
    delete shown.dataset.asked;
    shown.textContent = word("delete");
    shown.setAttribute("aria-label", label);
  });
  return shown;
}

/** A table whose columns are named by `titles`. */
export function table(label, titles, rows) {
  const head = element("tr", {}, titles.map((title) => element("th", { scope: "col" }, title)));
  const cells = (row) => row.map((cell, index) => element("td", { "data-label": titles[index] }, cell));
  return element(
    "div",
    { class: "table-box", tabindex: "0", role: "region", "aria-label": label },
    element("table", {}, element("thead", {}, head), element("tbody", {}, rows.map((row) => element("tr", {}, cells(row))))),
  );
}

/** The head of a list: its name and what can be added. */
export function listHead(title, add) {
  return element("div", { class: "list-head" }, element("h2", {}, title), add);
}

/** "a, b" as names. */
export const names = (text) => text.split(/[,，、]/).map((name) => name.trim()).filter(Boolean);
