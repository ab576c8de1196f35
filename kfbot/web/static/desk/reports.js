// The reports tab: what came in, who answered it, and how long customers waited.

import { lines, stackedBars } from "./charts.js";
import { element as h } from "./elements.js";
import { addWords, locale } from "./words.js";

addWords({
  en: {
    "reports.title": "Reports",
    "reports.span": "Period",
    "reports.days": "Last {count} days",
    "reports.from": "From",
    "reports.to": "To",
    "reports.own": "Own dates",
    "reports.channel": "Channel",
    "reports.knowledge": "Knowledge base",
    "reports.all": "All",
    "reports.csv": "Download CSV",
    "reports.questions": "Questions",
    "reports.byBot": "Answered by the bot",
    "reports.written": "Written by the chat model",
    "reports.ofAnswers": "of {count} answers; {tokens} tokens",
    "reports.toPerson": "Handed to a person",
    "reports.helpful": "Found helpful",
    "reports.firstReply": "First reply of a person",
    "reports.resolution": "Until solved",
    "reports.openCases": "Open cases",
    "reports.ofVerdicts": "of {count} verdicts",
    "reports.median": "median; nine of ten within {p90}",
    "reports.answer": "answered",
    "reports.clarify": "asked back",
    "reports.handoff": "handed off",
    "reports.smalltalk": "small talk",
    "reports.volume": "Questions by day, and what the bot made of them",
    "reports.waiting": "How long customers waited for a person’s first reply (median)",
    "reports.verdicts": "Verdicts of customers by day",
    "reports.notHelpful": "not helpful",
    "reports.helpfulOnes": "helpful",
    "reports.places": "By channel and knowledge base",
    "reports.reasons": "Why it was handed off",
    "reports.name": "Name",
    "reports.noKnowledge": "nothing found",
    "reports.incomplete": "There is more than is counted here: the oldest is missing. Choose a shorter period.",
    "reports.nothing": "Nothing happened in this time.",
    "reports.none": "–",
  },
  zh: {
    "reports.title": "报表",
    "reports.span": "时间",
    "reports.days": "最近 {count} 天",
    "reports.from": "从",
    "reports.to": "到",
    "reports.own": "自选日期",
    "reports.channel": "渠道",
    "reports.knowledge": "知识库",
    "reports.all": "全部",
    "reports.csv": "下载 CSV",
    "reports.questions": "提问",
    "reports.byBot": "机器人已回答",
    "reports.written": "由聊天模型撰写",
    "reports.ofAnswers": "共 {count} 个回答；{tokens} 个 token",
    "reports.toPerson": "转给人工",
    "reports.helpful": "认为有帮助",
    "reports.firstReply": "人工首次回复",
    "reports.resolution": "到解决为止",
    "reports.openCases": "未结工单",
    "reports.ofVerdicts": "共 {count} 次评价",
    "reports.median": "中位数；九成在 {p90} 之内",
    "reports.answer": "已回答",
    "reports.clarify": "反问",
    "reports.handoff": "转人工",
    "reports.smalltalk": "寒暄",
    "reports.volume": "每天的提问，以及机器人如何处理",
    "reports.waiting": "客户等待人工首次回复的时间（中位数）",
    "reports.verdicts": "每天的客户评价",
    "reports.notHelpful": "没有帮助",
    "reports.helpfulOnes": "有帮助",
    "reports.places": "按渠道和知识库",
    "reports.reasons": "转人工的原因",
    "reports.name": "名称",
    "reports.noKnowledge": "没有找到",
    "reports.incomplete": "数据量超过统计上限，最早的部分没有计入。请选择更短的时间。",
    "reports.nothing": "这段时间没有任何记录。",
    "reports.none": "–",
  },
});

const SPANS = [7, 30, 90, 365];
const DAY_MS = 86_400_000;
/** The server reports so many days at most. */
const LONGEST_DAYS = 366;
const DECISIONS = ["answer", "clarify", "handoff", "smalltalk"];

/** Draw the tab into `root`. */
export function mount(root, context) {
  const { api, word } = context;
  const chosen = { span: 30, from: "", to: "", channel: "", knowledge_base: "" };
  const controls = h("form", { class: "report-controls", onsubmit: (event) => event.preventDefault() });
  const page = h("div", { class: "report-page", "aria-live": "off" });
  root.replaceChildren(
    h("section", { class: "reports", "data-testid": "reports" }, h("h2", {}, word("reports.title")), controls, page),
  );
  let isCurrent = 0;

  async function refresh() {
    const asked = (isCurrent += 1);
    try {
      const data = await api.get(`reports?${query(chosen)}`);
      if (asked !== isCurrent) return;
      drawControls(controls, data, chosen, word, refresh);
      page.replaceChildren(...drawPage(data, word));
    } catch (failure) {
      if (asked === isCurrent) page.replaceChildren(h("p", { class: "report-notice", role: "alert" }, failure.message));
    }
  }

  refresh();
  return { refresh, unmount: () => (isCurrent += 1) };
}

function query(chosen) {
  const asked = new URLSearchParams({ zone: Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC" });
  if (chosen.span) {
    asked.set("from", isoDay(chosen.span - 1));
    asked.set("to", isoDay(0));
  } else {
    if (chosen.from) asked.set("from", chosen.from);
    if (chosen.to) asked.set("to", chosen.to);
  }
  for (const name of ["channel", "knowledge_base"]) if (chosen[name]) asked.set(name, chosen[name]);
  return asked;
}

/** The other end of the period follows where it would lie on the wrong side, or too far away. */
function moveAlong(chosen, moved) {
  const [from, to] = [Date.parse(chosen.from), Date.parse(chosen.to)];
  const span = (to - from) / DAY_MS;
  if (Number.isNaN(span) || (span >= 0 && span < LONGEST_DAYS)) return;
  const length = (span < 0 ? 0 : LONGEST_DAYS - 1) * DAY_MS;
  const other = moved === "from" ? from + length : to - length;
  chosen[moved === "from" ? "to" : "from"] = new Date(other).toISOString().slice(0, 10);
}

/** A day of the reader's own calendar, so many days ago. */
function isoDay(ago) {
  const day = new Date();
  day.setDate(day.getDate() - ago);
  return [day.getFullYear(), day.getMonth() + 1, day.getDate()].map((part) => String(part).padStart(2, "0")).join("-");
}

function drawControls(controls, data, chosen, word, refresh) {
  const focused = document.activeElement?.getAttribute("data-testid");
  const set = (name) => (event) => {
    chosen[name] = event.target.value;
    if (name === "from" || name === "to") moveAlong(chosen, name);
    refresh();
  };
  const span = select("report-span", word("reports.span"), chosen.span, [
    ...SPANS.map((count) => [count, word("reports.days", { count })]),
    [0, word("reports.own")],
  ], (event) => {
    chosen.span = Number(event.target.value);
    [chosen.from, chosen.to] = [data.days[0].day, data.days.at(-1).day];
    refresh();
  });
  const dates = chosen.span
    ? []
    : ["from", "to"].map((name) =>
        h("label", {}, h("span", {}, word(`reports.${name}`)),
          h("input", { type: "date", value: chosen[name], "data-testid": `report-${name}`, onchange: set(name) })),
      );
  const places = [
    ["channel", "reports.channel", data.choices.channels],
    ["knowledge_base", "reports.knowledge", data.choices.knowledge_bases],
  ].map(([name, key, found]) =>
    select(`report-${name}`, word(key), chosen[name], [["", word("reports.all")], ...found.map((one) => [one, one])], set(name)),
  );
  const address = `/desk/api/reports?${query(chosen)}&format=csv`;
  const csv = h("a", { class: "report-csv", href: address, download: true, "data-testid": "report-csv" }, word("reports.csv"));
  controls.replaceChildren(span, ...dates, ...places, csv);
  controls.querySelector(`[data-testid="${focused}"]`)?.focus();
}

function select(testid, label, value, options, onchange) {
  return h("label", {}, h("span", {}, label),
    h("select", { "data-testid": testid, onchange },
      options.map(([one, text]) => h("option", { value: one, selected: String(one) === String(value) }, text))));
}

function drawPage(data, word) {
  const parts = [];
  if (!data.is_complete) parts.push(h("p", { class: "report-notice", role: "status" }, word("reports.incomplete")));
  const { total } = data;
  if (!total.questions && !total.cases) {
    return [...parts, h("p", { class: "report-notice", "data-testid": "report-nothing" }, word("reports.nothing"))];
  }
  return [...parts, drawTiles(total, word), ...drawCharts(data, word), drawReasons(total, word), drawPlaces(data, word)];
}

function drawTiles(total, word) {
  const verdicts = total.helpful + total.not_helpful;
  const asked = total.questions - total.smalltalk;
  const spread = (name) => [
    duration(total[`${name}_median_seconds`], word),
    total[`${name}_p90_seconds`] === null ? "" : word("reports.median", { p90: duration(total[`${name}_p90_seconds`], word) }),
  ];
  const tiles = [
    ["questions", number(total.questions), ""],
    ["byBot", percent(total.answer, asked, word), number(total.answer)],
    // Where no chat model was asked there is nothing to tell of one.
    ...(total.tokens
      ? [["written", percent(total.written, total.answer, word), word("reports.ofAnswers", { count: number(total.answer), tokens: number(total.tokens) })]]
      : []),
    ["toPerson", percent(total.handoff, asked, word), number(total.handoff)],
    ["helpful", percent(total.helpful, verdicts, word), word("reports.ofVerdicts", { count: number(verdicts) })],
    ["firstReply", ...spread("first_reply")],
    ["resolution", ...spread("resolution")],
    ["openCases", number(total.open_cases), ""],
  ];
  return h("dl", { class: "report-tiles" }, tiles.map(([key, value, hint]) =>
    h("div", { "data-testid": `tile-${key}` }, h("dt", {}, word(`reports.${key}`)), h("dd", {}, h("strong", {}, value), hint ? h("small", {}, hint) : null))));
}

function drawCharts(data, word) {
  const days = data.days.map((one) => one.day);
  const series = (names, label) => names.map((name) => ({ name: label(name), values: data.days.map((one) => one[name]) }));
  const decisions = series(DECISIONS, (name) => word(`reports.${name}`));
  const verdicts = series(["helpful", "not_helpful"], (name) => word(name === "helpful" ? "reports.helpfulOnes" : "reports.notHelpful"));
  const waiting = series(["first_reply_median_seconds"], () => word("reports.firstReply"));
  const form = { label: dayName, number };
  const charts = [figure(word("reports.volume"), stackedBars(days, decisions, { ...form, title: word("reports.volume") }), decisions)];
  if (waiting[0].values.some((value) => value !== null)) {
    // One unit for the whole scale, so that its steps are round.
    const [seconds, unit] = unitOf(Math.max(...waiting[0].values));
    const values = waiting[0].values.map((value) => (value === null ? null : value / seconds));
    const scaled = [{ ...waiting[0], values }];
    const drawn = lines(days, scaled, { ...form, number: (value) => inUnit(value, unit), title: word("reports.waiting") });
    charts.push(figure(word("reports.waiting"), drawn, []));
  }
  if (verdicts.some((one) => one.values.some(Boolean))) {
    charts.push(figure(word("reports.verdicts"), stackedBars(days, verdicts, { ...form, title: word("reports.verdicts") }), verdicts, "verdicts"));
  }
  return charts;
}

function figure(title, chart, series, kind = "") {
  const legend = series.map((one, rank) => h("li", { class: `series-${rank + 1}` }, one.name));
  return h("figure", { class: `report-figure ${kind}` }, h("figcaption", {}, title, legend.length ? h("ul", { class: "legend" }, legend) : null), chart);
}

function drawReasons(total, word) {
  const rows = Object.entries(total.reasons).sort((one, other) => other[1] - one[1]);
  if (!rows.length) return h("div");
  return table(word("reports.reasons"), [word("reports.name"), word("reports.toPerson")],
    rows.map(([reason, count]) => [word(`reason.${reason}`), number(count)]));
}

function drawPlaces(data, word) {
  const heads = ["name", "questions", "byBot", "toPerson", "helpful", "firstReply", "resolution"].map((key) => word(`reports.${key}`));
  const rows = [...data.channels, ...data.knowledge_bases].map((one) => {
    const asked = one.questions - one.smalltalk;
    return [
      one.name || word("reports.noKnowledge"),
      number(one.questions),
      percent(one.answer, asked, word),
      percent(one.handoff, asked, word),
      percent(one.helpful, one.helpful + one.not_helpful, word),
      duration(one.first_reply_median_seconds, word),
      duration(one.resolution_median_seconds, word),
    ];
  });
  return table(word("reports.places"), heads, rows);
}

function table(title, heads, rows) {
  const cells = (row) => row.map((cell, place) => (place ? h("td", {}, cell) : h("th", { scope: "row" }, cell)));
  return h("div", { class: "report-table", tabindex: "0", role: "region", "aria-label": title },
    h("table", {}, h("caption", {}, title),
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, cells(row))))));
}

const number = (value) => new Intl.NumberFormat(locale, { maximumFractionDigits: 1 }).format(value);

function percent(part, whole, word) {
  return whole ? new Intl.NumberFormat(locale, { style: "percent" }).format(part / whole) : word("reports.none");
}

function dayName(day) {
  return new Intl.DateTimeFormat(locale, { month: "numeric", day: "numeric", timeZone: "UTC" }).format(new Date(`${day}T00:00:00Z`));
}

/** The unit that a duration is told in, and how many seconds it has. */
function unitOf(seconds) {
  if (seconds < 90) return [1, "second"];
  if (seconds < 5400) return [60, "minute"];
  return seconds < 129600 ? [3600, "hour"] : [86400, "day"];
}

function inUnit(value, unit) {
  return new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: value < 10 ? 1 : 0 }).format(value);
}

function duration(seconds, word) {
  if (seconds === null) return word("reports.none");
  const [length, unit] = unitOf(seconds);
  return inUnit(seconds / length, unit);
}
