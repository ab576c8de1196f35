// Every word of the desk, in the reader's language. `{name}` stands for a value.

import { read, write } from "./kept.js";
import { en } from "./words-en.js";
import { zh } from "./words-zh.js";

const WORDS = { en: { ...en }, zh: { ...zh } };

/** "zh" or "en": what was chosen here, else the first language of the browser. */
export const language = WORDS[read("language")] ? read("language") : /^zh/i.test(navigator.language) ? "zh" : "en";

/** For dates and numbers. */
export const locale =
  language === "zh" ? "zh-CN" : navigator.language.startsWith("en") ? navigator.language : "en";

document.documentElement.lang = language === "zh" ? "zh-CN" : "en";

/** Remember a language; the page is drawn anew in it. */
export function choose(name) {
  write("language", name);
  location.reload();
}

/** Add a tab's own words: `{en: {key: text}, zh: {…}}`. */
export function addWords(more) {
  for (const name of Object.keys(WORDS)) Object.assign(WORDS[name], more[name]);
}

/** The text of a key; `key.one` is taken where `values.count` is 1. */
export function word(key, values = {}) {
  const words = WORDS[language];
  const text = (values.count === 1 && words[`${key}.one`]) || words[key] || WORDS.en[key] || key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}
