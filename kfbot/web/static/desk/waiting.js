// How long a customer has waited: it ticks, and warns by shape and words as well as by colour.

import { element, icon } from "./elements.js";
import { duration } from "./format.js";
import { word } from "./words.js";

const LONG_MS = 3 * 60_000;
const LATE_MS = 10 * 60_000;
const TICK_MS = 5_000;

/** A badge that goes on counting for as long as it is in the page. */
export function waitBadge(since) {
  const badge = element("span", { class: "wait", "data-since": since, "data-testid": "wait" });
  draw(badge);
  return badge;
}

function draw(badge) {
  const waited = Math.max(0, Date.now() - new Date(badge.dataset.since).getTime());
  const level = waited >= LATE_MS ? "late" : waited >= LONG_MS ? "long" : "calm";
  const time = duration(waited);
  if (badge.dataset.level === level && badge.dataset.time === time) return;
  Object.assign(badge.dataset, { level, time });
  const spoken = word({ calm: "wait", long: "wait.long", late: "wait.late" }[level], { time });
  badge.title = spoken;
  badge.replaceChildren(
    icon(level === "calm" ? "calm" : "long"),
    element("span", { "aria-hidden": "true" }, level === "late" ? `${time}!` : time),
    element("span", { class: "visually-hidden" }, spoken),
  );
}

setInterval(() => document.querySelectorAll(".wait[data-since]").forEach(draw), TICK_MS);
