"""SIGTERM and Ctrl-C drain: 1001 with a hint, what was acked is stored, exit 0. One data directory, one process."""
import asyncio, glob, json, re, signal, sqlite3, subprocess

import websockets
from common import BINARY, Server, Tally, message, receive


async def drain(tally, sig):
    server = Server(None, "--shards", "2").start()
    users = [await server.connect(n) for n in range(1, 9)]
    acked = set()

    async def read(ws):
        try:
            while True:
                event = await receive(ws, wait=20)
                if event["type"] == "message-ack":
                    acked.add(event["data"]["tempMessageId"])
        except websockets.ConnectionClosed as end:
            return end.rcvd

    async def send(n, ws):
        try:
            for i in range(100_000):
                await ws.send(message(f"{n}-{i}", f"single_{n}_99", "x"))
                await asyncio.sleep(0.001)
        except websockets.ConnectionClosed:
            pass

    readers = [asyncio.create_task(read(ws)) for ws in users]
    senders = [asyncio.create_task(send(n, ws)) for n, ws in enumerate(users, 1)]
    await asyncio.sleep(1)
    code = await asyncio.to_thread(server.kill, sig)
    closes = await asyncio.gather(*readers)
    await asyncio.gather(*senders)
    tally.equal(f"{sig.name}: exit code", code, 0)
    tally.check(f"{sig.name}: every client saw 1001 with a hint",
                all(c and c.code == 1001 and re.fullmatch(r"retry_ms=\d+", c.reason) for c in closes), closes)
    tally.check(f"{sig.name}: the hints differ", len({c.reason for c in closes if c}) > 1, closes)
    rows = sqlite3.connect(glob.glob(f"{server.data}/*.db")[0]).execute("SELECT CAST(client_msg_id AS TEXT) FROM messages")
    stored = {row[0] for row in rows}
    tally.check(f"{sig.name}: all of {len(acked)} acked messages are stored", acked and acked <= stored, acked - stored)


async def main():
    tally = Tally()
    await drain(tally, signal.SIGTERM)
    await drain(tally, signal.SIGINT)
    with Server(None, "--shards", "1") as server:
        command = [BINARY, "dev", "--data", server.data, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        second = subprocess.run(command, capture_output=True, text=True, timeout=20)
        tally.check("a second process on the same data is refused", second.returncode == 69 and "open in another" in second.stderr, second)
        command = [BINARY, "dev", "--data", server.data + "-2", "--listen", f"127.0.0.1:{server.port}", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        second = subprocess.run(command, capture_output=True, text=True, timeout=20)
        tally.check("a port that is taken is told", second.returncode == 69 and "another process has it" in second.stderr, second)
    tally.end()


asyncio.run(main())
