"""One of a thousand in a group stops reading: the server closes it, the others lose nothing."""
import asyncio, json, socket, struct, time

from common import Server, Tally, message, receive
import raw

MEMBERS, RATE, SECONDS, CONTENT = 1000, 100, 15, "x" * 2000
SLOW = MEMBERS


async def main():
    tally = Tally()
    with Server(None, "--shards", "2") as server:
        server.tokens(1, MEMBERS)
        group = server.group(1, range(2, MEMBERS + 1))
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.connect(("127.0.0.1", server.port))
        slow.settimeout(20)
        slow.sendall(raw.request(server.token(SLOW)))
        reader = raw.Reader(slow)
        reader.head()
        reader.event("connected")
        others = await connect_all(server, range(1, MEMBERS))
        total = RATE * SECONDS
        sender, receivers = others[0], others[1:]
        tasks = [asyncio.create_task(count(ws, total)) for ws in receivers]
        acks = asyncio.create_task(count_acks(sender, total))
        start = time.monotonic()
        for n in range(total):
            await asyncio.sleep(max(0, start + n / RATE - time.monotonic()))
            await sender.send(message(f"m{n}", group, f"{n} {CONTENT}"))
        print(f"     {total} messages sent in {time.monotonic() - start:.1f} s", flush=True)
        results = await asyncio.wait_for(asyncio.gather(*tasks), 60)
        tally.equal("all were acked", await asyncio.wait_for(acks, 10), total)
        tally.equal(f"{len(receivers)} others got every seq once, in order", sum(seqs == list(range(1, total + 1)) for seqs in results), len(receivers))
        tally.equal("the metrics say that one was closed as a slow consumer", server.metric("ringway_sessions_closed_total", code="4003"), 1)
        await asyncio.to_thread(resume, tally, reader)
    tally.end()


async def connect_all(server, users):
    gate = asyncio.Semaphore(50)

    async def one(user):
        async with gate:
            return await server.connect(user)

    return await asyncio.gather(*(one(user) for user in users))


async def count(ws, total):
    seqs = []
    while len(seqs) < total:
        seqs.append((await receive(ws, "new-message", 60))["data"]["seq_id"])
    return seqs


async def count_acks(ws, total):
    seen = 0
    while seen < total:
        await receive(ws, "message-ack", 60)
        seen += 1
    return seen


def resume(tally, reader):
    """Reads on: what had been on its way, then the close frame or the end."""
    seqs = []
    try:
        while True:
            event = reader.event()
            if event["type"] == "new-message":
                seqs.append(event["data"]["seq_id"])
    except (EOFError, OSError) as end:
        tally.check("the slow one got a prefix without a gap", seqs == list(range(1, len(seqs) + 1)), seqs[-5:])
        print(f"     the slow one read {len(seqs)} messages, then: {end}", flush=True)


async def resumes_in_time():
    """A reader that resumes within the grace time sees 4003."""
    tally = Tally()
    with Server(None, "--shards", "1") as server:
        server.tokens(1, 2)
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.connect(("127.0.0.1", server.port))
        slow.settimeout(20)
        slow.sendall(raw.request(server.token(2)))
        reader = raw.Reader(slow)
        reader.head()
        reader.event("connected")
        sender = await server.connect(1)
        n = 0
        while server.metric("ringway_sessions_closed_total", code="4003") == 0 and n < 3000:
            for _ in range(20):
                await sender.send(message(f"s{n}", "single_1_2", CONTENT))
                n += 1
            for _ in range(20):
                await receive(sender, "message-ack")
        end = await asyncio.to_thread(drain, reader)
        tally.check("a reader that resumes sees close 4003", end.startswith("closed 4003"), end)
    return tally


def drain(reader):
    try:
        while True:
            reader.event()
    except (EOFError, OSError) as end:
        return str(end)


first = asyncio.run(resumes_in_time())
if first.failed:
    first.end()
asyncio.run(main())
