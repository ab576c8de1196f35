// Where an agent writes: to the customer or a note to colleagues, kept for each conversation.

import { post } from "./api.js";
import { CannedMenu } from "./canned.js";
import { button, element, icon } from "./elements.js";
import { customerOf } from "./format.js";
import { read, write } from "./kept.js";
import { Suggester } from "./suggestion.js";
import { word } from "./words.js";

const LONGEST = 20_000;
const COUNT_FROM = 18_000;
const TYPING_EVERY_MS = 4_000;
const MODIFIER = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";

const enterSends = () => read("enter", false);

export class Composer {
  /** `send({text, internal, claim})` takes what was written. */
  constructor({ me, send }) {
    Object.assign(this, { me, send });
    this.conversation = null;
    this.isNote = false;
    this.typedAt = 0;
    this.field = element("textarea", { rows: 2, "data-testid": "reply-text", "aria-describedby": "composer-hint", class: "reply-text" });
    this.menu = new CannedMenu(this.field, () => this.#changed());
    this.replyTab = this.#mode("reply-toggle", false, "reply");
    this.noteTab = this.#mode("note-toggle", true, "note");
    this.hint = element("p", { class: "composer-hint", id: "composer-hint" });
    this.label = element("span", {});
    this.sendButton = element("button", { type: "submit", class: "primary send", "data-testid": "reply" }, icon("send"), this.label);
    this.suggester = new Suggester({ take: (text) => this.use(text) });
    this.root = this.#build();
    this.field.addEventListener("input", () => this.#changed());
    this.field.addEventListener("keydown", (event) => this.#key(event));
  }

  #build() {
    const form = element(
      "form",
      { class: "composer", "data-testid": "composer" },
      element("div", { class: "modes", role: "group", "aria-label": word("composer.mode") }, this.replyTab, this.noteTab, this.suggester.button),
      this.suggester.said,
      element("div", { class: "canned-place" }, this.menu.list, this.menu.said),
      this.field,
      element("div", { class: "composer-foot" }, this.hint, this.sendButton),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    return form;
  }

  #mode(testid, isNote, name) {
    const choose = () => {
      this.setNote(isNote);
      this.field.focus();
    };
    return button(testid, { class: `mode ${name}`, "aria-pressed": "false", onclick: choose }, icon(name), word(`composer.${name}`));
  }

  get #draftKey() {
    return `draft.${this.me.name}.${this.conversation.id}`;
  }

  /** Write in this conversation from now on; its draft comes back. */
  show(conversation) {
    const isOther = this.conversation?.id !== conversation.id;
    this.conversation = conversation;
    if (isOther) {
      this.suggester.show(conversation.id);
      this.menu.close();
      this.menu.forget();
      const draft = read(this.#draftKey, {});
      this.field.value = draft.text ?? "";
      this.isNote = draft.note ?? false;
    }
    this.#refresh();
    if (isOther) this.#grow();
  }

  get #isMine() {
    return this.conversation.state === "agent" && this.conversation.agent === this.me.name;
  }

  get #isOthers() {
    return this.conversation.state === "agent" && !this.#isMine;
  }

  get #isSendable() {
    const { value } = this.field;
    return Boolean(value.trim()) && value.length <= LONGEST && !this.root.hidden;
  }

  setNote(isNote) {
    this.isNote = isNote;
    this.#keep();
    this.#refresh();
  }

  #refresh() {
    const { conversation, me } = this;
    this.root.hidden = me.role === "viewer";
    if (this.#isOthers) this.isNote = true;
    this.root.classList.toggle("is-note", this.isNote);
    this.replyTab.setAttribute("aria-pressed", String(!this.isNote));
    this.replyTab.disabled = this.#isOthers;
    this.suggester.button.hidden = this.isNote;
    this.suggester.said.hidden = this.isNote;
    this.noteTab.setAttribute("aria-pressed", String(this.isNote));
    this.field.setAttribute("aria-label", word(this.isNote ? "composer.noteLabel" : "composer.label"));
    this.field.placeholder = this.isNote ? word("composer.noteHere") : word("composer.replyTo", { name: customerOf(conversation) });
    this.label.textContent = word(this.isNote ? "composer.saveNote" : this.#isMine ? "composer.send" : "composer.claimSend");
    this.#showHint();
  }

  #showHint() {
    const { value } = this.field;
    const key = enterSends() ? word("composer.keyEnter") : word("composer.key", { mod: MODIFIER });
    if (value.length > COUNT_FROM) this.hint.textContent = word("composer.long", { n: value.length, most: LONGEST });
    else if (this.#isOthers) this.hint.textContent = word("composer.otherAgent", { name: this.conversation.agent_name || this.conversation.agent });
    else this.hint.textContent = word("composer.hint", { key });
    this.hint.classList.toggle("keys-hint", !this.#isOthers && value.length <= COUNT_FROM);
    // Cut off by the field itself, the end of a pasted text would be lost without a word.
    this.hint.classList.toggle("fault", value.length > LONGEST);
    this.sendButton.disabled = !this.#isSendable;
  }

  /** Put a text into the field, to be edited; what was written stays before it. */
  use(text) {
    const written = this.field.value.trim();
    this.field.value = written ? `${written}\n\n${text}` : text;
    this.isNote = false;
    this.#changed();
    this.#refresh();
    this.focus();
  }

  focus() {
    this.field.focus();
    this.field.setSelectionRange(this.field.value.length, this.field.value.length);
  }

  submit() {
    const text = this.field.value.trim();
    if (!this.#isSendable) return;
    const internal = this.isNote;
    this.field.value = "";
    this.suggester.clear();
    this.#changed();
    this.send({ text, internal, claim: !internal && !this.#isMine });
    // A note is the exception: the next words are meant for the customer again.
    if (internal && !this.#isOthers) this.setNote(false);
    this.field.focus();
  }

  #key(event) {
    // Enter that ends the choice of a character is not meant to send; Safari says so by 229.
    if (event.isComposing || event.keyCode === 229 || this.menu.key(event)) return;
    if (event.key === "Escape") this.field.blur();
    if (event.key !== "Enter" || event.altKey) return;
    const isCommand = event.ctrlKey || event.metaKey;
    if (!isCommand && (event.shiftKey || !enterSends())) return;
    event.preventDefault();
    this.submit();
  }

  #changed() {
    this.#keep();
    this.#showHint();
    this.#grow();
    if (this.isNote || !this.#isMine || !this.field.value || Date.now() - this.typedAt < TYPING_EVERY_MS) return;
    this.typedAt = Date.now();
    // Nobody misses it where it does not arrive.
    post(`conversations/${this.conversation.id}/typing`).catch(() => {});
  }

  #keep() {
    const { value } = this.field;
    write(this.#draftKey, value || this.isNote ? { text: value, note: this.isNote } : null);
  }

  #grow() {
    this.field.style.height = "auto";
    this.field.style.height = `${this.field.scrollHeight + 2}px`;
  }
}
