// Canned answers by "/" in the answer field: filtered as one writes, chosen by arrow keys.

import { get } from "./api.js";
import { element } from "./elements.js";
import { word } from "./words.js";

const SLASH = /(?:^|\s)\/([^\s/]*)$/;
const MOST = 8;

export class CannedMenu {
  /** Offers answers at `field`; `chosen()` hears that the text of the field has changed. */
  constructor(field, chosen) {
    Object.assign(this, { field, chosen });
    this.all = null;
    this.at = 0;
    this.offered = [];
    this.list = element("ul", { class: "canned", id: "canned-list", role: "listbox", "aria-label": word("canned"), "data-testid": "canned", hidden: true });
    this.said = element("p", { class: "canned canned-none", role: "status", hidden: true });
    for (const [name, value] of Object.entries({ "aria-autocomplete": "list", "aria-controls": "canned-list" })) field.setAttribute(name, value);
    field.addEventListener("input", () => this.update());
    field.addEventListener("blur", () => this.close());
  }

  get isOpen() {
    return !this.list.hidden;
  }

  /** Forget the answers: somebody may have changed them. */
  forget() {
    this.all = null;
  }

  async update() {
    const found = this.#asked();
    if (found === null) return this.close();
    if (this.all === null) {
      this.#say(word("canned.loading"));
      try {
        this.all = await get("canned");
      } catch {
        return this.close();
      }
      if (this.#asked() === null) return this.close();
    }
    return this.#offer(this.#asked().toLowerCase());
  }

  #asked() {
    const { selectionStart, selectionEnd, value } = this.field;
    if (selectionStart !== selectionEnd) return null;
    return SLASH.exec(value.slice(0, selectionStart))?.[1] ?? null;
  }

  #offer(query) {
    const matches = (one) => `${one.title}\n${one.text}`.toLowerCase().includes(query);
    const starts = (one) => (one.title.toLowerCase().startsWith(query) ? 0 : 1);
    this.offered = this.all.filter(matches).sort((a, b) => starts(a) - starts(b)).slice(0, MOST);
    if (!this.offered.length) {
      this.list.hidden = true;
      return this.#say(this.all.length ? word("canned.none", { q: query }) : word("canned.empty"));
    }
    this.said.hidden = true;
    this.list.replaceChildren(...this.offered.map((one, index) => this.#option(one, index)));
    this.list.hidden = false;
    return this.#mark(0);
  }

  #option(one, index) {
    const option = element("li", { role: "option", id: `canned-${index}`, "data-testid": "canned-option" },
      element("strong", {}, one.title), element("span", {}, one.text));
    // Before the field loses the focus.
    option.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      this.#choose(index);
    });
    return option;
  }

  #mark(at) {
    this.at = (at + this.offered.length) % this.offered.length;
    [...this.list.children].forEach((option, index) => option.setAttribute("aria-selected", String(index === this.at)));
    this.list.children[this.at].scrollIntoView({ block: "nearest" });
    this.field.setAttribute("aria-activedescendant", `canned-${this.at}`);
  }

  #say(text) {
    this.said.textContent = text;
    this.said.hidden = false;
  }

  /** True where the key was meant for the menu. */
  key(event) {
    if (!this.isOpen) return false;
    if (event.key === "ArrowDown") this.#mark(this.at + 1);
    else if (event.key === "ArrowUp") this.#mark(this.at - 1);
    else if ((event.key === "Enter" && !event.ctrlKey && !event.metaKey) || event.key === "Tab") this.#choose(this.at);
    else if (event.key === "Escape") this.close();
    else return false;
    event.preventDefault();
    event.stopPropagation();
    return true;
  }

  #choose(index) {
    const { field } = this;
    const end = field.selectionStart;
    const start = end - this.#asked().length - 1;
    field.setRangeText(this.offered[index].text, start, end, "end");
    this.close();
    this.chosen();
  }

  close() {
    this.list.hidden = true;
    this.said.hidden = true;
    this.field.removeAttribute("aria-activedescendant");
  }
}
