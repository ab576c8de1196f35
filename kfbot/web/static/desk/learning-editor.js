// Question and answer side by side, with what belongs to them: edited in place.

import { element, field } from "./elements.js";
import { word } from "./words.js";

// What was typed and not sent yet, by the editor's key: it outlives a change of tabs.
const typed = new Map();

/** An editor of `{question, answer, variants, knowledge_base}`. `key` tells it from others. */
export function editor(key, values, names, mayWrite) {
  const shown = { ...values, ...typed.get(key) };
  const locked = { readonly: !mayWrite };
  const question = element("textarea", { rows: 2, maxlength: 2000, "data-testid": "question", ...locked }, shown.question);
  const answer = element("textarea", { rows: 5, maxlength: 20_000, "data-testid": "answer", ...locked }, shown.answer);
  const variants = element("textarea", { rows: 3, "data-testid": "variants", ...locked }, shown.variants.join("\n"));
  const choice = knowledgeBases(names, shown.knowledge_base || names[0], !mayWrite);
  const more = element("details", { open: shown.variants.length > 0 }, element("summary", {}, word("learning.variants")), variants);
  variants.setAttribute("aria-label", word("learning.variants"));
  const root = element(
    "div",
    { class: "pair" },
    element("div", { class: "pair-side" }, field(word("learning.question"), question), more, field(word("learning.knowledge"), choice)),
    element("div", { class: "pair-side" }, field(word("learning.answer"), answer)),
  );
  const read = () => ({
    question: question.value.trim(),
    answer: answer.value.trim(),
    variants: variants.value.split("\n").map((line) => line.trim()).filter(Boolean),
    knowledge_base: choice.value,
  });
  root.addEventListener("input", () => typed.set(key, read()));
  return { root, question, answer, read, done: () => typed.delete(key) };
}

function knowledgeBases(names, chosen, isLocked) {
  // What a proposal names may not be configured any more.
  const all = names.includes(chosen) || !chosen ? names : [chosen, ...names];
  const options = all.map((name) => element("option", { value: name, selected: name === chosen }, name));
  return element("select", { "data-testid": "knowledge-base", disabled: isLocked }, options);
}
