// The open conversation: its header, history, composer, read marks and who types.

import { byId, hueOf, toast } from './dom.js';
import { groupOf, peerOf } from './ids.js';
import { initials } from './list-view.js';
import { LogView } from './log-view.js';

const PAGE = 50;
const ENOUGH = 30;
const COUNT_FROM = 4_500;

export class TalkView {
  /** @param {{client: import('./client.js').Client, model: import('./model.js').Model, api: import('./http-api.js').Api}} context */
  constructor(context) {
    this.context = context;
    const { client, model } = context;
    this.id = '';
    this.loading = false;
    /** Texts not sent yet, by conversation. @type {Map<string, string>} */
    this.drafts = new Map();
    this.log = new LogView({
      me: model.me,
      onOlder: () => this.#older(),
      onRetry: id => client.retry(id),
      onDiscard: id => {
        client.discard(id);
        this.log.remove(id);
      },
    });
    this.text = byId('text');
    this.text.onkeydown = (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    };
    this.text.oninput = () => {
      this.#sizeText();
      if (this.text.value.trim()) client.typing(this.id);
    };
    byId('composer').onsubmit = (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#send();
      this.text.focus();
    };
  }

  /** @param {string} id '' for none */
  show(id) {
    const { client, model } = this.context;
    if (id === this.id) return;
    if (this.id) this.drafts.set(this.id, this.text.value);
    this.id = id;
    client.focus(id);
    byId('open').hidden = !id;
    byId('blank').hidden = !!id;
    document.body.dataset.screen = id ? 'talk' : 'list';
    if (!id) return;
    const talk = model.ensure(id, Date.now());
    this.log.clear(talk.unread ? talk.readSeq : 0, groupOf(id) !== null || id === 'world');
    const timeline = client.timeline(id);
    if (timeline) this.log.add(timeline.messages, false);
    else client.follow(id);
    for (const entry of client.pending(id)) this.log.entry(entry);
    this.log.peerRead(talk.peerReadSeq);
    this.log.toEnd();
    const avatar = byId('open-avatar');
    avatar.dataset.hue = hueOf(peerOf(id, model.me) ?? id);
    avatar.textContent = initials(id, model.me);
    this.text.value = this.drafts.get(id) ?? '';
    this.#sizeText();
    this.render();
    this.markRead();
    this.#fill();
  }

  /** What may have changed in the model. */
  render() {
    const { model } = this.context;
    const talk = model.get(this.id);
    if (!talk) return;
    byId('open-title').textContent = talk.title;
    const typists = model.typists(talk, Date.now());
    const sub = byId('open-sub');
    sub.textContent = typists.length ? typingText(typists, peerOf(this.id, model.me) !== null) : this.#subtitle();
    sub.classList.toggle('writing', typists.length > 0);
    byId('people').hidden = groupOf(this.id) === null || talk.gone;
    byId('composer').hidden = talk.gone;
    byId('gone').hidden = !talk.gone;
    byId('empty').hidden = !this.log.empty || this.loading;
  }

  /** @param {{conversationId: string, messages: import('./timeline.js').Message[], source: string}} event */
  onMessages({ conversationId, messages, source }) {
    if (conversationId !== this.id) return;
    const { client, model } = this.context;
    this.log.add(messages, source !== 'own');
    this.log.trim(client.timeline(this.id)?.floor ?? 0);
    if (source === 'live') {
      const others = messages.filter(message => message.sender_id !== model.me);
      byId('announce').textContent = others.map(message => `User ${message.sender_id}: ${message.content}`).join('. ').slice(0, 500);
    }
    this.render();
    this.markRead();
    this.#fill();
  }

  /** @param {{entry: import('./outbox.js').Entry, seqId?: number, was?: string}} event */
  onOutbox({ entry, seqId, was }) {
    if (entry.conversationId !== this.id) return;
    this.log.entry(entry, seqId, was);
    this.render();
  }

  onRead() {
    this.log.peerRead(this.context.model.get(this.id)?.peerReadSeq ?? 0);
  }

  /** The list has come: what it says of the open conversation counts from here. */
  listed() {
    const talk = this.context.model.get(this.id);
    if (!talk) return;
    if (this.log.empty && talk.unread) this.log.newSince = talk.readSeq;
    this.onRead();
    this.markRead();
    this.#fill();
  }

  /** Read is what somebody can see: open, visible, focused. */
  markRead() {
    const { client, model } = this.context;
    const talk = model.get(this.id);
    if (!talk || talk.gone || this.id === 'world' || document.visibilityState !== 'visible' || !document.hasFocus()) return;
    const top = client.timeline(this.id)?.top ?? 0;
    if (top <= talk.readSeq) return;
    client.markRead(this.id, top);
    model.read(this.id, model.me, top, []);
  }

  end() {
    this.log.end();
  }

  /** More history when little of it is there. */
  #fill() {
    const timeline = this.context.client.timeline(this.id);
    if (timeline && timeline.top !== null && timeline.messages.length < ENOUGH) this.#older();
  }

  async #older() {
    const { client, api } = this.context;
    const { id } = this;
    const timeline = client.timeline(id);
    if (this.loading || !timeline || timeline.floor === null || timeline.complete || timeline.full) return;
    this.loading = true;
    this.log.log.setAttribute('aria-busy', 'true');
    const before = timeline.floor + 1;
    try {
      const page = await api.before(id, before, PAGE);
      const added = timeline.prepend(before, page.messages, page.hasMore);
      if (this.id === id) this.log.addOlder(added);
    } catch (error) {
      toast(`Older messages can’t be loaded: ${error instanceof Error ? error.message : error}`);
      await new Promise(resolve => setTimeout(resolve, 3_000));
    }
    this.loading = false;
    this.log.log.removeAttribute('aria-busy');
    if (this.id === id && !this.log.nearTop) return this.render();
    this.render();
    this.#older();
  }

  #send() {
    const content = this.text.value.trim();
    if (!content || !this.id) return;
    try {
      this.context.client.send(this.id, content);
      this.text.value = '';
      this.#sizeText();
    } catch (error) {
      toast(error instanceof RangeError ? 'This message is too long: 5,000 characters at most.' : `Not sent: ${error instanceof Error ? error.message : error}`);
    }
  }

  #sizeText() {
    this.text.style.height = 'auto';
    this.text.style.height = `${Math.min(this.text.scrollHeight, 160)}px`;
    const { length } = this.text.value;
    byId('count').textContent = length < COUNT_FROM ? '' : `${5_000 - [...this.text.value].length}`;
  }

  #subtitle() {
    if (this.id === 'world') return 'Everybody on this server';
    return groupOf(this.id) ? 'Group' : '';
  }
}

/** @param {string[]} users @param {boolean} single */
function typingText(users, single) {
  if (single) return 'typing…';
  if (users.length > 2) return `${users.length} people are typing…`;
  return `${users.map(user => `User ${user}`).join(' and ')} ${users.length === 1 ? 'is' : 'are'} typing…`;
}
