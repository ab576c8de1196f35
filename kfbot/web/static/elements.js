// Builds DOM nodes. Nothing in this page ever parses HTML from a text.

/** An element with attributes, `on…` listeners and children; null and false are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const ICONS = {
  bot: ["M5 10a4 4 0 0 1 4-4h6a4 4 0 0 1 4 4v4a4 4 0 0 1-4 4h-3l-4 3v-3a4 4 0 0 1-3-4z", "M10 11v2M14 11v2"],
  down: ["M12 5v14M6 13l6 6 6-6"],
  helpful: ["M7 11v9H4v-9zM7 11l4-8a2.5 2.5 0 0 1 2 3l-.8 4H18a2 2 0 0 1 2 2.3l-1 6A2 2 0 0 1 17 20H7"],
  notHelpful: ["M17 13V4h3v9zM17 13l-4 8a2.5 2.5 0 0 1-2-3l.8-4H6a2 2 0 0 1-2-2.3l1-6A2 2 0 0 1 7 4h10"],
  open: ["M14 5h5v5M19 5l-8 8M18 14v4a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1h4"],
  person: ["M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20.5a7.5 7.5 0 0 1 15 0"],
  retry: ["M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4"],
};

/** A line icon that assistive technology does not see. */
export function icon(name) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  for (const shape of ICONS[name]) {
    const path = document.createElementNS(namespace, "path");
    path.setAttribute("d", shape);
    svg.append(path);
  }
  return svg;
}

const LINKS = new Set(["http:", "https:", "mailto:"]);

/** The address if it may become a link, else null: scripts and data never do. */
export function safeAddress(address, allowed = LINKS) {
  try {
    const url = new URL(address);
    return allowed.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** A link to another site, opened beside this page. */
export function link(address, ...children) {
  const attributes = { href: address, target: "_blank", rel: "noopener noreferrer" };
  return h("a", attributes, ...children);
}
