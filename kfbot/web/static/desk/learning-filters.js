// What narrows a list of the learning tab.

import { element } from "./elements.js";

/** A choice among `[value, label]`; what is chosen is kept in `chosen[name]` and drawn anew. */
export function filter(name, label, options, { chosen, again }) {
  const taken = (event) => {
    chosen[name] = event.target.value;
    again();
  };
  const shown = options.map(([value, text]) => element("option", { value, selected: String(value) === String(chosen[name]) }, text));
  return element("label", { class: "learning-filter" }, element("span", {}, label), element("select", { "data-testid": `filter-${name}`, onchange: taken }, shown));
}
