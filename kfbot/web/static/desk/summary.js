// What an open case is about, above its transcript: a model's words, or the customer's own.

import { element } from "./elements.js";
import { read, write } from "./kept.js";
import { word } from "./words.js";

/** `summary`: `{by, text, questions}` as the server has it. */
export function summaryBox({ by, text, questions }) {
  const body = by === "model"
    ? element("p", { class: "plain", "data-testid": "summary-text" }, text)
    : element("ul", { "data-testid": "summary-questions" }, questions.map((one) => element("li", {}, one)));
  const head = element("summary", {}, word(`summary.${by}`));
  const box = element("details", { class: "summary", "data-testid": "summary", "data-by": by }, head, body);
  box.open = read("summary", true) !== false;
  // Not at "toggle", which comes later, and also where nobody chose anything: by then another box
  // may stand here, made from what was kept before.
  head.addEventListener("click", () => write("summary", !box.open));
  return box;
}
