// DOM nodes of the desk. As on the chat page, nothing ever parses HTML from a text.

import { h } from "/chat/static/elements.js";

export { h as element, link, safeAddress } from "/chat/static/elements.js";

const ICONS = {
  assign: "M10 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM3 20a7 7 0 0 1 11-5.7M16 18h6M19 15l3 3-3 3",
  back: "M15 5l-7 7 7 7",
  bot: "M5 10a4 4 0 0 1 4-4h6a4 4 0 0 1 4 4v4a4 4 0 0 1-4 4h-3l-4 3v-3a4 4 0 0 1-3-4zM10 11v2M14 11v2",
  calm: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7v5l3 2",
  check: "M4.5 12.5l5 5 10-11",
  claim: "M7 11V6.5a1.5 1.5 0 0 1 3 0V11M10 11V4.5a1.5 1.5 0 0 1 3 0V11M13 11V5.5a1.5 1.5 0 0 1 3 0V12M16 12V8.5a1.5 1.5 0 0 1 3 0V15a6 6 0 0 1-6 6h-1.500a6 6 0 0 1-5-2.700L4 14.500a1.600 1.600 0 0 1 2.600-1.800L7 13.200",
  close: "M6 6l12 12M18 6L6 18",
  down: "M12 5v14M6 13l6 6 6-6",
  empty: "M4 13l2.500-8h11L20 13v6H4zM4 13h5l1 3h4l1-3h5",
  info: "M4 5h16v14H4zM14 5v14",
  long: "M12 4l9 16H3zM12 10v4M12 17v.2",
  menu: "M5 12h.01M12 12h.01M19 12h.01",
  note: "M5 4h14v10l-5 6H5zM14 20v-6h5",
  open: "M14 5h5v5M19 5l-8 8M18 14v4a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1h4",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.500 20.500a7.500 7.500 0 0 1 15 0",
  reply: "M10 8V4l-7 7 7 7v-4c5 0 8 1.500 11 5-.5-6-3.500-11-11-11z",
  returned: "M9 14l-5-5 5-5M4 9h10a6 6 0 0 1 0 12h-3",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM16 16l5 5",
  send: "M12 19V5M6 11l6-6 6 6",
  suggest: "M9.500 18h5M10 21h4M8.500 14.500a6 6 0 1 1 7 0c-.700.600-1 1.200-1 2h-5c0-.800-.300-1.400-1-2z",
};

/** A line icon that assistive technology does not see. */
export function icon(name) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(namespace, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button that is told from others by its test id. */
export function button(testid, attributes, ...children) {
  return h("button", { type: "button", "data-testid": testid, ...attributes }, ...children);
}

/** A labelled field: its label, the field and where its hint goes. */
export function field(label, input, hint) {
  return h("label", { class: "field" }, h("span", { class: "field-label" }, label), input, hint ? h("small", {}, hint) : null);
}

/** A bar for a number from 0 to 1, beside the number itself. */
export function bar(value) {
  const inner = h("i");
  // Not by an attribute: the policy of the page knows no inline style.
  inner.style.inlineSize = `${Math.round(Math.min(Math.max(value, 0), 1) * 100)}%`;
  return h("span", { class: "bar", "aria-hidden": "true" }, inner);
}
