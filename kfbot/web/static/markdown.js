// CommonMark as far as answers use it, as DOM nodes. HTML in a text stays text, pictures
// become links, a line break stays one. Every step reads on, so time grows with length only.

import { h, link, safeAddress } from "./elements.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)(.*)$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})(?:([-+*])|(\d{1,9})[.)])(?:([ \t]+)(.*)|[ \t]*)$/;
const DEEPEST = 8;

/** The text as a fragment to put into the page. */
export function renderMarkdown(text) {
  const fragment = document.createDocumentFragment();
  blocks(String(text).replace(/\r\n?/g, "\n").split("\n"), fragment, 0);
  return fragment;
}

function blocks(lines, parent, depth) {
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) at += 1;
    else if (FENCE.test(lines[at])) at = fence(lines, at, parent);
    else if (HEADING.test(lines[at])) at = heading(lines, at, parent);
    else if (RULE.test(lines[at])) at = rule(at, parent);
    else if (QUOTE.test(lines[at]) && depth < DEEPEST) at = quote(lines, at, parent, depth);
    else if (ITEM.test(lines[at]) && depth < DEEPEST) at = list(lines, at, parent, depth);
    else at = paragraph(lines, at, parent);
  }
}

function fence(lines, start, parent) {
  const mark = FENCE.exec(lines[start])[1];
  let end = start + 1;
  while (end < lines.length) {
    const closing = FENCE.exec(lines[end])?.[1];
    if (closing?.startsWith(mark) && lines[end].trim() === closing) break;
    end += 1;
  }
  const code = h("code", {}, lines.slice(start + 1, end).join("\n"));
  // Long lines scroll sideways; whoever has no mouse needs the focus for that.
  parent.append(h("pre", { tabindex: "0" }, code));
  return end + 1;
}

function heading(lines, start, parent) {
  const [, marks, content] = HEADING.exec(lines[start]);
  const attributes = { role: "heading", "aria-level": Math.min(marks.length + 2, 6), class: "heading" };
  parent.append(inline(content.trim().replace(/ #+$/, ""), h("p", attributes)));
  return start + 1;
}

function rule(start, parent) {
  parent.append(h("hr"));
  return start + 1;
}

function quote(lines, start, parent, depth) {
  let end = start;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  const inside = lines.slice(start, end).map((line) => line.replace(QUOTE, ""));
  const element = h("blockquote");
  blocks(inside, element, depth + 1);
  parent.append(element);
  return end;
}

const kindOf = (item) => item[2] ?? "1";

function list(lines, start, parent, depth) {
  const first = ITEM.exec(lines[start]);
  const ordered = first[3] !== undefined;
  const element = h(ordered ? "ol" : "ul");
  if (ordered && Number(first[3]) !== 1) element.setAttribute("start", Number(first[3]));
  let at = start;
  while (at < lines.length) {
    const item = ITEM.exec(lines[at]);
    if (!item || kindOf(item) !== kindOf(first) || RULE.test(lines[at])) break;
    const { inside, end } = itemLines(lines, at, item);
    const child = h("li");
    blocks(inside, child, depth + 1);
    element.append(child);
    at = end;
  }
  parent.append(element);
  return at;
}

function itemLines(lines, start, item) {
  const content = item[5] ?? "";
  const indent = Math.max(lines[start].length - content.length, item[1].length + 2);
  const inside = [content];
  let end = start + 1;
  while (end < lines.length) {
    const line = lines[end];
    const blank = !line.trim();
    const indented = line.search(/[^ \t]/) >= Math.min(indent, item[1].length + 2);
    if (!blank && !indented && (interrupts(line) || !lines[end - 1].trim())) break;
    inside.push(indented ? line.replace(/^[ \t]+/, (space) => space.slice(indent)) : line);
    end += 1;
  }
  return { inside, end };
}

const interrupts = (line) =>
  FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line);

/** "2024. " at the start of a line is no list in the middle of a paragraph. */
const interruptsParagraph = (line) => {
  const item = ITEM.exec(line);
  return item ? Boolean(item[5]) && Number(item[3] ?? 1) === 1 : interrupts(line);
};

function paragraph(lines, start, parent) {
  let end = start + 1;
  while (end < lines.length && lines[end].trim() && !interruptsParagraph(lines[end])) end += 1;
  const text = lines.slice(start, end).map((line) => line.trim().replace(/\\$/, "")).join("\n");
  parent.append(inline(text, h("p")));
  return end;
}

// --- inside a paragraph ---------------------------------------------------------------------

const ESCAPED = /\\([!-/:-@[-`{-~])/y;
const CODE = /`+/y;
const AUTOLINK = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y;
const BARE = /https?:\/\/[\w\-.~:/?#[\]@!$&'()*+,;=%]{1,2000}/y;
const ENTITY = /&(amp|lt|gt|quot|apos|nbsp|#\d{1,7}|#x[\da-f]{1,6});/iy;
const MARKS = /\*\*|__|~~|\*|_/y;
const TARGET = /\(\s{0,99}(?:<([^<>\n]{0,2000})>|((?:[^\s<>()]|\([^\s<>()]{0,200}\)){0,2000}))(?:\s{1,99}(?:"[^"]{0,500}"|'[^']{0,500}'))?\s{0,99}\)/y;
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };
const TAGS = { "**": "strong", __: "strong", "*": "em", _: "em", "~~": "del" };
const LONGEST_LABEL = 1000;

const matchAt = (pattern, text, at) => {
  pattern.lastIndex = at;
  return pattern.exec(text);
};

/** Append the text to the element, with its emphasis, code and links. */
function inline(text, element, depth = 0) {
  const open = [{ mark: "", node: element }];
  const put = (...nodes) => open.at(-1).node.append(...nodes);
  const readers = [escaped, breaks, codeSpan, entity, links, emphasis];
  let plain = "";
  let at = 0;
  const flush = () => {
    if (plain) put(plain);
    plain = "";
  };
  while (at < text.length) {
    const next = /[\\\n`&<[!*_~]|https?:\/\//g;
    next.lastIndex = at;
    const special = next.exec(text)?.index ?? text.length;
    plain += text.slice(at, special);
    at = special;
    if (at === text.length) break;
    let length = 0;
    for (const reader of readers) {
      length = reader(text, at, { put, open, flush, depth });
      if (length) break;
    }
    if (!length) plain += text[at];
    at += length || 1;
  }
  flush();
  while (open.length > 1) unwrap(open);
  return element;
}

function escaped(text, at, { put, flush }) {
  const found = matchAt(ESCAPED, text, at);
  if (!found) return 0;
  flush();
  put(found[1]);
  return found[0].length;
}

function breaks(text, at, { put, flush }) {
  if (text[at] !== "\n") return 0;
  flush();
  put(h("br"));
  return 1;
}

function codeSpan(text, at, { put, flush }) {
  const ticks = matchAt(CODE, text, at)?.[0];
  if (!ticks) return 0;
  const pattern = new RegExp(`(?<!\`)${ticks}(?!\`)`, "g");
  pattern.lastIndex = at + ticks.length;
  const end = ticks.length > 8 ? undefined : pattern.exec(text)?.index;
  flush();
  if (end === undefined) {
    put(ticks);
    return ticks.length;
  }
  const content = text.slice(at + ticks.length, end).replace(/\n/g, " ");
  put(h("code", {}, /^ .*[^ ].* $/.test(content) ? content.slice(1, -1) : content));
  return end + ticks.length - at;
}

function entity(text, at, { put, flush }) {
  const found = matchAt(ENTITY, text, at);
  if (!found) return 0;
  const name = found[1].toLowerCase();
  const code = name.startsWith("#x") ? parseInt(name.slice(2), 16) : Number(name.slice(1));
  const numeric = code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : "\ufffd";
  flush();
  put(name.startsWith("#") ? numeric : ENTITIES[name]);
  return found[0].length;
}

function links(text, at, { put, flush, depth }) {
  if (depth > 0) return 0;
  const found = namedLink(text, at) ?? autolink(text, at);
  const address = found && safeAddress(found.address);
  if (!address) return 0;
  flush();
  const element = link(address);
  put(inline(found.label, element, 1));
  if (!element.textContent) element.textContent = found.address;
  return found.length;
}

function namedLink(text, at) {
  const start = text[at] === "!" ? at + 1 : at;
  if (text[start] !== "[") return null;
  let nested = 1;
  let end = start + 1;
  const last = Math.min(text.length, start + LONGEST_LABEL);
  for (; end < last && nested; end += 1) {
    if (text[end] === "\\") end += 1;
    else if (text[end] === "[") nested += 1;
    else if (text[end] === "]") nested -= 1;
  }
  const target = nested ? null : matchAt(TARGET, text, end);
  if (!target) return null;
  const label = text.slice(start + 1, end - 1);
  return { label, address: target[1] ?? target[2], length: end + target[0].length - at };
}

function autolink(text, at) {
  const angled = matchAt(AUTOLINK, text, at);
  if (angled) {
    const label = angled[1].replace(/^mailto:/i, "").replace(/[*_~`\\[\]]/g, "\\$&");
    return { label, address: angled[1], length: angled[0].length };
  }
  const bare = matchAt(BARE, text, at)?.[0];
  if (!bare) return null;
  const kept = bare.includes("(") ? /[.,;:!?'*\]]+$/ : /[.,;:!?'*)\]]+$/;
  const address = bare.replace(kept, "");
  return { label: address.replace(/[*_~`\\[\]]/g, "\\$&"), address, length: address.length };
}

const isWord = (character) => /[\p{L}\p{N}]/u.test(character);
const isSpace = (character) => !character || /\s/.test(character);

function emphasis(text, at, { put, open, flush }) {
  const mark = closingMark(text, at, open) ?? matchAt(MARKS, text, at)?.[0];
  if (!mark) return 0;
  const before = text[at - 1] ?? "";
  const after = text[at + mark.length] ?? "";
  const intraword = mark[0] === "_" && isWord(before) && isWord(after);
  flush();
  // Laxer than CommonMark beside punctuation: "**注意：**请先登录" is meant to be bold.
  const mayClose = !isSpace(before) && !intraword && open.some((one) => one.mark === mark);
  if (mayClose) {
    while (open.at(-1).mark !== mark) unwrap(open);
    const { node } = open.pop();
    if (node.childNodes.length) open.at(-1).node.append(node);
    else put(mark + mark);
  } else if (!isSpace(after) && !intraword && open.length < 16) {
    open.push({ mark, node: h(TAGS[mark]) });
  } else {
    put(mark);
  }
  return mark.length;
}

/** In "***" the mark that was opened last closes first. */
function closingMark(text, at, open) {
  const { mark } = open.at(-1);
  return mark && text.startsWith(mark[0].repeat(3), at) ? mark : null;
}

function unwrap(open) {
  const { mark, node } = open.pop();
  open.at(-1).node.append(mark, ...node.childNodes);
}
