// The messages of the open conversation: placed by seq, own unsent ones after them, and a scroll
// position that stays where the reader is.

import { byId, dayKey, dayName, h, hueOf, icon, timeOf } from './dom.js';

const TOGETHER_MS = 5 * 60_000;
const NEAR_PX = 80;
const OLDER_PX = 400;
const TICK = 'm4 10.5 4 4 8-9';
const TICKS = 'm1.5 10.5 4 4 7.5-9m-4 8.2.8.8 8-9';
const CLOCK = 'M10 3.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13m0 3V10l2.5 1.5';
const WARN = 'M10 3.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13m0 3v4.2m0 2.6v.2';
const ICONS = { sending: CLOCK, accepted: TICK, persisted: TICKS, read: TICKS, failed: WARN };

export class LogView {
  /**
   * @param {object} hooks
   * @param {string} hooks.me
   * @param {() => void} hooks.onOlder more history is needed
   * @param {(id: string) => void} hooks.onRetry
   * @param {(id: string) => void} hooks.onDiscard
   */
  constructor(hooks) {
    this.hooks = hooks;
    this.log = byId('log');
    this.newer = byId('newer');
    /** @type {Map<string, any>} */
    this.items = new Map();
    this.unseen = 0;
    this.newSince = 0;
    this.peerReadSeq = 0;
    this.sticky = true;
    this.log.onscroll = () => this.#onScroll();
    this.newer.onclick = () => this.toEnd();
    // The frame gets smaller when a phone's keyboard comes: the end stays in view.
    this.resizes = new ResizeObserver(() => this.sticky && this.#down());
    this.resizes.observe(this.log);
  }

  end() {
    this.resizes.disconnect();
  }

  /** @param {number} readSeq the line of what is new goes after it @param {boolean} group */
  clear(readSeq, group) {
    this.items.clear();
    this.log.replaceChildren();
    this.log.classList.toggle('many', group);
    this.newSince = readSeq;
    this.group = group;
    this.peerReadSeq = 0;
    this.toEnd();
  }

  get empty() {
    return this.items.size === 0;
  }

  get nearTop() {
    return this.log.scrollTop < OLDER_PX;
  }

  /** Messages at the end, or wherever their seq puts them. @param {import('./timeline.js').Message[]} messages @param {boolean} live */
  add(messages, live) {
    const stick = this.sticky;
    const touched = messages.map(message => this.#put(this.#ofMessage(message)));
    touched.forEach(item => this.#dress(item));
    this.#markState();
    if (stick) this.#down();
    else if (live) this.#countUnseen(messages.filter(message => message.sender_id !== this.hooks.me).length);
  }

  /** History at the front; what is on the screen stays where it is. @param {import('./timeline.js').Message[]} messages */
  addOlder(messages) {
    const mark = this.log.lastElementChild;
    const topOf = () => mark?.getBoundingClientRect().top ?? 0;
    const before = topOf();
    const touched = messages.map(message => this.#put(this.#ofMessage(message)));
    touched.forEach(item => this.#dress(item));
    this.#markState();
    if (this.sticky) this.#down();
    else this.log.scrollTop += topOf() - before;
  }

  /** An own message on its way. @param {import('./outbox.js').Entry} entry @param {number} [seqId] @param {string} [was] its id before */
  entry(entry, seqId, was) {
    if (was) this.remove(was);
    const known = this.items.has(this.#key(this.hooks.me, entry.id));
    if (!known && entry.state === 'persisted') return;
    const item = this.#put({
      key: this.#key(this.hooks.me, entry.id), id: entry.id, sender: this.hooks.me, content: entry.content, type: entry.messageType,
      time: entry.at, seq: seqId ?? Infinity, state: entry.state, reason: entry.reason,
    });
    this.#dress(item);
    this.#markState();
    if (!known) this.toEnd();
    else if (this.sticky) this.#down();
  }

  /** @param {string} id of an own one */
  remove(id) {
    const key = this.#key(this.hooks.me, id);
    const item = this.items.get(key);
    if (!item) return;
    const next = item.li.nextElementSibling?.item;
    item.li.remove();
    this.items.delete(key);
    if (next) this.#dress(next);
  }

  /** What is no longer held goes from the screen, too. @param {number} floor */
  trim(floor) {
    for (const [key, item] of this.items) {
      if (item.seq > floor) continue;
      item.li.remove();
      this.items.delete(key);
    }
  }

  /** @param {number} seq */
  peerRead(seq) {
    this.peerReadSeq = Math.max(this.peerReadSeq, seq);
    this.#markState();
  }

  toEnd() {
    this.sticky = true;
    this.unseen = 0;
    this.newer.hidden = true;
    this.#down();
  }

  /** @param {string} sender @param {string} id */
  #key(sender, id) {
    return `${sender}/${id}`;
  }

  /** @param {import('./timeline.js').Message} message */
  #ofMessage(message) {
    return {
      key: this.#key(message.sender_id, message.client_msg_id), id: message.client_msg_id, sender: message.sender_id,
      content: message.content, type: message.message_type, time: Date.parse(message.created_at), seq: message.seq_id, state: 'persisted',
    };
  }

  /** Makes or moves an item: after everything with a smaller seq; unsent ones (Infinity) stay at the end. */
  #put(/** @type {any} */ data) {
    const old = this.items.get(data.key);
    const item = Object.assign(old ?? { li: this.#make(data) }, data);
    item.li.item = item;
    let before = this.log.lastElementChild;
    while (before && (before === item.li || before.item.seq > item.seq)) before = before.previousElementSibling;
    const next = before ? before.nextElementSibling : this.log.firstElementChild;
    if (next !== item.li) this.log.insertBefore(item.li, next);
    this.items.set(item.key, item);
    return item;
  }

  #make(/** @type {any} */ { sender, content, type }) {
    const own = sender === this.hooks.me;
    const text = h('p', { class: 'text', dir: 'auto', text: type === 'text' ? content : `[${type}] ${content}` });
    return h('li', { class: own ? 'own' : 'theirs' },
      h('div', { class: 'sender', 'data-hue': hueOf(sender), text: own ? '' : `User ${sender}` }),
      h('div', { class: 'bubble' }, own && h('span', { class: 'unseen', text: 'You: ' }), text,
        h('span', { class: 'meta' }, h('time'), own && h('span', { class: 'tick' }))),
      own && h('div', { class: 'state' }));
  }

  /** Everything about an item that depends on its neighbours; and on the one after it. */
  #dress(/** @type {any} */ item, next = true) {
    const { li } = item;
    const before = li.previousElementSibling?.item;
    const newDay = !before || dayKey(before.time) !== dayKey(item.time);
    const firstNew = item.sender !== this.hooks.me && this.newSince > 0 && item.seq > this.newSince
      && before && before.seq <= this.newSince;
    li.querySelector('.line')?.remove();
    if (firstNew || newDay) {
      li.prepend(h('div', { class: firstNew ? 'line new' : 'line' }, h('span', { text: firstNew ? 'New' : dayName(item.time) })));
    }
    const follows = !newDay && !firstNew && before.sender === item.sender && item.time - before.time < TOGETHER_MS;
    li.classList.toggle('follows', follows);
    const time = li.querySelector('time');
    time.textContent = timeOf(item.time);
    time.dateTime = new Date(item.time).toISOString();
    if (next && li.nextElementSibling) this.#dress(li.nextElementSibling.item, false);
  }

  /** The state of own messages: a tick in each, and words under the newest and under failed ones. */
  #markState() {
    let newest = true;
    for (let li = this.log.lastElementChild; li; li = li.previousElementSibling) {
      const { item } = li;
      if (item.sender !== this.hooks.me) continue;
      const state = item.state === 'persisted' && item.seq <= this.peerReadSeq ? 'read' : item.state;
      const words = newest || state === 'failed';
      newest = false;
      if (item.shown === state && item.words === words) {
        if (state === 'read' && !words) break; // and so is everything before it
        continue;
      }
      Object.assign(item, { shown: state, words });
      li.dataset.state = state;
      const path = ICONS[/** @type {keyof typeof ICONS} */ (state)];
      li.querySelector('.tick').replaceChildren(icon(path), h('span', { class: 'unseen', text: state }));
      const box = li.querySelector('.state');
      if (!words) box.replaceChildren();
      else if (state !== 'failed') box.textContent = state;
      else {
        box.replaceChildren(h('span', { text: `failed: ${item.reason?.message ?? 'refused'}` }),
          h('button', { type: 'button', class: 'plain', text: 'Retry', onclick: () => this.hooks.onRetry(item.id) }),
          h('button', { type: 'button', class: 'plain', text: 'Discard', onclick: () => this.hooks.onDiscard(item.id) }));
      }
    }
  }

  /** @param {number} count */
  #countUnseen(count) {
    if (!count) return;
    this.unseen += count;
    this.newer.hidden = false;
    this.newer.textContent = `${this.unseen} new ↓`;
  }

  #down() {
    this.log.scrollTop = this.log.scrollHeight;
  }

  #onScroll() {
    const { scrollHeight, scrollTop, clientHeight } = this.log;
    this.sticky = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    if (this.sticky) {
      this.unseen = 0;
      this.newer.hidden = true;
    }
    if (this.nearTop) this.hooks.onOlder();
  }
}
