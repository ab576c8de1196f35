// The field to write in: it grows, keeps its draft, and knows an input method from a finished line.

import { storage } from "./outgoing.js";

const KEY = "kfbot.draft";
const COUNT_FROM = 18_000;

export class Composer {
  /** `send(text)` is called with a text that is not blank. */
  constructor({ form, field, button, counter }, send) {
    Object.assign(this, { form, field, button, counter, send });
    // On a slow line somebody may have begun to write before this script came.
    field.value ||= storage.read(KEY) ?? "";
    field.addEventListener("input", () => this.#changed());
    field.addEventListener("keydown", (event) => this.#key(event));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.#changed();
  }

  submit() {
    const text = this.field.value.trim();
    this.field.focus();
    if (!text) return;
    this.field.value = "";
    this.#changed();
    this.send(text);
  }

  #key(event) {
    // Enter that ends the choice of a character is not meant to send; Safari says so by 229.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key !== "Enter" || event.shiftKey || event.altKey) return;
    event.preventDefault();
    this.submit();
  }

  #changed() {
    const { field, counter } = this;
    storage.write(KEY, field.value);
    this.button.disabled = !field.value.trim();
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
    counter.hidden = field.value.length < COUNT_FROM;
    counter.textContent = `${field.value.length} / ${field.maxLength}`;
  }
}
