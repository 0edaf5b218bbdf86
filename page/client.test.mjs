// What the client sends and hands out. node --test page/
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, OutboxFull } from './client.js';
import { FakeStorage, follow, message, setUp, TALK } from './fake.test-help.mjs';

test('messages come out in order of seq, each once', async () => {
  const it = await setUp();
  follow(it, 10);
  for (const seq of [11, 13, 12, 12, 13, 10, 3, 14]) it.socket.says('new-message', message(seq));
  assert.deepEqual(it.seen.seqs, [11, 12, 13, 14]);
  await it.clock.pass(2_000);
  assert.equal(it.socket.of('sync').length, 1, 'the hole closed by itself');
});

test('a hole that stays open for 500 ms means sync, from where it begins', async () => {
  const it = await setUp();
  follow(it, 10);
  it.socket.says('new-message', message(13));
  await it.clock.pass(499);
  assert.equal(it.socket.of('sync').length, 1);
  await it.clock.pass(1);
  assert.deepEqual(it.socket.of('sync')[1].data.conversations, [{ conversationId: TALK, afterSeq: 10 }]);
  assert.deepEqual(it.seen.seqs, []);
  it.socket.answers([{ conversationId: TALK, messages: [message(11), message(12)], lastSeq: 13, hasMore: true }]);
  assert.deepEqual(it.seen.seqs, [11, 12, 13]);
});

test('numbers outside the membership are no hole', async () => {
  const it = await setUp();
  it.client.follow(TALK, 4);
  it.socket.answers([{ conversationId: TALK, messages: [message(8), message(9)], lastSeq: 9, hasMore: false }]);
  it.socket.says('new-message', message(10));
  assert.deepEqual(it.seen.seqs, [8, 9, 10]);
});

test('pages on while there is more', async () => {
  const it = await setUp();
  it.client.follow(TALK, 0);
  it.socket.answers([{ conversationId: TALK, messages: [message(1), message(2)], lastSeq: 5, hasMore: true }]);
  assert.equal(it.socket.of('sync')[1].data.conversations[0].afterSeq, 2);
  it.socket.answers([{ conversationId: TALK, messages: [message(3), message(4), message(5)], lastSeq: 5, hasMore: false }]);
  await it.clock.pass(1_000);
  assert.deepEqual(it.seen.seqs, [1, 2, 3, 4, 5]);
  assert.equal(it.socket.of('sync').length, 2);
});

test('a page without room for anything is asked for again, with a pause', async () => {
  const it = await setUp();
  it.client.follow(TALK, 0);
  it.socket.answers([{ conversationId: TALK, messages: [], lastSeq: 5, hasMore: true }]);
  assert.equal(it.socket.of('sync').length, 1);
  await it.clock.pass(500);
  assert.equal(it.socket.of('sync').length, 2);
});

test('after connected every known conversation is synced from its last seq, 100 at a time', async () => {
  const it = await setUp({ connect: false });
  for (let i = 2; i < 152; i++) it.client.follow(`single_1_${i}`, i);
  it.socket.connected();
  assert.equal(it.socket.of('sync')[0].data.conversations.length, 100);
  assert.deepEqual(it.socket.of('sync')[0].data.conversations[0], { conversationId: 'single_1_2', afterSeq: 2 });
  it.socket.answers(it.socket.of('sync')[0].data.conversations.map(({ conversationId, afterSeq }) =>
    ({ conversationId, messages: [], lastSeq: afterSeq, hasMore: false })));
  assert.equal(it.socket.of('sync')[1].data.conversations.length, 50);
});

test('a message of an unknown conversation makes it known, and its newest are asked for', async () => {
  const it = await setUp();
  it.socket.says('new-message', message(7));
  assert.deepEqual(it.seen.events, [{ type: 'conversation', conversationId: TALK, change: 'new' }]);
  assert.deepEqual(it.socket.of('sync')[0].data.conversations, [{ conversationId: TALK }]);
  it.socket.answers([{ conversationId: TALK, messages: [message(6), message(7)], lastSeq: 7, hasMore: false }]);
  it.socket.says('new-message', message(8));
  assert.deepEqual(it.seen.seqs, [6, 7, 8]);
});

test('a message that waited for a sync is still news, what the sync brought before it is not', async () => {
  const it = await setUp();
  const sources = [];
  it.client.on('messages', ({ messages, source }) => sources.push([source, ...messages.map(message => message.seq_id)]));
  it.socket.says('new-message', message(7));
  it.socket.answers([{ conversationId: TALK, messages: [message(5), message(6), message(7)], lastSeq: 7, hasMore: false }]);
  assert.deepEqual(sources, [['sync', 5, 6], ['live', 7]]);
});

test('one that was added is followed; one that was removed no more', async () => {
  const it = await setUp();
  it.socket.says('conversation-update', { conversationId: 'group_5', change: 'added' });
  assert.deepEqual(it.socket.of('sync')[0].data.conversations, [{ conversationId: 'group_5' }]);
  it.socket.says('conversation-update', { conversationId: 'group_5', change: 'removed' });
  assert.equal(it.client.timeline('group_5'), undefined);
  assert.deepEqual(it.seen.events.map(event => event.change), ['added', 'removed']);
});

test('an own message goes from sending over accepted to persisted, and takes its place', async () => {
  const it = await setUp();
  follow(it, 3);
  it.client.send(TALK, 'hello');
  const [frame] = it.socket.of('send-message');
  const { tempMessageId } = frame.data;
  it.socket.says('message-ack', { tempMessageId, conversationId: TALK, status: 'accepted' });
  it.socket.persists(frame, 4);
  it.socket.persists(frame, 4);
  it.socket.says('new-message', message(4, { sender_id: '1', client_msg_id: tempMessageId }));
  assert.deepEqual(it.seen.outbox, [['hello', 'sending'], ['hello', 'accepted'], ['hello', 'persisted']]);
  assert.deepEqual(it.seen.seqs, [4]);
  assert.deepEqual(it.client.pending(), []);
});

test('after reconnecting: sync, then what is not persisted, in order, before anything new', async () => {
  const it = await setUp();
  follow(it, 0);
  for (const text of ['a', 'b', 'c']) it.client.send(TALK, text);
  const [a, b] = it.socket.of('send-message');
  it.socket.persists(a, 1);
  it.socket.says('message-ack', { tempMessageId: b.data.tempMessageId, conversationId: TALK, status: 'accepted' });
  it.socket.drops();
  it.client.send(TALK, 'd');
  await it.clock.pass(1_000);
  assert.equal(it.sockets.length, 2);
  it.socket.connected();
  it.client.send(TALK, 'e');
  assert.equal(it.socket.sent[0].type, 'sync');
  assert.deepEqual(it.socket.contents, ['b', 'c', 'd', 'e']);
  assert.equal(it.socket.of('send-message')[0].data.tempMessageId, b.data.tempMessageId);
});

test('one that a sync shows to be persisted is settled by its client_msg_id', async () => {
  const it = await setUp();
  follow(it, 0);
  it.client.send(TALK, 'a');
  const { tempMessageId } = it.socket.of('send-message')[0].data;
  it.socket.drops();
  await it.clock.pass(1_000);
  it.socket.connected();
  it.socket.answers([{ conversationId: TALK, messages: [message(1, { sender_id: '1', client_msg_id: tempMessageId, content: 'a' })], lastSeq: 1, hasMore: false }]);
  assert.deepEqual(it.client.pending(), []);
  it.socket.persists(it.socket.of('send-message')[0], 1);
  assert.deepEqual(it.seen.seqs, [1]);
});

test('the outbox survives a reload, failed ones stay failed', async () => {
  const storage = new FakeStorage();
  const first = await setUp({ storage, connect: false });
  for (const text of ['a', 'b', 'c']) first.client.send(TALK, text);
  first.socket.connected();
  const [a, b] = first.socket.of('send-message');
  first.socket.persists(a, 1);
  first.socket.says('error', { code: 'NOT_A_MEMBER', message: 'no', tempMessageId: b.data.tempMessageId, retryable: false });
  first.client.stop();

  const second = await setUp({ storage });
  assert.deepEqual(second.socket.contents, ['c']);
  assert.deepEqual(second.client.pending().map(({ content, state }) => [content, state]), [['b', 'failed'], ['c', 'sending']]);
  second.client.retry(b.data.tempMessageId);
  assert.deepEqual(second.socket.contents, ['c', 'b']);
  for (const frame of second.socket.of('send-message')) second.socket.persists(frame, frame.data.content === 'c' ? 2 : 3);
  assert.equal(storage.length, 0);
});

test('another user of the same storage sees nothing of it', async () => {
  const storage = new FakeStorage();
  const one = await setUp({ storage, connect: false });
  one.client.send(TALK, 'a');
  const other = new Client({ url: 'ws://here/ws', userId: '11', token: 't', WebSocket: class {}, storage });
  assert.deepEqual(other.pending(), []);
});

test('a retryable refusal holds back what follows in that conversation, and only there', async () => {
  const it = await setUp();
  it.client.send(TALK, 'a');
  const { tempMessageId } = it.socket.of('send-message')[0].data;
  it.socket.says('error', { code: 'RATE_LIMITED', message: 'slower', tempMessageId, retryable: true });
  it.client.send(TALK, 'b');
  it.client.send('world', 'w');
  assert.deepEqual(it.socket.contents, ['a', 'w']);
  await it.clock.pass(500);
  assert.deepEqual(it.socket.contents, ['a', 'w', 'a', 'b']);
});

test('above the rate nothing goes out before the time that was told, no message and no sync', async () => {
  const it = await setUp();
  follow(it, 5);
  it.client.send(TALK, 'a');
  const { tempMessageId } = it.socket.of('send-message')[0].data;
  it.socket.says('error', { code: 'RATE_LIMITED', message: 'too many: send nothing for retry_ms=1800', tempMessageId, retryable: true });
  it.client.send('world', 'w');
  it.client.follow('single_1_3', 5);
  await it.clock.pass(1_799);
  assert.deepEqual([it.socket.contents, it.socket.of('sync').length], [['a'], 1]);
  await it.clock.pass(1);
  assert.deepEqual([it.socket.contents, it.socket.of('sync').length], [['a', 'a', 'w'], 2]);
});

test('a message without an answer is sent again', async () => {
  const it = await setUp({ limits: { silenceMs: 1e9 } });
  it.client.send(TALK, 'a');
  it.socket.says('pong', {});
  await it.clock.pass(15_000);
  it.socket.says('pong', {});
  assert.deepEqual(it.socket.contents, ['a', 'a']);
});

test('a full outbox refuses, and so does a text that is too long', async () => {
  const it = await setUp({ connect: false, limits: { outboxMax: 2 } });
  it.client.send(TALK, 'a');
  it.client.send(TALK, 'b');
  assert.throws(() => it.client.send(TALK, 'c'), OutboxFull);
  assert.throws(() => it.client.send(TALK, 'x'.repeat(5_001)), RangeError);
  assert.throws(() => it.client.send(TALK, ''), RangeError);
});

test('resync: a sync after a random wait, within what was said', async () => {
  const it = await setUp();
  follow(it, 5);
  it.clock.chance = 0.9;
  it.socket.says('resync', { withinMs: 1_000 });
  it.socket.says('resync', { withinMs: 1_000 });
  await it.clock.pass(899);
  assert.equal(it.socket.of('sync').length, 1);
  await it.clock.pass(1);
  assert.deepEqual(it.socket.of('sync')[1].data.conversations, [{ conversationId: TALK, afterSeq: 5 }]);
  await it.clock.pass(200);
  assert.equal(it.socket.of('sync').length, 2);
});

test('a sync that is refused or stays without an answer is asked again', async () => {
  const it = await setUp();
  it.client.follow(TALK, 5);
  it.socket.says('error', { code: 'BUSY', message: 'later', retryable: true });
  await it.clock.pass(1_000);
  assert.equal(it.socket.of('sync').length, 2);
  it.socket.says('pong', {});
  await it.clock.pass(11_000);
  assert.equal(it.socket.of('sync').length, 3);
});

test('typing is sent once in 2 s and never kept', async () => {
  const it = await setUp({ connect: false });
  it.client.typing(TALK);
  it.socket.connected();
  for (let i = 0; i < 5; i++) {
    it.client.typing(TALK);
    await it.clock.pass(500);
  }
  assert.equal(it.socket.of('typing').length, 2);
});

test('mark-read goes forward only, and again after reconnecting', async () => {
  const it = await setUp();
  for (const seq of [3, 2, 3, 5]) it.client.markRead(TALK, seq);
  assert.deepEqual(it.socket.of('mark-read').map(frame => frame.data.seqId), [3, 5]);
  it.socket.drops();
  it.client.markRead(TALK, 6);
  await it.clock.pass(1_000);
  it.socket.connected();
  assert.deepEqual(it.socket.of('mark-read').map(frame => frame.data), [{ conversationId: TALK, seqId: 6 }]);
});

test('read and typing of others are handed out', async () => {
  const it = await setUp();
  it.socket.says('read', { conversationId: TALK, userId: '2', seqId: 4 });
  it.socket.says('typing', { conversationId: TALK, userId: '2' });
  assert.deepEqual(it.seen.events.map(event => event.type), ['read', 'typing']);
});

test('what is held is bounded; the conversation in focus may hold more', async () => {
  const it = await setUp({ limits: { heldMax: 3, heldInFocusMax: 5 } });
  follow(it, 0);
  it.client.focus(TALK);
  for (let seq = 1; seq <= 8; seq++) it.socket.says('new-message', message(seq));
  const timeline = it.client.timeline(TALK);
  assert.deepEqual(timeline.messages.map(message => message.seq_id), [4, 5, 6, 7, 8]);
  it.client.focus('');
  assert.deepEqual([timeline.floor, timeline.top, timeline.complete], [5, 8, false]);
});

test('history joins at the front, and only where it fits', async () => {
  const it = await setUp();
  follow(it, 10);
  it.socket.says('new-message', message(11));
  const timeline = it.client.timeline(TALK);
  assert.deepEqual(timeline.prepend(9, [message(7), message(8)], true), []);
  timeline.prepend(11, [message(9), message(10)], true);
  timeline.prepend(9, [message(8)], false);
  assert.deepEqual(timeline.messages.map(message => message.seq_id), [8, 9, 10, 11]);
  assert.equal(timeline.complete, true);
});
