// The agent's own settings: language, appearance, sound, keys, name, password, signing out.

import { keep, patch, remove } from "./api.js";
import { allowNotifications, chime, notificationsAreOn, setSound, soundIsOn } from "./attention.js";
import { button, element, field } from "./elements.js";
import { formDialog } from "./forms.js";
import { read, write } from "./kept.js";
import { keysAreOn, setKeys, showHelp } from "./shortcuts.js";
import { complain } from "./toast.js";
import { choose, language, word } from "./words.js";

/** The button at the end of the bar, and the menu that it opens. */
export function accountMenu(me, { settingsChanged }) {
  const panel = element(
    "div",
    { class: "menu", id: "account-menu", popover: "auto", "data-testid": "menu" },
    element("p", { class: "menu-who" }, element("strong", {}, me.display_name), element("span", { class: "soft" }, `${me.name} · ${word(`role.${me.role}`)}`)),
    choices("language", "menu.language", [["zh", "中文"], ["en", "English"]], language, choose),
    choices("theme", "menu.theme", [["system", word("theme.system")], ["light", word("theme.light")], ["dark", word("theme.dark")]], read("theme", "system"), setTheme),
    toggle("sound", "menu.sound", soundIsOn(), (on) => {
      setSound(on);
      if (on) chime();
    }),
    toggle("enter-sends", "menu.enter", read("enter", false), (on) => {
      write("enter", on);
      settingsChanged();
    }),
    toggle("single-keys", "menu.keys", keysAreOn(), setKeys),
    notifications(),
    item("help", "menu.help", () => showHelp()),
    item("change-name", "menu.display", () => nameDialog(me)),
    item("change-password", "menu.password", passwordDialog),
    item("sign-out", "sign.out", signOut),
  );
  const initial = [...me.display_name][0]?.toUpperCase() ?? "?";
  const opener = button("menu-open", { class: "avatar", popovertarget: "account-menu", "aria-label": word("menu.open"), title: word("menu.open") }, initial);
  return [opener, panel];
}

function setTheme(theme) {
  write("theme", theme);
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

function choices(testid, label, options, chosen, set) {
  const name = `menu-${testid}`;
  const radio = ([value, text]) => {
    const input = element("input", { type: "radio", name, value, checked: value === chosen, "data-testid": `${testid}-${value}` });
    input.addEventListener("change", () => set(value));
    return element("label", {}, input, element("span", {}, text));
  };
  return element("fieldset", { class: "segments", "data-testid": testid }, element("legend", {}, word(label)), element("div", {}, options.map(radio)));
}

function toggle(testid, label, isOn, set) {
  const input = element("input", { type: "checkbox", role: "switch", checked: isOn, "data-testid": testid });
  input.addEventListener("change", () => set(input.checked));
  return element("label", { class: "switch" }, element("span", {}, word(label)), input);
}

function notifications() {
  if (!("Notification" in window)) return null;
  if (Notification.permission === "denied") return element("p", { class: "soft menu-note" }, word("menu.notifyDenied"));
  if (Notification.permission === "granted") return toggle("notify", "menu.notify", notificationsAreOn(), (on) => write("notify", on));
  const ask = item("notify-ask", "menu.notifyAsk", async () => {
    await allowNotifications();
    ask.replaceWith(notifications());
  });
  return ask;
}

function item(testid, label, run) {
  const act = () => {
    if (testid !== "notify-ask") document.getElementById("account-menu").hidePopover();
    run();
  };
  return button(testid, { class: "menu-item", onclick: act }, word(label));
}

async function signOut() {
  try {
    await remove("session");
  } catch (failure) {
    if (failure.status !== 401) return complain(failure);
  }
  return location.reload();
}

function nameDialog(me) {
  const input = element("input", { name: "display", value: me.display_name, required: true, maxlength: 100, "data-testid": "display-name" });
  formDialog(word("menu.display"), [field(word("menu.display"), input)], async ({ display }) => {
    const session = await patch("session", { display_name: display.value.trim() });
    keep(session);
    Object.assign(me, session.agent);
  }, word("display.changed"));
}

function passwordDialog() {
  const password = (name, autocomplete, attributes) => element("input", { type: "password", name, autocomplete, required: true, maxlength: 200, ...attributes });
  const fields = [
    field(word("password.old"), password("old", "current-password", {})),
    field(word("password.new"), password("fresh", "new-password", { minlength: 10 }), word("setup.hint")),
  ];
  formDialog(word("menu.password"), fields, async ({ old, fresh }) => {
    keep(await patch("session", { password: { old: old.value, new: fresh.value } }));
  }, word("password.changed"));
}
