"""A Python client and a Node client talk: single, group and world; one who was offline gets all by sync."""
import asyncio, json, subprocess

from common import ROOT, Server, Tally, message, receive, sync_all

ANNA, NODE, LATE = 1, 2, 3


async def exchange(server, tally):
    group = server.group(ANNA, [str(NODE), LATE])
    tally.check("a group is made", group.startswith("group_"), group)
    node = await asyncio.create_subprocess_exec(
        "node", str(ROOT / "scripts/acceptance/talk.mjs"), server.url(NODE), "single_1_2", group, "world",
        stdout=subprocess.PIPE)
    ready = await asyncio.wait_for(node.stdout.readline(), 10)
    tally.equal("the Node client is connected", ready.decode().strip(), "connected")
    anna = await server.connect(ANNA)
    for conversation in ("single_1_2", group, "world"):
        for n in range(10):
            await anna.send(message(f"anna-{conversation}-{n}", conversation, f"hello {n}, grüße 你好"))
        acks, replies = [], []
        while len(acks) < 10 or len(replies) < 10:
            event = await receive(anna)
            (acks if event["type"] == "message-ack" else replies).append(event)
        data = [ack["data"] for ack in acks]
        tally.check(f"{conversation}: acks are persisted, with ids and seq",
                    all(d["status"] == "persisted" and d["messageId"].isdigit() and d["seqId"] > 0 for d in data), data[:2])
        tally.equal(f"{conversation}: the Node client answered each message, in order",
                    [r["data"]["content"] for r in replies], [f"re: hello {n}, grüße 你好" for n in range(10)])
        ids = {a["messageId"] for a in data} | {r["data"]["message_id"] for r in replies}
        tally.equal(f"{conversation}: every message has an id of its own", len(ids), 20)
    await anna.send(message("end", "single_1_2", "bye"))
    tally.equal("the Node client saw every ack and message", (await asyncio.wait_for(node.stdout.readline(), 10)).decode().strip(),
                "acks 30, messages 31")
    await asyncio.wait_for(node.wait(), 10)
    return group


async def late(server, tally, group):
    ws = await server.connect(LATE)
    for conversation in (group, "world"):
        messages, pages = await sync_all(ws, conversation, limit=7)
        tally.equal(f"{conversation}: who was offline gets all, in order", [m["seq_id"] for m in messages], list(range(1, 21)))
        tally.equal(f"{conversation}: in pages of 7", pages, 3)
    request = {"conversations": [{"conversationId": "single_1_2"}]}
    await ws.send(json.dumps({"type": "sync", "data": request}))
    part = (await receive(ws, "sync-result"))["data"]["conversations"][0]
    tally.equal("what is not one's own can't be read", part, {"conversationId": "single_1_2", "code": "NOT_A_MEMBER"})


async def main():
    tally = Tally()
    with Server(None, "--shards", "2") as server:
        group = await exchange(server, tally)
        await late(server, tally, group)
    tally.end()


asyncio.run(main())
