"""kill -9 under load, start again, resend: every acked message is there once, under its first ids."""
import asyncio, collections, glob, random, sqlite3

import websockets
from common import Server, Tally, message, receive, sync_all

USERS, ROUNDS, ROUND_S = 20, 5, 2.0


class User:
    """Sends at full rate with a window; what is not acked is sent again after a reconnect, in order."""

    def __init__(self, number, conversations):
        self.number, self.conversations = number, conversations
        self.made, self.unacked, self.acks, self.conflicts = 0, collections.OrderedDict(), {}, []

    async def run(self, server):
        try:
            async with websockets.connect(server.url(self.number), compression=None, open_timeout=5) as ws:
                for key in self.unacked:
                    await ws.send(message(*key))
                reader = asyncio.create_task(self.read(ws))
                try:
                    while not reader.done():
                        if len(self.unacked) < 50:
                            self.made += 1
                            key = (f"u{self.number}-{self.made}", random.choice(self.conversations), f"message {self.made}")
                            self.unacked[key] = True
                            await ws.send(message(*key))
                        else:
                            await asyncio.sleep(0.001)
                finally:
                    reader.cancel()
        except (OSError, websockets.WebSocketException, asyncio.TimeoutError):
            pass

    async def read(self, ws):
        async for text in ws:
            import json
            event = json.loads(text)
            if event["type"] == "message-ack":
                self.acked(event["data"])

    def acked(self, data):
        ids = (data["conversationId"], data["messageId"], data["seqId"])
        first = self.acks.setdefault(data["tempMessageId"], ids)
        if first != ids:
            self.conflicts.append((data["tempMessageId"], first, ids))
        for key in [k for k in self.unacked if k[0] == data["tempMessageId"]]:
            del self.unacked[key]


async def repeat_acked(server, user, tally_conflicts):
    """Messages acked in an earlier life are sent again: the same ids must come back."""
    ws = await server.connect(user.number)
    sample = random.sample(sorted(user.acks), min(20, len(user.acks)))
    for client_id in sample:
        conversation = user.acks[client_id][0]
        await ws.send(message(client_id, conversation, f"message {client_id.split('-')[1]}"))
        data = (await receive(ws, "message-ack"))["data"]
        ids = (data["conversationId"], data["messageId"], data["seqId"])
        if ids != user.acks[client_id]:
            tally_conflicts.append((client_id, user.acks[client_id], ids))
    await ws.close()
    return len(sample)


async def main():
    tally = Tally()
    server = Server(None, "--shards", "2")
    server.start()
    server.tokens(1, USERS)
    group = server.group(1, range(2, USERS + 1))
    users = [User(n, [group, "world", f"single_{n}_{n + 100}"]) for n in range(1, USERS + 1)]
    for round_ in range(ROUNDS):
        tasks = [asyncio.create_task(user.run(server)) for user in users]
        await asyncio.sleep(ROUND_S + random.random())
        acked = sum(len(u.acks) for u in users)
        server.kill()
        await asyncio.gather(*tasks)
        server.start()
        print(f"     round {round_ + 1}: killed with {acked} acked, {sum(len(u.unacked) for u in users)} under way", flush=True)
    tasks = [asyncio.create_task(user.run(server)) for user in users]
    await asyncio.sleep(1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    conflicts = [c for u in users for c in u.conflicts]
    tally.equal("a message that was acked twice had the same ids both times", conflicts, [])
    again = []
    repeated = [await repeat_acked(server, user, again) for user in users]
    tally.equal(f"{sum(repeated)} messages of earlier lives sent again get their first ids", again, [])

    ws = await server.connect(1)
    stored = {}
    for conversation in (group, "world"):
        messages, _ = await sync_all(ws, conversation)
        tally.equal(f"{conversation}: sync gives seq 1 to {len(messages)} without a gap",
                    [m["seq_id"] for m in messages], list(range(1, len(messages) + 1)))
        stored[conversation] = {m["client_msg_id"]: (conversation, m["message_id"], m["seq_id"]) for m in messages}
    acks = {k: v for u in users for k, v in u.acks.items()}
    missing = [k for k, v in acks.items() if v[0] in stored and stored[v[0]].get(k) != v]
    tally.equal("sync shows every acked message under its acked ids", missing, [])
    await ws.close()
    server.stop()

    rows = sqlite3.connect(glob.glob(f"{server.data}/*.db")[0]).execute(
        "SELECT CAST(conversation_id AS TEXT), CAST(client_msg_id AS TEXT), message_id, seq_id FROM messages").fetchall()
    found = collections.Counter(row[1] for row in rows)
    tally.equal("in the store each acked message is there exactly once", [k for k in acks if found[k] != 1], [])
    by_id = {r[1]: (r[0], str(r[2] % 2**64), r[3]) for r in rows}
    tally.equal("and has the ids that were acked", [k for k, v in acks.items() if by_id.get(k) != v], [])
    seqs = collections.defaultdict(list)
    for row in rows:
        seqs[row[0]].append(row[3])
    tally.equal("every conversation's seq is dense", [c for c, s in seqs.items() if sorted(s) != list(range(1, len(s) + 1))], [])
    tally.check(f"{len(acks)} messages acked over {ROUNDS} kills, {len(rows)} rows", len(acks) > 1000, len(acks))
    tally.end()


asyncio.run(main())
