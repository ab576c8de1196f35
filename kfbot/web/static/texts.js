// The words of the page itself; greeting, examples and button labels come from the server.

const TEXTS = {
  en: {
    agentFallback: "Support",
    askPerson: "Talk to a person",
    askPersonShort: "A person",
    askPersonMessage: "I would like to talk to a person.",
    botName: "Assistant",
    choices: "Choose one",
    close: "Close chat",
    closed: "This conversation has ended. Write a message to start again.",
    composerHint: "Enter to send, Shift + Enter for a new line",
    connectionLost: "Connection lost. Reconnecting…",
    discard: "Discard",
    failed: "Not sent.",
    failedLong: "This message is too long.",
    failedMany: "Too many messages at once. Wait a moment, then try again.",
    failedVisitor: "Your visit has expired. Please reload the page.",
    feedback: "Was this helpful?",
    feedbackFailed: "That could not be saved. Please try again.",
    greeting: "Hello! How can I help?",
    log: "Conversation",
    newMessages: "New messages",
    noScript: "This chat needs JavaScript.",
    openSource: "Open source",
    placeholder: "Write a message…",
    retry: "Try again",
    send: "Send",
    sending: "Sending…",
    sources: "Sources",
    subtitle: "Answers with sources. A person when you need one.",
    title: "Customer service",
    typing: "Writing an answer…",
    withAgent: (name) => `You are talking to ${name}.`,
    waiting: "A person is coming. You can keep writing.",
    you: "You",
  },
  zh: {
    agentFallback: "人工客服",
    askPerson: "人工客服",
    askPersonShort: "人工客服",
    askPersonMessage: "我要人工客服。",
    botName: "智能助手",
    choices: "请选择",
    close: "关闭对话",
    closed: "本次对话已结束，再次发送消息即可重新开始。",
    composerHint: "按 Enter 发送，Shift + Enter 换行",
    connectionLost: "连接已断开，正在重新连接…",
    discard: "放弃",
    failed: "发送失败。",
    failedLong: "这条消息太长了。",
    failedMany: "消息发送过于频繁，请稍候再试。",
    failedVisitor: "会话已过期，请刷新页面。",
    feedback: "这个回答有帮助吗？",
    feedbackFailed: "未能保存，请重试。",
    greeting: "您好！请问有什么可以帮您？",
    log: "对话记录",
    newMessages: "有新消息",
    noScript: "使用本页面需要启用 JavaScript。",
    openSource: "查看来源",
    placeholder: "请输入您的问题…",
    retry: "重试",
    send: "发送",
    sending: "发送中…",
    sources: "来源",
    subtitle: "回答附带来源，需要时可转人工。",
    title: "在线客服",
    typing: "正在输入…",
    withAgent: (name) => `${name} 正在为您服务。`,
    waiting: "正在为您转接人工客服，请稍候。您可以继续留言。",
    you: "我",
  },
};

const known = (tag) => {
  const language = String(tag).toLowerCase().split("-")[0];
  return language in TEXTS ? language : null;
};

/** "zh" or "en": what ?lang= asks for, else the reader's first language; unknown ones are "en". */
export function pickLanguage(search, preferred) {
  const asked = new URLSearchParams(search).get("lang");
  return known(asked ?? preferred) ?? "en";
}

export const language = pickLanguage(location.search, navigator.language);
export const texts = TEXTS[language];
export const locale = language === "zh" ? "zh-CN" : navigator.language.startsWith("en") ? navigator.language : "en";

/** Fill in the elements that carry data-text, data-label or data-placeholder. */
export function translate(root) {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of root.querySelectorAll("[data-text]")) {
    element.textContent = texts[element.dataset.text];
  }
  for (const element of root.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", texts[element.dataset.label]);
  }
  for (const element of root.querySelectorAll("[data-placeholder]")) {
    element.setAttribute("placeholder", texts[element.dataset.placeholder]);
  }
}
