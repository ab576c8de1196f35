// What was asked in vain, by meaning; an answer is written beside it.

import { button, element } from "./elements.js";
import { brief } from "./format.js";
import { editor } from "./learning-editor.js";
import { filter } from "./learning-filters.js";
import { complain, toast } from "./toast.js";
import { word } from "./words.js";

const SPANS = [1, 7, 30, 90];

/** Fill a section with the groups of the chosen period. */
export async function unanswered(root, tools) {
  const found = await tools.api.get(`unanswered?days=${tools.chosen.days}`);
  const list = element("ul", { class: "learning-list", "data-testid": "unanswered" }, found.groups.map((one) => row(one, found.knowledge_bases, tools)));
  const notice = found.left_out ? element("p", { class: "learning-notice", role: "status" }, word("learning.leftOut", { count: found.left_out })) : null;
  root.replaceChildren(
    element("div", { class: "learning-filters" },
      filter("days", word("learning.period"), SPANS.map((count) => [count, word("learning.days", { count })]), tools),
      button("learning-refresh", { class: "secondary", onclick: tools.again }, word("learning.refresh"))),
    notice ?? "",
    found.groups.length ? list : element("p", { class: "learning-empty" }, word("learning.noneUnanswered")),
  );
}

function row(group, names, tools) {
  const place = element("div", { class: "learning-answer" });
  const mayWrite = tools.agent.role !== "viewer";
  const write = (values, key) => {
    place.replaceChildren(answerForm(key, values, names, tools, () => place.replaceChildren()));
    place.querySelector("[data-testid=answer]").focus();
  };
  const values = { question: group.question, answer: "", variants: group.questions.slice(1), knowledge_base: group.knowledge_base };
  const facts = [...group.channels, word("learning.last", { time: brief(group.last_at) })].join(" · ");
  const acts = group.proposal_id
    ? element("p", { class: "soft" }, word("learning.hasProposal"), " ", button("to-proposals", { class: "link", onclick: () => tools.go("proposals") }, word("learning.proposals")))
    : mayWrite && button("write-answer", { class: "secondary", onclick: () => write(values, `group ${group.question}`) }, word("learning.write"));
  const correct = (answer) => write({ ...values, answer: answer.text, knowledge_base: answer.knowledge_base, turn_id: answer.turn_id }, `turn ${answer.turn_id}`);
  return element("li", { class: "card learning-card", "data-testid": "group" },
    element("div", { class: "group-head" },
      element("strong", { class: "group-people", "data-testid": "people" }, word("learning.people", { count: group.people })),
      element("h3", { class: "plain" }, group.question)),
    element("p", { class: "soft" }, facts),
    group.questions.length > 1 ? element("details", {}, element("summary", {}, word("learning.asked")), element("ul", { class: "phrasings" }, group.questions.slice(1).map((text) => element("li", {}, text)))) : null,
    ...group.answers.slice(0, 3).map((answer) => inVain(answer, mayWrite, correct)),
    element("div", { class: "learning-foot" }, conversations(group, tools), acts || ""),
    place);
}

/** An answer that did not help, with what it was made from. */
function inVain(answer, mayWrite, correct) {
  const source = [answer.title && word("learning.source", { title: answer.title }), answer.knowledge_base].filter(Boolean).join(" · ");
  return element("div", { class: "in-vain", "data-testid": "in-vain" },
    element("p", { class: "in-vain-head" }, word("learning.notHelpful"), source ? element("span", { class: "soft" }, ` · ${source}`) : null),
    element("p", { class: "plain" }, answer.text),
    mayWrite ? button("correct", { class: "link", onclick: () => correct(answer) }, word("learning.correct")) : null);
}

function conversations(group, tools) {
  const links = group.conversation_ids.slice(0, 5).map((id) => button("open-conversation", { class: "link", onclick: () => tools.open(id) }, String(id)));
  return element("p", { class: "soft conversations" }, `${word("learning.conversations")}: `, links.flatMap((one, index) => (index ? [", ", one] : [one])));
}

function answerForm(key, values, names, tools, close) {
  const edited = editor(key, values, names, true);
  const fault = element("p", { class: "fault", role: "alert" });
  const root = element("div", { class: "answer-form" });
  let kept = null;

  async function send(isLive) {
    const body = edited.read();
    fault.textContent = body.question && body.answer ? "" : word("learning.needed");
    if (fault.textContent || root.hasAttribute("aria-busy")) return;
    root.setAttribute("aria-busy", "true");
    try {
      // Where only the second step failed, the first is not done again.
      kept ??= await tools.api.post("proposals", values.turn_id ? { ...body, turn_id: values.turn_id } : body);
      if (isLive) await tools.api.post(`proposals/${kept.id}/approve`, body);
      edited.done();
      toast(word(isLive ? "learning.live" : "learning.kept"));
      tools.again();
    } catch (failure) {
      if (failure.status === 400) fault.textContent = failure.message;
      else complain(failure);
    } finally {
      root.removeAttribute("aria-busy");
    }
  }

  root.append(edited.root, fault, element("div", { class: "acts" },
    button("publish", { class: "primary", onclick: () => send(true) }, word("learning.publish")),
    button("keep", { class: "secondary", onclick: () => send(false) }, word("learning.keep")),
    button("cancel-answer", { class: "quiet", onclick: () => (edited.done(), close()) }, word("cancel"))));
  return root;
}
