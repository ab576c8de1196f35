// Charts of a span of days as SVG: bars that stand on one another, and lines. Colours are the
// style sheet's (`.series-1`, …); each mark names itself to a pointer.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 720;
const HEIGHT = 220;
const LEFT = 64;
const BOTTOM = 24;
const TOP = 10;
/** So many days are named below a chart at most. */
const NAMED_DAYS = 8;

/** Bars by day. `series`: `{name, values}`, the first at the bottom; `label(day)` names a day. */
export function stackedBars(days, series, { label, number, title }) {
  const sums = days.map((_, place) => series.reduce((sum, one) => sum + one.values[place], 0));
  const frame = drawFrame(days, Math.max(...sums, 1), { label, number, title, isWhole: true });
  const step = (WIDTH - LEFT) / days.length;
  const width = Math.max(Math.min(step * 0.72, 48), 1);
  days.forEach((day, place) => {
    let below = 0;
    series.forEach((one, rank) => {
      const value = one.values[place];
      if (!value) return;
      const top = frame.y(below + value);
      const bar = shape("rect", {
        x: LEFT + step * place + (step - width) / 2,
        y: top,
        width,
        height: Math.max(frame.y(below) - top, 0.5),
        class: `series-${rank + 1}`,
      });
      bar.append(named(`${label(day)} · ${one.name}: ${number(value)}`));
      frame.svg.append(bar);
      below += value;
    });
  });
  return frame.svg;
}

/** Lines by day; a value of null is a gap. `most`: where the scale ends at least. */
export function lines(days, series, { label, number, title, most = 0 }) {
  const known = series.flatMap((one) => one.values).filter((value) => value !== null);
  const frame = drawFrame(days, Math.max(...known, most) || 1, { label, number, title });
  const step = (WIDTH - LEFT) / days.length;
  series.forEach((one, rank) => {
    const points = one.values.map((value, place) =>
      value === null ? null : [LEFT + step * (place + 0.5), frame.y(value), value, place],
    );
    frame.svg.append(shape("path", { d: path(points), class: `line series-${rank + 1}` }));
    for (const point of points) {
      if (!point) continue;
      const dot = shape("circle", { cx: point[0], cy: point[1], r: 3.5, class: `dot series-${rank + 1}` });
      dot.append(named(`${label(days[point[3]])} · ${one.name}: ${number(point[2])}`));
      frame.svg.append(dot);
    }
  });
  return frame.svg;
}

/** The steps of a scale: three to six round numbers from 0 on, the last one at or above `most`. */
export function scale(most, isWhole = false) {
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const nice = [1, 2, 2.5, 5, 10].map((times) => times * power).find((one) => one >= rough);
  const step = isWhole ? Math.max(Math.ceil(nice), 1) : nice;
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, place) => place * step);
}

function drawFrame(days, most, { label, number, title, isWhole }) {
  const steps = scale(most, isWhole);
  const y = (value) => HEIGHT - BOTTOM - ((HEIGHT - BOTTOM - TOP) * value) / steps.at(-1);
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": title });
  for (const value of steps) {
    svg.append(shape("line", { x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value), class: "grid" }));
    svg.append(written(number(value), { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }));
  }
  const every = Math.ceil(days.length / NAMED_DAYS);
  const step = (WIDTH - LEFT) / days.length;
  days.forEach((day, place) => {
    if (place % every) return;
    const x = LEFT + step * (place + 0.5);
    svg.append(written(label(day), { x, y: HEIGHT - 6, "text-anchor": "middle" }));
  });
  return { svg, y };
}

function path(points) {
  let isOpen = false;
  return points
    .map((point) => {
      if (!point) {
        isOpen = false;
        return "";
      }
      const command = `${isOpen ? "L" : "M"}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
      isOpen = true;
      return command;
    })
    .join(" ");
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function written(text, attributes) {
  const made = shape("text", attributes);
  made.textContent = text;
  return made;
}

function named(text) {
  const made = shape("title", {});
  made.textContent = text;
  return made;
}
