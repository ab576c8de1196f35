// Keys that do things while nothing is being written, and the list of them.

import { button, element } from "./elements.js";
import { read, write } from "./kept.js";
import { word } from "./words.js";

const MODIFIER = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";
const GROUPS = [
  ["keys.list", [["j", "keys.next"], ["k", "keys.previous"], ["Enter", "keys.openIt"], ["1 2 3 4", "keys.views"], ["/", "keys.search"]]],
  ["keys.conversation", [["c", "keys.claim"], ["a", "keys.assign"], ["h", "keys.handback"], ["e", "keys.resolve"], ["i", "keys.case"]]],
  ["keys.writing", [["r", "keys.reply"], ["n", "keys.note"], ["d", "keys.draft"], ["/", "keys.canned"], [`${MODIFIER} Enter`, "keys.send"], ["Esc", "keys.leave"], ["?", "keys.help"]]],
];

export const keysAreOn = () => read("keys", true);
export const setKeys = (on) => write("keys", on);

/** True where a key is meant for what is written or chosen there. */
function isWriting(target) {
  return target.closest?.("input, textarea, select, [contenteditable]") !== null;
}

/** Call `actions[key]` for keys that are pressed outside of fields and dialogs. */
export function listen(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (isWriting(event.target) || document.querySelector("dialog:modal, [popover]:popover-open")) return;
    const action = actions[event.key];
    // Whoever speaks to their machine, or has it press keys, can switch single keys off.
    if (!action || (!keysAreOn() && event.key.length === 1 && event.key !== "?")) return;
    event.preventDefault();
    action();
  });
}

/** Show what the keys do. */
export function showHelp() {
  const dialog = element("dialog", { class: "sheet wide", "aria-label": word("keys.title"), "data-testid": "keys" });
  const groups = GROUPS.map(([title, keys]) => element("section", {}, element("h3", {}, word(title)), element("dl", {}, keys.map(row))));
  dialog.append(
    element("div", { class: "sheet-head" }, element("h2", {}, word("keys.title")), button("keys-close", { class: "quiet", onclick: () => dialog.close() }, word("close"))),
    element("div", { class: "key-groups" }, groups),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function row([keys, meaning]) {
  const caps = keys.split(" ").map((key) => element("kbd", {}, key));
  return element("div", {}, element("dt", {}, caps), element("dd", {}, word(meaning)));
}
