"""Session policies, and every limit: whoever exceeds one is told which, and when to come back."""
import asyncio, contextlib, json, os, re, socket, struct, subprocess, time

import websockets
from common import BINARY, WAIT_S, Server, Tally, message, receive, wait_until
import raw

OPEN = "commands_per_second = 0\nworld_user_per_second = 0\nworld_per_second = 0\n"


def server(limits, *args):
    """A server of one shard with these limits, and no rates but those."""
    it = Server(None, "--shards", "1", *args)
    path = os.path.join(it.data, "limits.toml")
    named = {line.split(" ")[0] for line in limits.splitlines()}
    rest = "".join(line + "\n" for line in OPEN.splitlines() if line.split(" ")[0] not in named)
    with open(path, "w") as file:
        file.write(f"[limits]\n{limits}\n{rest}")
    it.args = ("--config", path, "--shards", "1", *args)
    return it


async def closed(ws):
    """The code and reason that a session ends with, and what came before."""
    events = []
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                events.append(json.loads(await ws.recv()))
    except websockets.ConnectionClosed:
        return ws.close_code, ws.close_reason, events


async def works(ws):
    await ws.send(json.dumps({"type": "ping"}))
    return (await receive(ws))["type"] == "pong"


async def replace(tally):
    with server('session_policy = "replace"') as it:
        older = await it.connect(1)
        newer = await it.connect(1)
        tally.equal("replace: the older of two sessions is closed 4002", (await closed(older))[0], 4002)
        tally.check("replace: the newer one works", await works(newer))
        other = await it.connect(2)
        tally.check("replace: another user's session is not concerned", await works(newer) and await works(other))


async def per_device(tally):
    def token(it, device):
        command = [BINARY, "token", "--user", "1", "--data", it.data]
        return subprocess.check_output(command + (["--device", device] if device else []), text=True).strip()

    async def connect(it, device):
        it.cached[1] = token(it, device)
        return await it.connect(1)

    with server('session_policy = "per-device"') as it:
        phone, laptop, unnamed = await connect(it, "phone"), await connect(it, "laptop"), await connect(it, None)
        tally.check("per-device: one session for each device", all([await works(ws) for ws in (phone, laptop, unnamed)]))
        for name, device, older in (("phone", "phone", phone), ("without a name", None, unnamed)):
            newer = await connect(it, device)
            tally.equal(f"per-device: a second session of the device {name} closes the first 4002", (await closed(older))[0], 4002)
            tally.check(f"per-device: the newer one of {name} works, and the laptop's too", await works(newer) and await works(laptop))


async def ninth_session(tally):
    with server('session_policy = "all"') as it:
        sessions = [await it.connect(1) for _ in range(8)]
        tally.check("all: eight sessions side by side", all([await works(ws) for ws in sessions]))
        ninth = await it.connect(1)
        code, reason, _ = await closed(sessions[0])
        tally.check("all: the ninth closes the oldest 4002, and the reason says why", code == 4002 and "sessions" in reason, (code, reason))
        sender = await it.connect(2)
        await sender.send(message("a", "single_1_2", "to all"))
        got = [(await receive(ws, "new-message"))["data"]["content"] for ws in (*sessions[1:], ninth)]
        tally.equal("all: the eight that are left get a message each", got, ["to all"] * 8)


def told_ms(text):
    found = re.search(r"\bretry_ms=(\d+)", text)
    return int(found[1]) if found else None


async def flood(tally):
    rate, burst, strikes = 40, 50, 100

    async def pour(ws, count):
        with contextlib.suppress(websockets.ConnectionClosed):
            for n in range(count):
                await ws.send(message(f"f{n}", "single_1_2", "flood"))
        return await closed(ws)

    with server(f"commands_per_second = {rate}\ncommands_burst = {burst}") as it:
        code, reason, events = await pour(await it.connect(1), burst + strikes + 100)
        errors = [event["data"] for event in events if event["type"] == "error"]
        # The rate goes on while the flood is read: a few more than the burst may be taken.
        tally.check(f"above the rate: about {strikes} errors, each with its message", strikes <= len(errors) <= strikes + 20
                    and len({error["tempMessageId"] for error in errors}) == len(errors), len(errors))
        tally.check("above the rate: RATE_LIMITED, which rate, and how long to wait",
                    all(e["code"] == "RATE_LIMITED" and e["retryable"] and f"{rate} a second" in e["message"] and told_ms(e["message"]) for e in errors), errors[:1])
        tally.check("then 4004, and how long to wait", code == 4004 and told_ms(reason), (code, reason))
        code, reason, _ = await pour(await it.connect(1), burst)
        tally.equal("back at once and on: 4004 again", code, 4004)
        await asyncio.sleep(told_ms(reason) / 1000)
        ws = await it.connect(1)
        for n in range(burst // 2):
            await ws.send(message(f"w{n}", "single_1_2", "waited"))
        acks = [await receive(ws) for _ in range(burst // 2)]
        tally.equal("back after that time: every command is taken", {event["type"] for event in acks}, {"message-ack"})
        await obedient(tally, it, 2 * rate)


async def obedient(tally, it, rate, seconds=8):
    """Sends at twice the rate, and waits as long as it is told: loses time, but no session."""
    ws = await it.connect(3)
    acked, refused, hold_until, n = set(), 0, 0.0, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if time.monotonic() >= hold_until:
            n += 1
            await ws.send(message(f"o{n}", "single_3_4", "obedient"))
        try:
            event = await receive(ws, wait=1 / rate)
        except TimeoutError:
            continue
        if event["type"] == "message-ack":
            acked.add(event["data"]["tempMessageId"])
        elif event["type"] == "error":
            refused += 1
            hold_until = time.monotonic() + told_ms(event["data"]["message"]) / 1000
    tally.check(f"{rate} a second, and waiting as told: refused, acked, never closed", refused > 0 and await works_on(ws), refused)
    print(f"     {n} sent, {len(acked)} acked, {refused} refused", flush=True)


async def works_on(ws):
    """Whether the session still answers, whatever else comes."""
    await asyncio.sleep(1)
    await ws.send(json.dumps({"type": "ping"}))
    return (await receive(ws, "pong"))["type"] == "pong"


async def world(tally):
    async def refused(it, user, sends):
        ws = await it.connect(user)
        for n in range(sends):
            await ws.send(message(f"w{user}-{n}", "world", "hello"))
        events = []
        while len(events) < sends:
            event = await receive(ws)
            if event["type"] in ("message-ack", "error"):
                events.append(event["data"])
        return [e for e in events if "code" in e]

    with server("world_user_per_second = 1\nworld_user_burst = 3\nworld_per_second = 1000\nworld_burst = 1000") as it:
        errors = await refused(it, 1, 5)
        tally.check("world: a user's fourth at once is RATE_LIMITED, and by which rate",
                    len(errors) == 2 and all(e["code"] == "RATE_LIMITED" and "1 a second, 3 at once of each user" in e["message"] for e in errors), errors)
        tally.equal("world: another user is not concerned", await refused(it, 2, 3), [])
    with server("world_user_per_second = 1000\nworld_user_burst = 1000\nworld_per_second = 1\nworld_burst = 4") as it:
        first = await refused(it, 1, 3)
        errors = await refused(it, 2, 3)
        tally.check("world: the fifth of all is RATE_LIMITED, and by which rate",
                    not first and len(errors) == 2 and all(e["code"] == "RATE_LIMITED" and "1 a second, 4 at once of all" in e["message"] for e in errors),
                    (first, errors))


def addresses(tally):
    with server("connections_per_second = 5\nconnections_burst = 5\nloopback_exempt = false") as it:
        heads = []
        for _ in range(12):
            s = raw.connect(it.port)
            s.sendall(raw.request(it.token(1)))
            heads.append(raw.Reader(s).head())
            s.close()
        told = [head for head in heads if head.startswith("HTTP/1.1 429")]
        tally.check("connections of one address above the rate: 429, when to come back, the others 101",
                    len(told) >= 6 and len(told) + sum(h.startswith("HTTP/1.1 101") for h in heads) == 12
                    and all("Retry-After: " in h for h in told), heads)
        time.sleep(1.2)
        s = raw.connect(it.port)
        s.sendall(raw.request(it.token(1)))
        tally.check("a second later it gets in", raw.Reader(s).head().startswith("HTTP/1.1 101"))
        s.close()


async def sizes(tally):
    with server("") as it:
        ws = await it.connect(1)
        for name, content, expected in (("no", "", "content length must be between 1 and 5000 characters, got 0"),
                                        ("5,001", "x" * 5001, "content length must be between 1 and 5000 characters, got 5001")):
            await ws.send(message(f"c{len(content)}", "single_1_2", content))
            error = (await receive(ws, "error"))["data"]
            tally.equal(f"content of {name} characters is refused with the bound", (error["code"], error["message"]), ("INVALID_MESSAGE", expected))
        await ws.send(message("full", "single_1_2", "😀" * 5000))
        tally.equal("5,000 characters of 4 bytes are taken", (await receive(ws))["type"], "message-ack")
        one = {"conversationId": "single_1_2"}
        for name, data, expected in (("101 conversations", {"conversations": [one] * 101}, "conversations must be between 1 and 100, got 101"),
                                     ("no conversation", {"conversations": []}, "conversations must be between 1 and 100, got 0"),
                                     ("limit 301", {"conversations": [one], "limit": 301}, "limit must be between 1 and 300, got 301")):
            await ws.send(json.dumps({"type": "sync", "data": data}))
            error = (await receive(ws, "error"))["data"]
            tally.equal(f"sync with {name} is refused with the bound", (error["code"], error["message"]), ("INVALID_MESSAGE", expected))
        await ws.send(json.dumps({"type": "sync", "data": {"conversations": [one] * 100, "limit": 300}}))
        tally.equal("sync at both bounds is answered", len((await receive(ws, "sync-result"))["data"]["conversations"]), 100)
        pad = 65536 - len(message("m", "single_1_2", ""))
        await ws.send(message("m", "single_1_2", "x" * pad))
        tally.equal("a message of 64 KiB is read", (await receive(ws, "error"))["data"]["code"], "INVALID_MESSAGE")
        await ws.send(message("m", "single_1_2", "x" * (pad + 1)))
        code, reason, _ = await closed(ws)
        tally.check("one byte more closes 1009, and the reason says why", code == 1009 and "larger than the limit" in reason, (code, reason))


def full(tally):
    with server("", "--connections-max", "3") as it:
        held = []
        for user in range(1, 4):
            s = raw.connect(it.port)
            s.sendall(raw.request(it.token(user)))
            reader = raw.Reader(s)
            reader.head()
            reader.event("connected")
            held.append(s)
        s = raw.connect(it.port)
        s.sendall(raw.request(it.token(4)))
        head = raw.Reader(s).head()
        tally.check("one connection too many: 503, and when to come back", head.startswith("HTTP/1.1 503") and "Retry-After: " in head, head)
        held.pop().close()
        wait_until(lambda: it.total("connections") == 2)
        s = raw.connect(it.port)
        s.sendall(raw.request(it.token(4)))
        tally.check("once one has left, the next gets in", raw.Reader(s).head().startswith("HTTP/1.1 101"))


def unfinished(size):
    """The first frame of a message that is not finished, with a mask of zeros."""
    return bytes([0x01, 0xFE]) + struct.pack(">H", size) + bytes(4) + b"x" * size


def memory(tally):
    with server("egress_bytes_max = 65536\nmemory_bytes_max = 100000") as it:
        readers = []
        for user in (1, 2):
            s = raw.connect(it.port)
            s.sendall(raw.request(it.token(user)))
            reader = raw.Reader(s)
            reader.head()
            reader.event("connected")
            readers.append(reader)
        readers[0].sock.sendall(unfinished(60_000))
        wait_until(lambda: it.total("partial_bytes") >= 60_000)
        readers[1].sock.sendall(unfinished(60_000))
        try:
            end = readers[1].event()
        except (EOFError, OSError) as error:
            end = str(error)
        tally.check("a shard whose memory is full closes 1013 whoever needs more, and says why",
                    str(end).startswith("closed 1013") and "memory" in str(end), end)
        readers[0].sock.sendall(bytes([0x89, 0x80]) + bytes(4))
        tally.equal("who held it before stays", readers[0].frame()[0], 10)


async def slow(tally):
    with server("egress_bytes_max = 65536") as it:
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        s.connect(("127.0.0.1", it.port))
        s.settimeout(WAIT_S)
        s.sendall(raw.request(it.token(2)))
        reader = raw.Reader(s)
        reader.head()
        reader.event("connected")
        sender = await it.connect(1)
        n = 0
        while it.metric("ringway_sessions_closed_total", code="4003") == 0 and n < 1000:
            for _ in range(20):
                await sender.send(message(f"s{n}", "single_1_2", "x" * 4000))
                n += 1
            for _ in range(20):
                await receive(sender, "message-ack")

        def drain():
            try:
                while True:
                    reader.event()
            except (EOFError, OSError) as error:
                return str(error)

        end = await asyncio.to_thread(drain)
        tally.check("more queued than the cap: 4003, and the reason says why", end.startswith("closed 4003") and "queued" in end, end)


async def main():
    tally = Tally()
    for check in (replace, per_device, ninth_session, flood, world, sizes, slow):
        await check(tally)
    for check in (addresses, full, memory):
        check(tally)
    tally.end()


if __name__ == "__main__":
    asyncio.run(main())
