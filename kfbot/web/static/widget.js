// Puts the chat on any page: <script src="https://…/widget.js" async></script>
// data-lang="zh" or "en" on the tag sets the language; else the page's own, else the browser's.
(() => {
  "use strict";

  const script = document.currentScript;
  if (!script) return;
  const server = new URL(script.src).origin;
  const asked = script.dataset.lang || document.documentElement.lang || navigator.language;
  const language = asked.toLowerCase().startsWith("zh") ? "zh" : "en";
  const [openLabel, closeLabel, title] =
    language === "zh" ? ["打开在线客服", "关闭在线客服", "在线客服"] : ["Open chat", "Close chat", "Chat"];

  const CSS = `
    :host { all: initial; }
    * { box-sizing: border-box; }
    .launcher { position: fixed; right: 20px; bottom: 20px; z-index: 2147483000; display: grid; place-items: center;
      width: 56px; height: 56px; padding: 0; border: 0; border-radius: 50%; background: #0b6b61; color: #fff;
      box-shadow: 0 6px 20px rgb(0 0 0 / 25%); cursor: pointer; transition: scale 160ms, background 160ms; }
    .launcher:hover { background: #095a52; scale: 1.04; }
    .launcher:focus-visible { outline: 3px solid #fff; box-shadow: 0 0 0 6px #0b6b61; }
    .launcher svg { width: 28px; height: 28px; fill: none; stroke: currentcolor; stroke-width: 1.8;
      stroke-linecap: round; stroke-linejoin: round; }
    .launcher .cross, .launcher[aria-expanded="true"] .bubble { display: none; }
    .launcher[aria-expanded="true"] .cross { display: block; }
    .dot { position: absolute; top: 2px; right: 2px; width: 14px; height: 14px; border: 2px solid #fff;
      border-radius: 50%; background: #c43d25; }
    .panel { position: fixed; right: 20px; bottom: 90px; z-index: 2147483000; width: 400px;
      height: min(680px, calc(100vh - 110px)); overflow: hidden; border-radius: 20px; background: #f7f6f3;
      box-shadow: 0 12px 48px rgb(0 0 0 / 28%); animation: rise 180ms cubic-bezier(0.2, 0.7, 0.3, 1); }
    .panel[hidden], .dot[hidden] { display: none; }
    iframe { display: block; width: 100%; height: 100%; border: 0; }
    @keyframes rise { from { opacity: 0; transform: translateY(12px); } }
    @media (prefers-color-scheme: dark) { .panel { background: #131716; } }
    @media (max-width: 480px) {
      .panel { inset: 0; width: auto; height: auto; border-radius: 0; }
      .launcher[aria-expanded="true"] { display: none; }
    }
    @media (prefers-reduced-motion: reduce) { .panel { animation: none; } .launcher { transition: none; } }
  `;

  function shape(name, path) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("class", name);
    svg.setAttribute("aria-hidden", "true");
    line.setAttribute("d", path);
    svg.append(line);
    return svg;
  }

  function element(tag, attributes) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  const host = element("div", { "data-testid": "kfbot-widget" });
  // A constructed sheet: a page that forbids inline styles does not forbid this.
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(CSS);
  const root = host.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = [sheet];

  const launcher = element("button", {
    type: "button",
    class: "launcher",
    "data-testid": "launcher",
    "aria-expanded": "false",
    "aria-haspopup": "dialog",
  });
  const dot = element("span", { class: "dot" });
  dot.hidden = true;
  launcher.append(
    shape("bubble", "M5 10a4 4 0 0 1 4-4h6a4 4 0 0 1 4 4v4a4 4 0 0 1-4 4h-3l-4 3v-3a4 4 0 0 1-3-4zM10 11v2M14 11v2"),
    shape("cross", "M6 6l12 12M18 6L6 18"),
    dot,
  );
  const panel = element("div", { class: "panel", role: "dialog", "aria-label": title });
  panel.hidden = true;
  root.append(panel, launcher);
  let frame = null;

  const narrow = matchMedia("(max-width: 480px)");

  /** Where the panel covers the launcher, the page inside shows a button to close. */
  function tellLayout() {
    frame?.contentWindow.postMessage({ type: "kfbot:layout", full: narrow.matches }, server);
  }

  function show(open) {
    if (open && !frame) {
      frame = element("iframe", { title, src: `${server}/chat?embed=1&lang=${language}` });
      frame.addEventListener("load", () => {
        tellLayout();
        if (!panel.hidden) frame.focus();
      });
      panel.append(frame);
    }
    panel.hidden = !open;
    launcher.setAttribute("aria-expanded", String(open));
    launcher.setAttribute("aria-label", open ? closeLabel : openLabel);
    if (open) {
      dot.hidden = true;
      frame.focus();
    } else {
      launcher.focus();
    }
  }

  launcher.setAttribute("aria-label", openLabel);
  narrow.addEventListener("change", tellLayout);
  launcher.addEventListener("click", () => show(panel.hidden));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !panel.hidden) show(false);
  });
  window.addEventListener("message", (event) => {
    if (!frame || event.source !== frame.contentWindow || event.origin !== server) return;
    if (event.data?.type === "kfbot:close") show(false);
    if (event.data?.type === "kfbot:message" && panel.hidden) dot.hidden = false;
  });

  if (document.body) document.body.append(host);
  else document.addEventListener("DOMContentLoaded", () => document.body.append(host));
})();
