// How the client connects, waits and comes back. node --test page/
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backoffMs } from './connection.js';
import { setUp, TALK } from './fake.test-help.mjs';

test('the token travels as a subprotocol', async () => {
  const { socket } = await setUp();
  assert.deepEqual(socket.protocols, ['ringway.v1', 'bearer.token']);
  assert.equal(socket.url, 'ws://here/ws');
});

test('the wait before reconnecting doubles with jitter, to a bound', () => {
  assert.deepEqual([0, 1, 2, 10].map(attempt => backoffMs(attempt, 500, 30_000, 0)), [250, 500, 1_000, 15_000]);
  assert.deepEqual([0, 1, 2, 10].map(attempt => backoffMs(attempt, 500, 30_000, 1)), [500, 1_000, 2_000, 30_000]);
});

test('refused hand-shakes back off, and a good connection starts over', async () => {
  const it = await setUp({ connect: false });
  const waits = [];
  for (let i = 0; i < 4; i++) {
    it.socket.drops();
    const { state, retryAt } = it.client.status;
    assert.equal(state, 'waiting');
    waits.push(retryAt - it.clock.time);
    await it.clock.pass(retryAt - it.clock.time);
  }
  assert.deepEqual(waits, [375, 750, 1_500, 3_000]);
  it.socket.connected();
  await it.clock.pass(5_000);
  it.socket.drops();
  assert.equal(it.client.status.retryAt - it.clock.time, 375);
});

for (const [code, why] of [[1001, 'a drain'], [4004, 'a close for being far above the rate']]) {
  test(`${why} says when to come back`, async () => {
    const it = await setUp();
    it.socket.drops(code, 'retry_ms=4321');
    await it.clock.pass(4_320);
    assert.equal(it.sockets.length, 1);
    await it.clock.pass(1);
    assert.equal(it.sockets.length, 2);
  });
}

test('4001 asks for another token', async () => {
  const asked = [];
  const it = await setUp({ token: async why => { asked.push(why); return `token${asked.length}`; } });
  it.socket.drops(4001, 'expired');
  await it.clock.pass(1_000);
  assert.deepEqual(asked, ['first', 'expired']);
  assert.equal(it.socket.protocols[1], 'bearer.token2');
});

test('refused hand-shakes ask whether the token is still good; null ends it', async () => {
  const asked = [];
  const it = await setUp({ connect: false, token: why => { asked.push(why); return why === 'first' ? 'token' : null; } });
  it.socket.drops();
  await it.clock.pass(1_000);
  it.socket.drops();
  await it.clock.pass(10_000);
  assert.deepEqual(asked, ['first', 'refused']);
  assert.equal(it.client.status.state, 'stopped');
});

test('when nobody can say whether the token is good, the one at hand is tried on', async () => {
  const it = await setUp({ connect: false, token: why => { if (why === 'refused') throw new Error('down'); return 'token'; } });
  for (let i = 0; i < 3; i++) {
    it.socket.drops();
    await it.clock.pass(10_000);
  }
  assert.ok(it.sockets.length >= 4);
});

test('4002 stays away, so that two don’t push each other out in turn', async () => {
  const it = await setUp();
  it.socket.drops(4002);
  await it.clock.pass(60_000);
  assert.equal(it.sockets.length, 1);
  assert.equal(it.client.status.state, 'stopped');
});

test('a silent socket is pinged, and given up when that stays without an answer', async () => {
  const it = await setUp();
  await it.clock.pass(20_000);
  assert.equal(it.socket.of('ping').length, 1);
  it.socket.says('pong', {});
  await it.clock.pass(20_000);
  assert.equal(it.socket.of('ping').length, 2);
  assert.equal(it.client.status.state, 'online');
  await it.clock.pass(10_000);
  assert.equal(it.client.status.state, 'waiting');
  assert.equal(it.socket.open, false);
});

test('a hand-shake without `connected` is given up', async () => {
  const it = await setUp({ connect: false });
  await it.clock.pass(10_000);
  assert.equal(it.client.status.state, 'waiting');
});

test('a token for somebody else is not used', async () => {
  const it = await setUp({ connect: false });
  it.client.send(TALK, 'a');
  it.socket.connected({ userId: '2' });
  assert.equal(it.client.status.state, 'stopped');
  assert.deepEqual(it.socket.contents, []);
});
