// The shell of the desk: who is signed in, the bar with its tabs, and the page's address.

import * as api from "./api.js";
import { showTitle } from "./attention.js";
import { Desk } from "./desk.js";
import { button, element, icon } from "./elements.js";
import { accountMenu } from "./menu.js";
import { Push } from "./push.js";
import { listen, showHelp } from "./shortcuts.js";
import { signInAgain, signInPage } from "./signin.js";
import { complain, toast, toasts } from "./toast.js";
import { language, locale, word } from "./words.js";

const app = document.getElementById("app");
const OTHER_TABS = { learning: "./learning.js", reports: "./reports.js", people: "./people.js" };
const OWN_STYLES = new Set(["learning", "reports"]);

showTitle();
start();

async function start() {
  let session = null;
  while (session === null) {
    try {
      session = await api.get("session");
    } catch {
      app.replaceChildren(element("p", { class: "starting", role: "status" }, word("failure.0")));
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
  api.keep(session);
  if (!session.agent) session = await signInPage(app, session.first_visit);
  new Shell(session.agent).open();
}

class Shell {
  constructor(me) {
    this.me = me;
    this.tab = null;
    this.mounted = null;
    this.tabs = new Map();
    this.desk = new Desk(me, (id) => this.go(id === null ? "" : `/c/${id}`));
    this.push = new Push({
      ready: () => this.desk.ready(),
      queue: () => this.desk.changedSomewhere(),
      conversation: ({ id }) => this.desk.changedIn(Number(id)),
      typing: ({ id }) => this.desk.view.typing(Number(id)),
      assigned: (data) => this.desk.assigned(data),
      online: (isOnline) => this.#showOnline(isOnline),
    });
    api.onSignedOut(() => signInAgain(me.name));
  }

  open() {
    this.pane = element("div", { class: "pane" });
    this.nav = element("nav", { class: "tabs", "aria-label": word("tab.label") });
    this.connection = element("p", { class: "connection", role: "status", "data-testid": "connection" });
    this.away = button("away", { class: "here", onclick: () => this.#setAway() });
    const skip = element("a", { class: "skip", href: "#main" }, word("skip"));
    skip.addEventListener("click", (event) => {
      event.preventDefault();
      document.getElementById("main")?.focus();
    });
    const [opener, menu] = accountMenu(this.me, { settingsChanged: () => this.#redrawComposer() });
    const title = element("h1", { class: "visually-hidden" }, word("title"));
    const bar = element("header", { class: "bar" }, skip, element("span", { class: "logo" }, icon("bot")), title, this.nav, this.connection, this.away, opener, menu);
    app.replaceChildren(bar, this.pane);
    document.body.append(toasts);
    this.#addTab("desk");
    this.#drawAway();
    this.#showOnline(true);
    this.#listen();
    this.#follow();
    this.push.open();
    this.#findOtherTabs();
  }

  #listen() {
    window.addEventListener("hashchange", () => this.#follow());
    window.addEventListener("focus", () => this.desk.looked());
    const keys = this.desk.keys();
    const onDesk = Object.entries(keys).map(([key, act]) => [key, () => this.tab === "desk" && act()]);
    listen({ ...Object.fromEntries(onDesk), "?": showHelp, Escape: () => this.desk.escape() });
  }

  // --- tabs ------------------------------------------------------------------------------------

  #addTab(name) {
    const label = name === "people" && this.me.role !== "admin" ? word("people.canned") : word(`tab.${name}`);
    const tab = element("a", { href: name === "desk" ? "#/" : `#/${name}`, class: "tab", "data-testid": `tab-${name}` }, label);
    this.tabs.set(name, tab);
    this.nav.append(tab);
  }

  /** Parts that are not there have no tab. */
  async #findOtherTabs() {
    for (const [name, file] of Object.entries(OTHER_TABS)) {
      try {
        const module = await import(file);
        if (OWN_STYLES.has(name)) document.head.append(element("link", { rel: "stylesheet", href: `/desk/static/${name}.css` }));
        this[name] = module;
        this.#addTab(name);
        module.badge?.(this.tabs.get(name), api);
      } catch {
        continue;
      }
      if (location.hash === `#/${name}`) this.#follow();
    }
  }

  /** Go to an address of the page; resolves once it is shown. */
  go(address) {
    const hash = `#${address || "/"}`;
    if (location.hash === hash) return this.#follow();
    // A step through the list is no step to go back by.
    const isStep = hash.startsWith("#/c/") && location.hash.startsWith("#/c/");
    history[isStep ? "replaceState" : "pushState"](null, "", hash);
    return this.#follow();
  }

  async #follow() {
    const [, first, second] = location.hash.slice(1).split("/");
    const name = first && first !== "c" && this[first]?.mount ? first : "desk";
    if (name !== this.tab) this.#show(name);
    if (name === "desk") await this.desk.show(first === "c" && Number(second) > 0 ? Number(second) : null);
  }

  #show(name) {
    this.mounted?.unmount();
    this.mounted = null;
    this.tab = name;
    for (const [one, tab] of this.tabs) {
      if (one === name) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
    }
    if (name === "desk") return this.pane.replaceChildren(this.desk.root);
    const place = element("div", { class: "tab-place", id: "main", tabindex: "-1" });
    this.pane.replaceChildren(place);
    const context = { api, word, language, locale, agent: this.me, open: (id) => this.go(`/c/${id}`) };
    this.mounted = this[name].mount(place, context);
    // One landmark: some tabs bring their own.
    if (!place.querySelector("main")) place.setAttribute("role", "main");
    return undefined;
  }

  // --- the bar ---------------------------------------------------------------------------------

  #showOnline(isOnline) {
    this.connection.classList.toggle("off", !isOnline);
    this.connection.replaceChildren(
      element("span", { class: "connection-dot" }),
      element("span", { class: "connection-text" }, word(isOnline ? "connection.on" : "connection.off")),
    );
  }

  #drawAway() {
    const { away, role } = this.me;
    this.away.hidden = role === "viewer";
    this.away.setAttribute("aria-pressed", String(away));
    this.away.title = word(away ? "away.toHere" : "away.toAway");
    this.away.setAttribute("aria-label", this.away.title);
    this.away.replaceChildren(element("span", { class: `presence ${away ? "away" : "present"}` }), element("span", { class: "away-text" }, word(away ? "away.away" : "away.here")));
  }

  async #setAway() {
    try {
      const session = await api.patch("session", { away: !this.me.away });
      api.keep(session);
      Object.assign(this.me, session.agent);
      this.#drawAway();
      toast(word(this.me.away ? "away.saved" : "here.saved"));
    } catch (failure) {
      complain(failure);
    }
  }

  #redrawComposer() {
    const { view } = this.desk;
    if (view.conversation) view.composer.show(view.conversation);
  }
}
