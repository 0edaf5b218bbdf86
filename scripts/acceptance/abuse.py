"""Slow loris, half-open, resets, and 20,000 connections against a limit of 5,000, three times over."""
import asyncio, multiprocessing, os, select, socket, struct, time

from common import Server, Tally, wait_until
import raw

LIMIT, CLIENTS, PROCESSES, ROUNDS = 5000, 20_000, 2, 3


def loris(server, tally):
    s = raw.connect(server.port)
    start = time.monotonic()
    request = raw.request(server.token(1))
    answer = b""
    for byte in request:
        s.send(bytes([byte]))
        if select.select([s], [], [], 0.2)[0]:
            answer = s.recv(4096)
            break
    took = time.monotonic() - start
    tally.check("a request of five bytes a second is answered 408", answer.startswith(b"HTTP/1.1 408"), answer[:60])
    tally.check("after five seconds", 4.5 < took < 7, took)
    s.close()


def half_open(server, tally):
    sockets = [raw.connect(server.port) for _ in range(100)]
    answers = [s.recv(4096) for s in sockets]
    tally.equal("a hundred that say nothing get 408", sum(a.startswith(b"HTTP/1.1 408") for a in answers), 100)
    # They hold their ends open: the server lets go after its grace time all the same.
    tally.check("and their slots are free again although they hold on", wait_until(lambda: server.total("slots") == 0))
    for s in sockets:
        s.close()


def resets(server, tally):
    request = raw.request(server.token(1))
    for n in range(300):
        s = raw.connect(server.port)
        s.send(request[: 1 + n % (len(request) + 40)])
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    tally.check("300 resets in the middle of the upgrade leave no slot", wait_until(lambda: server.total("slots") == 0),
                server.total("slots"))


def crowd(port, tokens, first_source, pipe):
    """Connects once per token, says how each was answered, closes all when told."""

    async def one(n, gate, held):
        source = f"127.0.0.{first_source + n % 8}"
        async with gate:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
                writer.write(raw.request(tokens[n]))
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
                return type(error).__name__
        status = head[9:12].decode()
        if status == "101":
            held.append(writer)
        else:
            if b"retry-after" not in head.lower():
                status += " without Retry-After"
            writer.close()
        return status

    async def run():
        gate, held = asyncio.Semaphore(200), []
        answers = await asyncio.gather(*(one(n, gate, held) for n in range(len(tokens))))
        pipe.send({status: answers.count(status) for status in set(answers)})
        await asyncio.to_thread(pipe.recv)
        for writer in held:
            writer.close()

    asyncio.run(run())


def storm(server, tally, number):
    pipes, processes = [], []
    for n in range(PROCESSES):
        ours, theirs = multiprocessing.Pipe()
        tokens = [server.token(user) for user in range(1 + n, CLIENTS + 1, PROCESSES)]
        process = multiprocessing.Process(target=crowd, args=(server.port, tokens, 2 + 8 * n, theirs))
        process.start()
        pipes.append(ours)
        processes.append(process)
    answers = {}
    for pipe in pipes:
        for status, count in pipe.recv().items():
            answers[status] = answers.get(status, 0) + count
    open_now = server.total("connections")
    for pipe in pipes:
        pipe.send("close")
    for process in processes:
        process.join(30)
    tally.equal(f"round {number}: {LIMIT} get in and {CLIENTS - LIMIT} are told 503, when to come back with it",
                answers, {"101": LIMIT, "503": CLIENTS - LIMIT})
    tally.equal(f"round {number}: as many sessions are open", open_now, LIMIT)
    tally.check(f"round {number}: all slots are free again", wait_until(lambda: server.total("slots") == 0, 20), server.total("slots"))
    return server.rss()


if __name__ == "__main__":
    # The kernel fills the heap's huge pages when it likes, some MiB at once: here only what was touched counts.
    os.environ["MIMALLOC_ALLOW_THP"] = "0"
    tally = Tally()
    with Server(None, "--shards", "1", "--connections-max", str(LIMIT)) as server:
        server.tokens(1, CLIENTS)
        loris(server, tally)
        half_open(server, tally)
        resets(server, tally)
        rss = [storm(server, tally, n) for n in range(1, ROUNDS + 1)]
        print(f"     RSS after each round: {[f'{r / 2**20:.1f} MiB' for r in rss]}", flush=True)
        tally.check("RSS after round 3 is at most that after round 2 and 2%", rss[2] <= rss[1] * 1.02, rss)
    tally.end()
