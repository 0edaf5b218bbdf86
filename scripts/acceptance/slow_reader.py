"""One of a thousand in a group stops reading: the server closes it, the others lose nothing."""
import asyncio, multiprocessing, re, socket, time

from common import Server, Tally, message, receive
import raw

MEMBERS, RATE, SECONDS, CONTENT = 1000, 100, 15, "x" * 1000
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
        total = RATE * SECONDS
        sender = await server.connect(1)
        ours, theirs = multiprocessing.Pipe()
        tokens = [server.token(user) for user in range(2, MEMBERS)]
        crowd = multiprocessing.Process(target=members, args=(server.port, tokens, total, theirs))
        crowd.start()
        assert await asyncio.to_thread(ours.recv) == "ready"
        acks = asyncio.create_task(count_acks(sender, total))
        start = time.monotonic()
        for n in range(total):
            await asyncio.sleep(max(0, start + n / RATE - time.monotonic()))
            await sender.send(message(f"m{n}", group, f"{n} {CONTENT}"))
        took = time.monotonic() - start
        tally.check(f"{total} messages sent at {total / took:.0f}/s", total / took > 0.95 * RATE, took)
        tally.equal("all were acked", await asyncio.wait_for(acks, 30), total)
        tally.equal(f"{len(tokens)} others got every seq once, in order", await asyncio.to_thread(ours.recv), len(tokens))
        crowd.join(10)
        tally.equal("the metrics say that one was closed as a slow consumer", server.metric("ringway_sessions_closed_total", code="4003"), 1)
        await asyncio.to_thread(resume, tally, reader)
    tally.end()


SEQ = re.compile(rb'"seq_id":(\d+)')


class Member(asyncio.Protocol):
    """A reader that does no more per message than to note its seq: a thousand of them share a core."""

    def __init__(self, token, total):
        self.token, self.total, self.seqs, self.buffer, self.open = token, total, [], b"", False
        self.ready, self.done = (asyncio.get_running_loop().create_future() for _ in range(2))

    def connection_made(self, transport):
        transport.write(raw.request(self.token))

    def data_received(self, data):
        self.buffer += data
        if not self.open:
            if b'"type":"connected"' not in self.buffer or not self.buffer.endswith(b"}}"):
                return
            self.open, self.buffer = True, b""
            self.ready.set_result(None)
            return
        # Only whole frames: the rest waits for its end.
        at = 0
        while len(self.buffer) >= at + 4:
            size = self.buffer[at + 1]
            header, size = (4, int.from_bytes(self.buffer[at + 2:at + 4], "big")) if size == 126 else (2, size)
            if len(self.buffer) < at + header + size:
                break
            found = SEQ.search(self.buffer, at + header, at + header + size)
            if found:
                self.seqs.append(int(found[1]))
            at += header + size
        self.buffer = self.buffer[at:]
        if len(self.seqs) >= self.total and not self.done.done():
            self.done.set_result(self.seqs)

    def connection_lost(self, error):
        for future in (self.ready, self.done):
            if not future.done():
                future.set_result(self.seqs)


def members(port, tokens, total, pipe):
    """One process full of members; says when all are connected, and what they saw."""

    async def run():
        loop = asyncio.get_running_loop()
        all_ = [(await loop.create_connection(lambda: Member(token, total), "127.0.0.1", port))[1] for token in tokens]
        await asyncio.gather(*(member.ready for member in all_))
        pipe.send("ready")
        await asyncio.wait_for(asyncio.gather(*(member.done for member in all_)), 90)
        pipe.send(sum(member.seqs == list(range(1, total + 1)) for member in all_))

    asyncio.run(run())


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


if __name__ == "__main__":
    first = asyncio.run(resumes_in_time())
    if first.failed:
        first.end()
    asyncio.run(main())
