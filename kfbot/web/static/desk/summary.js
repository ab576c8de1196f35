// What an open case is about, above its transcript: a model's words, or the customer's own.

import { element } from "./elements.js";
import { read, write } from "./kept.js";
import { word } from "./words.js";

/** `summary`: `{by, text, questions}` as the server has it. */
export function summaryBox({ by, text, questions }) {
  const body = by === "model"
    ? element("p", { class: "plain", "data-testid": "summary-text" }, text)
    : element("ul", { "data-testid": "summary-questions" }, questions.map((one) => element("li", {}, one)));
  const box = element("details", { class: "summary", "data-testid": "summary", "data-by": by }, element("summary", {}, word(`summary.${by}`)), body);
  box.open = read("summary", true) !== false;
  box.addEventListener("toggle", () => write("summary", box.open));
  return box;
}
