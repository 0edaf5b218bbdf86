// The page: signs in, joins client, model and views, and follows the address (#conversation).

import { Api, config } from './http-api.js';
import { Client } from './client.js';
import { beginDialog, confirmDialog, membersDialog } from './dialogs.js';
import { byId, toast } from './dom.js';
import { isConversation } from './ids.js';
import { LinkView } from './link-view.js';
import { ListView } from './list-view.js';
import { Model } from './model.js';
import { renew, signIn, storedSession, storeSession } from './sign-in.js';
import { TalkView } from './talk-view.js';

const LIST_PAGE = 100;
const LIST_MAX = 1_000;

/** One signed-in user, until `end`. */
class App {
  /** @param {import('./sign-in.js').Session} session @param {{socketUrl: string, dev: boolean}} settings @param {(note: string) => void} onEnd */
  constructor(session, { socketUrl, dev }, onEnd) {
    this.onEnd = onEnd;
    this.ended = new AbortController();
    this.api = new Api(() => session.token, () => renew(session, dev, 'expired'));
    this.model = new Model(session.userId, () => this.#changed());
    this.client = new Client({
      url: socketUrl,
      userId: session.userId,
      token: async why => {
        const token = await renew(session, dev, why);
        if (token === null) this.end('The session has run out: sign in again.');
        return token;
      },
      storage: localStorage,
    });
    const { client, model, api } = this;
    this.list = new ListView(model, id => this.open(id));
    this.talk = new TalkView({ client, model, api });
    this.link = new LinkView(client);
    this.#listen();
    this.#wire();
    byId('me').textContent = `User ${session.userId}`;
    byId('app').hidden = false;
    model.ensure('world');
    client.start();
    this.#follow();
    if (!this.talk.id) this.list.focus();
  }

  /** @param {string} id @param {string} [name] */
  open(id, name) {
    const talk = this.model.ensure(id, Date.now());
    if (name) talk.title = name;
    if (location.hash === `#${id}`) this.#follow();
    else location.hash = id;
    byId('text').focus();
  }

  close() {
    const { id } = this.talk;
    history.pushState(null, '', location.pathname);
    this.#follow();
    this.list.focus(id);
  }

  /** @param {string} note */
  end(note) {
    if (this.ended.signal.aborted) return;
    this.ended.abort();
    this.client.stop();
    this.talk.show('');
    this.talk.end();
    this.link.end();
    storeSession(null);
    document.title = 'Ringway';
    byId('toast').hidden = true;
    for (const dialog of document.querySelectorAll('dialog[open]')) /** @type {HTMLDialogElement} */ (dialog).close();
    this.onEnd(note);
  }

  #listen() {
    const { client, model } = this;
    const held = (/** @type {string} */ id) => client.timeline(id)?.messages ?? [];
    client.on('status', status => {
      this.link.render();
      // Without a socket the list is worth having, too.
      if (status.state === 'online' || (status.state === 'waiting' && !this.listed)) this.#loadList();
    });
    client.on('messages', event => {
      model.add(event.conversationId, event.messages);
      this.talk.onMessages(event);
    });
    client.on('outbox', event => this.talk.onOutbox(event));
    client.on('read', ({ conversationId, userId, seqId }) => {
      model.read(conversationId, userId, seqId, held(conversationId));
      this.talk.onRead();
    });
    client.on('typing', ({ conversationId, userId }) => {
      setTimeout(() => this.#changed(), model.typing(conversationId, userId, Date.now()) + 50);
    });
    client.on('conversation', ({ conversationId, change }) => {
      if (change === 'removed') return this.#gone(conversationId);
      model.ensure(conversationId, change === 'added' ? Date.now() : 0).gone = false;
      this.#loadList();
    });
    client.on('denied', ({ conversationId }) => this.#gone(conversationId));
    client.on('trouble', ({ message }) => toast(message));
  }

  #wire() {
    const { signal } = this.ended;
    const me = this.model.me;
    byId('new').onclick = () => beginDialog({ me, api: this.api, onOpen: (id, name) => this.open(id, name) });
    byId('people').onclick = () => membersDialog({
      me, api: this.api, conversationId: this.talk.id, title: this.model.get(this.talk.id)?.title ?? '', onLeft: id => this.#left(id),
    });
    byId('back').onclick = () => this.close();
    byId('sign-out').onclick = () => this.#signOut();
    addEventListener('hashchange', () => this.#follow(), { signal });
    addEventListener('popstate', () => this.#follow(), { signal });
    addEventListener('focus', () => this.talk.markRead(), { signal });
    addEventListener('online', () => this.client.hurry(), { signal });
    document.addEventListener('visibilitychange', () => {
      this.talk.markRead();
      if (document.visibilityState === 'visible') this.client.hurry();
    }, { signal });
    addEventListener('keydown', event => {
      if (event.key === 'Escape' && this.talk.id && !event.isComposing && !document.querySelector('dialog[open]')) this.close();
    }, { signal });
  }

  /** Shows what the address names. */
  #follow() {
    const id = decodeURIComponent(location.hash.slice(1));
    const open = isConversation(id, this.model.me) ? id : '';
    this.list.open = open;
    this.talk.show(open);
    this.#changed();
  }

  /** The whole list, page by page; again after every reconnecting. */
  async #loadList() {
    if (this.loading) return void (this.again = true);
    this.loading = true;
    try {
      let cursor, count = 0;
      do {
        const page = await this.api.conversations(LIST_PAGE, cursor);
        if (this.ended.signal.aborted) return;
        for (const row of page.conversations) {
          this.model.apply(row, this.client.timeline(row.conversationId)?.messages ?? []);
          this.client.follow(row.conversationId, row.lastSeq);
        }
        count += page.conversations.length;
        cursor = page.cursor;
      } while (cursor && count < LIST_MAX);
      this.listed = true;
      // Everybody is in it, whether the list names it or not.
      this.client.follow('world');
      this.talk.listed();
    } catch (error) {
      if (!this.ended.signal.aborted) toast(`The list can’t be loaded: ${error instanceof Error ? error.message : error}`);
    }
    this.loading = false;
    if (this.again) {
      this.again = false;
      this.#loadList();
    }
  }

  /** @param {string} id */
  #gone(id) {
    const talk = this.model.get(id);
    if (!talk || id === 'world') return;
    talk.gone = true;
    if (id === this.talk.id) this.#changed();
    else this.model.remove(id);
  }

  /** @param {string} id */
  #left(id) {
    this.client.forget(id);
    this.model.remove(id);
    if (id === this.talk.id) this.close();
  }

  async #signOut() {
    const waiting = this.client.pending().length;
    if (waiting) {
      const what = waiting === 1 ? 'One message has' : `${waiting} messages have`;
      if (!(await confirmDialog(`${what} not been delivered and would be lost. Sign out?`, 'Sign out'))) return;
    }
    this.client.abandon();
    history.pushState(null, '', location.pathname);
    this.end('');
  }

  /** Draws once for whatever changed in one go. */
  #changed() {
    if (this.drawing) return;
    this.drawing = true;
    queueMicrotask(() => {
      this.drawing = false;
      if (this.ended.signal.aborted) return;
      this.list.render();
      this.talk.render();
      const unread = this.model.unreadTotal;
      document.title = unread ? `(${unread}) Ringway` : 'Ringway';
    });
  }
}

async function main() {
  let settings;
  for (let waitMs = 1_000; !settings; waitMs = Math.min(waitMs * 2, 30_000)) {
    try {
      settings = await config();
    } catch (error) {
      toast(`${error instanceof Error ? error.message : error}; trying again`);
      await new Promise(resolve => setTimeout(resolve, waitMs));
    }
  }
  let note = '';
  for (;;) {
    const session = storedSession() ?? (await signIn(settings.dev, note));
    storeSession(session);
    note = await new Promise(resolve => void new App(session, settings, resolve));
  }
}

main();
