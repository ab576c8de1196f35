// Times and numbers as the reader's language writes them.

import { locale, word } from "./words.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const clockStyle = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const dateStyle = new Intl.DateTimeFormat(locale, { month: "short", day: "numeric" });
const longDateStyle = new Intl.DateTimeFormat(locale, { weekday: "long", month: "long", day: "numeric" });
const fullStyle = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
const percentStyle = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 0 });

export const clock = (time) => clockStyle.format(new Date(time));
export const full = (time) => fullStyle.format(new Date(time));
export const percent = (part) => percentStyle.format(part);

/** The clock for today, the date for earlier. */
export function brief(time) {
  const date = new Date(time);
  return date.toDateString() === new Date().toDateString() ? clock(date) : dateStyle.format(date);
}

/** Which day, in words. */
export function day(time) {
  const date = new Date(time).toDateString();
  if (date === new Date().toDateString()) return word("today");
  if (date === new Date(Date.now() - DAY).toDateString()) return word("yesterday");
  return longDateStyle.format(new Date(time));
}

/** How long, in whole minutes, hours or days. */
export function duration(milliseconds) {
  if (milliseconds < MINUTE) return word("time.now");
  if (milliseconds < HOUR) return word("time.minutes", { n: Math.floor(milliseconds / MINUTE) });
  const hours = Math.floor(milliseconds / HOUR);
  const minutes = Math.floor((milliseconds % HOUR) / MINUTE);
  if (hours < 6 && minutes) return word("time.hoursMinutes", { h: hours, n: minutes });
  if (milliseconds < 2 * DAY) return word("time.hours", { n: hours });
  return word("time.days", { n: Math.floor(milliseconds / DAY) });
}

/** How sure the bot was, as a word. */
export function sureness(confidence) {
  if (confidence >= 0.8) return word("sure");
  return confidence >= 0.5 ? word("sure.fairly") : word("sure.unsure");
}

/** What to call a customer. */
export const customerOf = ({ customer, id }) => customer || word("customer.unknown", { id });
