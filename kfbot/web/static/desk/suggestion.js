// "Suggest a reply": asks the server what the knowledge base says, and shows what it rests on.

import { post } from "./api.js";
import { button, element, icon, link, safeAddress } from "./elements.js";
import { complain } from "./toast.js";
import { word } from "./words.js";

export class Suggester {
  /** `take(text)` puts a text where the agent writes; nothing is ever sent from here. */
  constructor({ take }) {
    this.take = take;
    this.id = null;
    this.label = element("span", {}, word("suggest"));
    this.button = button("suggest", { class: "suggest quiet", title: word("suggest.hint"), onclick: () => this.#ask() }, icon("suggest"), this.label);
    this.said = element("div", { class: "suggested", role: "status", "data-testid": "suggested" });
  }

  /** Suggest for this conversation from now on. */
  show(id) {
    this.id = id;
    this.clear();
    this.#working(false);
  }

  clear() {
    this.said.replaceChildren();
  }

  #working(isWorking) {
    this.button.disabled = isWorking;
    this.label.textContent = word(isWorking ? "suggest.working" : "suggest");
  }

  async #ask() {
    const { id } = this;
    this.clear();
    this.#working(true);
    try {
      const suggestion = await post(`conversations/${id}/suggest`);
      if (this.id === id) this.#show(suggestion);
    } catch (failure) {
      if (this.id === id) complain(failure);
    } finally {
      if (this.id === id) this.#working(false);
    }
  }

  #show({ text, by, sources }) {
    if (text) this.take(text);
    const list = element("ul", {}, sources.map((one) => element("li", {}, source(one))));
    this.said.replaceChildren(element("p", {}, word(`suggest.${by}`)), ...(sources.length ? [list] : []));
  }
}

function source({ title, heading, url, quote }) {
  const name = [title, heading].filter(Boolean).join(" · ") || word("source.open");
  const address = safeAddress(url);
  const shown = address ? link(address, name) : element("span", {}, name);
  shown.title = quote;
  return shown;
}
