// Entries that were added by approval and by hand, and taking them back.

import { button, element } from "./elements.js";
import { filter } from "./learning-filters.js";
import { complain, toast } from "./toast.js";
import { word } from "./words.js";

/** Fill a section with the entries of the chosen knowledge base. */
export async function entries(root, tools) {
  const { api, chosen } = tools;
  const query = chosen.knowledge_base ? `?${new URLSearchParams({ knowledge_base: chosen.knowledge_base })}` : "";
  const found = await api.get(`entries${query}`);
  const names = [["", word("learning.allKnowledge")], ...found.knowledge_bases.map((name) => [name, name])];
  const list = element("ul", { class: "learning-list", "data-testid": "entries" }, found.entries.map((one) => row(one, tools)));
  root.replaceChildren(
    element("div", { class: "learning-filters" }, filter("knowledge_base", word("learning.knowledge"), names, tools)),
    found.entries.length ? list : element("p", { class: "learning-empty" }, word("learning.noneEntries")),
  );
}

function row(one, tools) {
  const facts = [one.knowledge_base, word(one.id.startsWith("approved-") ? "learning.fromCase" : "learning.byHand"), one.id].join(" · ");
  const variants = one.variants.length ? element("p", { class: "soft plain" }, `${word("learning.asked")}: ${one.variants.join(" / ")}`) : null;
  return element("li", { class: "card learning-card", "data-testid": "entry" },
    element("div", { class: "pair" },
      element("div", { class: "pair-side" }, element("p", { class: "plain entry-question" }, one.question), variants),
      element("div", { class: "pair-side" }, element("p", { class: "plain" }, one.answer))),
    element("div", { class: "learning-foot" }, element("p", { class: "soft" }, facts), tools.agent.role === "viewer" ? null : takeBack(one, tools)));
}

/** A button that acts at the second click. */
function takeBack(one, tools) {
  const path = `entries/${encodeURIComponent(one.knowledge_base)}/${encodeURIComponent(one.id)}`;
  const label = `${word("learning.takeBack")}: ${one.question}`;
  const calm = () => {
    delete shown.dataset.asked;
    shown.textContent = word("learning.takeBack");
    shown.setAttribute("aria-label", label);
  };
  const act = async () => {
    if (!shown.dataset.asked) {
      shown.dataset.asked = "yes";
      shown.textContent = word("learning.sure");
      shown.removeAttribute("aria-label");
      return;
    }
    try {
      await tools.api.remove(path);
      toast(word("learning.takenBack"));
      tools.again();
    } catch (failure) {
      calm();
      complain(failure);
    }
  };
  const shown = button("take-back", { class: "quiet", "aria-label": label, onclick: act, onblur: () => calm() }, word("learning.takeBack"));
  return shown;
}
