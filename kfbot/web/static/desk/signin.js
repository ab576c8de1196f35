// Signing in: at the start, at the very first visit, and over the page when a session has ended.

import { Failure, keep, post } from "./api.js";
import { element, field, icon } from "./elements.js";
import { reasonOf } from "./toast.js";
import { choose, language, word } from "./words.js";

/** A whole page to sign in or to set up; resolves to the session. */
export function signInPage(root, isFirstVisit) {
  return new Promise((resolve) => {
    const form = isFirstVisit ? setupForm(resolve) : signInForm("sign.title", null, resolve);
    const other = language === "zh" ? "en" : "zh";
    const change = element("button", { type: "button", class: "link", "data-testid": "language", lang: other === "zh" ? "zh-CN" : "en", onclick: () => choose(other) }, other === "zh" ? "中文" : "English");
    root.replaceChildren(element("main", { class: "entrance" }, element("div", { class: "entrance-box" },
      element("p", { class: "brand" }, element("span", { class: "logo" }, icon("bot")), word("title")), form, change)));
    form.querySelector("input").focus();
  });
}

/** A dialog to sign in again; resolves once it is done. What lies beneath stays as it is. */
export function signInAgain(name) {
  return new Promise((resolve) => {
    const dialog = element("dialog", { class: "sheet", "aria-label": word("sign.again"), "data-testid": "sign-in-again" });
    const before = document.activeElement;
    const done = (session) => {
      dialog.close();
      dialog.remove();
      // Somebody else must not go on with what this agent had open.
      if (session.agent.name !== name) return location.reload();
      before?.focus();
      return resolve(session);
    };
    const form = signInForm("sign.again", word("sign.againText"), done, name);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.append(form);
    document.body.append(dialog);
    dialog.showModal();
    form.elements.password.focus();
  });
}

function input(testid, attributes) {
  return element("input", { "data-testid": testid, required: true, maxlength: 200, ...attributes });
}

function signInForm(title, text, done, name = "") {
  const fields = [
    field(word("sign.name"), input("sign-in-name", { name: "name", autocomplete: "username", value: name, autocapitalize: "none", spellcheck: "false" })),
    field(word("sign.password"), input("sign-in-password", { name: "password", type: "password", autocomplete: "current-password" })),
  ];
  const send = ({ name: { value }, password }) => post("session", { name: value.trim(), password: password.value });
  return form({ title, text, fields, label: "sign.in", testid: "sign-in", send, done });
}

function setupForm(done) {
  const password = (testid, name) => input(testid, { name, type: "password", autocomplete: "new-password", minlength: 10 });
  const fields = [
    field(word("sign.name"), input("setup-name", { name: "name", autocomplete: "username", autocapitalize: "none", spellcheck: "false" })),
    field(word("setup.display"), input("setup-display-name", { name: "display", autocomplete: "name" })),
    field(word("sign.password"), password("setup-password", "password"), word("setup.hint")),
    field(word("setup.repeat"), password("setup-repeat", "repeat")),
  ];
  const send = ({ name, display, password: first, repeat }) => {
    if (first.value !== repeat.value) throw new Failure(-1, word("setup.mismatch"));
    return post("setup", { name: name.value.trim(), display_name: display.value.trim(), password: first.value });
  };
  return form({ title: "setup.title", text: word("setup.text"), fields, label: "setup.make", testid: "setup", send, done });
}

function form({ title, text, fields, label, testid, send, done }) {
  const fault = element("p", { class: "fault", role: "alert", "data-testid": "sign-in-fault" });
  const submit = element("button", { type: "submit", class: "primary", "data-testid": testid }, word(label));
  const shown = element("form", { class: "sign-in" }, element("h1", {}, word(title)), text ? element("p", { class: "soft" }, text) : null, ...fields, fault, submit);
  shown.addEventListener("submit", async (event) => {
    event.preventDefault();
    fault.textContent = "";
    submit.disabled = true;
    try {
      const session = await send(shown.elements);
      keep(session);
      done(session);
    } catch (failure) {
      // What the server says of names and passwords is meant to be read.
      fault.textContent = [0, 429].includes(failure.status) ? reasonOf(failure) : failure.message;
      submit.disabled = false;
      shown.elements.password.focus();
    }
  });
  return shown;
}
