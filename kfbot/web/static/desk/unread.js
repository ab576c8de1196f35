// Which of an agent's conversations have words of the customer that were not read here.

import { read, write } from "./kept.js";

const MOST = 300;

export class Unread {
  constructor(me) {
    this.me = me;
    this.key = `seen.${me.name}`;
    this.seen = new Map(read(this.key, []));
    this.mine = new Map();
    this.isFirst = true;
  }

  isMine(id) {
    return this.mine.has(id);
  }

  /** True where the customer of one of my conversations wrote, and I have not looked since. */
  has({ id, state, agent, last_role: role, updated_at: at }) {
    return state === "agent" && agent === this.me.name && role === "customer" && !(this.seen.get(id) >= at);
  }

  /** The conversation was looked at as it is now. */
  read({ id, updated_at: at }) {
    if (this.seen.get(id) >= at) return;
    this.seen.delete(id);
    this.seen.set(id, at);
    write(this.key, [...this.seen].slice(-MOST));
  }

  /** Take the list of my conversations; gives those in which something new was written. */
  take(conversations) {
    const before = this.mine;
    this.mine = new Map(conversations.map((one) => [one.id, one.updated_at]));
    const news = conversations.filter((one) => this.has(one) && before.get(one.id) !== one.updated_at);
    const isFirst = this.isFirst;
    this.isFirst = false;
    return isFirst ? [] : news;
  }
}
