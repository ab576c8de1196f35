// Short news at the edge of the page, read out as it comes.

import { Failure } from "./api.js";
import { button, element, icon } from "./elements.js";
import { word } from "./words.js";

const SHOWN_MS = 6_000;
const place = element("div", { class: "toasts", role: "status", "aria-live": "polite" });

/** Where toasts appear. */
export const toasts = place;

/** Say something. `action` is `{label, run}`; `bad` marks what went wrong. */
export function toast(text, { action, bad = false } = {}) {
  const gone = () => shown.remove();
  const act = action && element("button", { type: "button", class: "link", onclick: () => (gone(), action.run()) }, action.label);
  const shown = element(
    "div",
    { class: bad ? "toast bad" : "toast", "data-testid": "toast" },
    icon(bad ? "long" : "check"),
    element("span", { class: "toast-text" }, text),
    act ?? null,
    button("toast-close", { class: "bare", "aria-label": word("close"), onclick: gone }, icon("close")),
  );
  // Inside an open dialog, or it would lie beneath it.
  const home = document.querySelector("dialog:modal") ?? document.body;
  if (place.parentElement !== home) home.append(place);
  place.append(shown);
  while (place.childElementCount > 3) place.firstElementChild.remove();
  setTimeout(gone, SHOWN_MS);
}

/** What went wrong, in the reader's language. */
export function reasonOf(failure) {
  if (!(failure instanceof Failure)) return word("failure.other", { message: failure.message });
  const key = { 0: "failure.0", 403: "failure.403", 404: "failure.404", 429: "failure.429" }[failure.status];
  return word(key ?? "failure.other", { message: failure.message });
}

/** Tell what went wrong. */
export function complain(failure) {
  toast(reasonOf(failure), { bad: true });
}
