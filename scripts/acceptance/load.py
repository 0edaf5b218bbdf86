"""`ringway load`: a quick run is clean, also over a kill -9; a spoilt ledger is not, and names the message."""
import asyncio, contextlib, json, pathlib, random, re, signal, sqlite3, subprocess, threading, time

import websockets
from common import BINARY, Server, Tally

CLEAN, USAGE, NO_LEDGER, UNAVAILABLE, NOT_CLEAN = 0, 64, 65, 69, 99


def start(server, ledger, *args, port=None, data=None, stderr=subprocess.PIPE):
    command = [BINARY, "load", "quick", "--target", f"ws://127.0.0.1:{port or server.port}/ws", "--data", data or server.data,
               "--api", f"http://127.0.0.1:{server.http}", "--ledger", str(ledger), *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)


def quick(server, ledger, *args, **more):
    process = start(server, ledger, *args, **more)
    out, err = process.communicate(timeout=180)
    return process.returncode, out, err


def verify(ledger, *args):
    done = subprocess.run([BINARY, "load", "verify", str(ledger), *args], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def judged(ledger):
    code, out, err = verify(ledger, "--json")
    return code, json.loads(out) if out else err


def figure(text, name):
    found = re.search(rf"\b{name} ([\d,]+)", text)
    return int(found[1].replace(",", "")) if found else None


def a_clean_run(tally, server, work):
    ledger, report = work / "clean.ledger", work / "report.json"
    code, out, err = quick(server, ledger, "-c", "200", "-R", "500", "-d", "5s", "-o", str(report))
    print(out)
    tally.equal("200 connections, 500/s, 5 s: exit 0", code, CLEAN) or print(err)
    tally.equal("2,500 messages were sent", figure(out, "sent"), 2500)
    tally.equal("and lost 0", figure(out, "lost"), 0)
    tally.check("progress went to stderr", "persisted" in err, err)
    data = json.loads(report.read_text())
    tally.check("the report has the latencies", data["ack_ms"]["count"] == data["delivery_ms"]["count"] == 2500, data["ack_ms"])
    tally.equal("and the verdict", (data["verdict"]["clean"], data["verdict"]["persisted"]), (True, 2500))
    code, out, _ = verify(ledger)
    tally.check("verify says the same", code == CLEAN and figure(out, "persisted") == 2500 and "CLEAN" in out, out)
    return ledger


def groups(tally, server, work):
    code, out, err = quick(server, work / "groups.ledger", "-c", "100", "-R", "200", "-d", "3s", "--groups", "5", "--group-size", "40",
                           "--warmup", "1s")
    tally.equal("5 groups of 40 and pairs, with a warm-up: exit 0", code, CLEAN) or print(out, err)
    tally.check("a group's message is delivered to all the others", figure(out, "delivered") > 5 * figure(out, "sent"), out)


def killed(tally, server, work, kills=1):
    ledger = work / "killed.ledger"
    process = start(server, ledger, "-c", "200", "-R", "500", "-d", f"{4 + 2 * kills}s", "--reconnect", stderr=subprocess.DEVNULL)
    for _ in range(kills):
        time.sleep(2 + random.random())
        server.kill(signal.SIGKILL)
        server.start()
    out, _ = process.communicate(timeout=180)
    print(out)
    tally.equal(f"killed {kills} time(s) by SIGKILL under load, with --reconnect: clean", process.returncode, CLEAN)
    tally.check("everybody came back", figure(out, "reconnects") >= 200 * kills, out)
    tally.equal("verify says the same", verify(ledger)[0], CLEAN)


def without_reconnect(tally, server, work):
    process = start(server, work / "dropped.ledger", "-c", "20", "-R", "200", "-d", "4s", stderr=subprocess.DEVNULL)
    time.sleep(2)
    server.kill(signal.SIGKILL)
    server.start()
    out, _ = process.communicate(timeout=180)
    tally.check("killed without --reconnect: not clean, and it says that sessions dropped",
                process.returncode == NOT_CLEAN and figure(out, "dropped") == 20, out)


def named(ledger, lines, kind, message):
    """Whether a ledger of these lines is found unclean, with that damage of that message."""
    path = ledger.with_name("spoilt.ledger")
    path.write_text("".join(lines))
    code, verdict = judged(path)
    found = [d for d in verdict["damages"] if d["kind"] == kind and message in d["about"]]
    return code == NOT_CLEAN and not verdict["clean"] and bool(found), json.dumps(verdict)[:2000]


def spoilt(tally, ledger):
    lines = ledger.read_text().splitlines(keepends=True)
    records = [json.loads(line).get("r", {}) for line in lines]
    rng = random.Random(7)
    for kind in ("sent", "ack", "got"):
        at = rng.choice([i for i, r in enumerate(records) if kind in r])
        message = records[at][kind]["msg"]
        tally.check(f"a removed {kind} line names its message", *named(ledger, lines[:at] + lines[at + 1:], "removed", message))
        tally.check(f"a doubled {kind} line names its message", *named(ledger, lines[:at + 1] + lines[at:], "doubled", message))
        other = rng.choice([i for i, r in enumerate(records) if "got" in r and i != at])
        swapped = lines.copy()
        swapped[at], swapped[other] = lines[other], lines[at]
        tally.check(f"a swapped {kind} line names its message", *named(ledger, swapped, "swapped", message))
        altered = lines.copy()
        altered[at] = re.sub(r'"at":\d+', '"at":1', lines[at])
        tally.check(f"an altered {kind} line names its message, though the change is harmless",
                    *named(ledger, altered, "altered", message))
    tally.check("a ledger cut off is not clean", *named(ledger, lines[:-1], "truncated", "end"))


def joined(tally, server, work):
    """The rows are a second witness: what is changed in them is found, and named by its message."""
    ledger, path = work / "joined.ledger", pathlib.Path(server.data) / "ringway.db"
    store = f"sqlite:{path}"
    code, out, err = quick(server, ledger, "-c", "20", "-R", "100", "-d", "3s", "--store", store)
    tally.check("a run joined with the store is clean, and says what it read", code == CLEAN and
                f"the store {store} has 300 rows of 10 conversations" in out, out + err)
    tally.equal("verify --store says the same", verify(ledger, "--store", store)[0], CLEAN)
    acked = [r["ack"] for r in map(lambda line: json.loads(line).get("r", {}), ledger.read_text().splitlines()) if "ack" in r]
    gone, other = random.Random(7).sample(acked, 2)
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as rows:
        of = lambda ack: (ack["conv"].encode(), ack["seq"])
        rows.execute("UPDATE messages SET content = content || '!' WHERE conversation_id = ? AND seq_id = ?", of(other))
        rows.execute("DELETE FROM messages WHERE conversation_id = ? AND seq_id = ?", of(gone))
        rows.commit()
    code, out, _ = verify(ledger, "--json", "--store", store)
    faults = {(f["kind"], f["by"], f.get("client_id")) for f in json.loads(out)["faults"]}
    tally.equal("a row deleted and a content changed are found, and by whom it is told", (code, faults),
                (NOT_CLEAN, {("lost", "store", gone["msg"]), ("gap", "store", None), ("altered", "store", other["msg"])}))
    code, out, _ = verify(ledger, "--store", store)
    tally.check("the text names them", code == NOT_CLEAN and f"lost: {gone['conv']} {gone['msg']}" in out and "by the store" in out, out)
    tally.equal("the ledger alone is as clean as before", verify(ledger)[0], CLEAN)
    for place, words in ((f"sqlite:{work}/no.db", "cannot read the store"), ("mysql://u:secret@127.0.0.1:1/x", "mysql://127.0.0.1:1/x")):
        code, out, err = verify(ledger, "--store", place)
        tally.check(f"a store that is not there: exit 69, {words!r}, and no password", code == UNAVAILABLE and words in err and
                    "secret" not in out + err, err)
    code, out, err = verify(ledger, "--store", "postgres://u:secret@h/x")
    tally.check("a store that is none: exit 64, with what is expected, and no password", code == USAGE and "sqlite:" in err and
                "secret" not in out + err, err)
    with contextlib.closing(sqlite3.connect(work / "empty.db")) as rows:
        rows.execute("CREATE TABLE other (n)")
        rows.commit()
    code, _, err = quick(server, ledger, "-c", "2", "-d", "60s", "--store", f"sqlite:{work}/empty.db")
    tally.check("another's database: exit 69 before the run begins", code == UNAVAILABLE and "no table" in err, err)


class Liar:
    """Stands between the clients and the server, and lies about one message."""

    def __init__(self, server, lie):
        self.server, self.lie, self.told, self.held, self.clients = server, lie, None, None, {}
        self.seen = 0
        self.loop, self.ready = asyncio.new_event_loop(), threading.Event()

    async def serve(self):
        self.over = asyncio.Event()
        async with websockets.serve(self.relay, "127.0.0.1", 0, compression=None) as listener:
            self.port = listener.sockets[0].getsockname()[1]
            self.ready.set()
            await self.over.wait()

    async def relay(self, client):
        headers = {"Authorization": client.request.headers["Authorization"]}
        async with websockets.connect(f"ws://127.0.0.1:{self.server.port}/ws", additional_headers=headers, compression=None,
                                      max_size=None) as up:
            pump = asyncio.create_task(self.pump(client, up))
            with contextlib.suppress(websockets.ConnectionClosed):
                async for text in up:
                    for say in self.say(client, text):
                        await client.send(say)
            pump.cancel()

    async def pump(self, client, up):
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in client:
                await up.send(text)
        await up.close()

    def say(self, client, text):
        event = json.loads(text)
        data = event["data"]
        if event["type"] == "connected":
            self.clients[data["userId"]] = client
        if event["type"] == "sync-result" and self.told and self.lie == "lost":
            for part in data["conversations"]:
                part["messages"] = [m for m in part["messages"] if m["client_msg_id"] != self.told]
            return [json.dumps(event)]
        if event["type"] != "new-message":
            return [text]
        return self.say_message(client, text, event, data)

    def say_message(self, client, text, event, data):
        self.seen += 1
        if self.held and self.held[0] is client:
            texts = [text, self.held[1]]
            self.held = None
            return texts
        if self.told or self.seen < 50:
            return [text]
        self.told = data["client_msg_id"]
        if self.lie in ("lost", "hole"):
            return []
        if self.lie == "doubled":
            return [text, text]
        if self.lie == "reordered":
            self.held = (client, text)
            return []
        if self.lie == "foreign":
            stranger = next(u for u in self.clients if f"_{u}" not in data["conversation_id"])
            asyncio.ensure_future(self.clients[stranger].send(text))
            return [text]
        data["content"] += "!"
        return [json.dumps(event)]

    def __enter__(self):
        self.thread = threading.Thread(target=lambda: self.loop.run_until_complete(self.serve()))
        self.thread.start()
        assert self.ready.wait(10)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.over.set)
        self.thread.join(10)


def lies(tally, server, work):
    """The clients see what a server does wrong, not only what is written into a ledger."""
    for lie in ("doubled", "reordered", "foreign", "altered", "lost", "hole"):
        ledger = work / f"{lie}.ledger"
        with Liar(server, lie) as liar:
            code, out, err = quick(server, ledger, "-c", "10", "-R", "100", "-d", "3s", port=liar.port)
        if lie == "hole":
            tally.check("a delivery that is left out is filled by sync: clean, and counted as a hole",
                        code == CLEAN and figure(out, "holes") == 1 and figure(out, "sync") == 1, out + err)
            continue
        _, verdict = judged(ledger)
        found = [f for f in verdict["faults"] if f["kind"] == lie and f["client_id"] == liar.told]
        tally.check(f"a server that has one message {lie} is found out, and the message named",
                    code == NOT_CLEAN and bool(found) and {f["client_id"] for f in verdict["faults"]} == {liar.told}, (liar.told, out + err))


def errors(tally, server, work):
    code, _, err = quick(server, work / "x.ledger", "-c", "2", port=1)
    tally.check("a server that is not there: exit 69, cause and cure", code == UNAVAILABLE and "ringway dev" in err and "refused" in err, err)
    other = work / "other"
    other.mkdir()
    subprocess.check_output([BINARY, "token", "--user", "1", "--data", str(other)])
    code, _, err = quick(server, work / "x.ledger", "-c", "2", data=str(other))
    tally.check("a key that is not the server's: exit 69, cause and cure", code == UNAVAILABLE and "--data" in err, err)
    code, _, err = quick(server, work / "x.ledger", "-c", "9999999")
    tally.check("more connections than files: exit 64, cause and cure", code == USAGE and "ulimit" in err, err)
    with Server(None, "--shards", "1", "--connections-max", "5") as full:
        code, _, err = quick(full, work / "x.ledger", "-c", "20")
    tally.check("a server that is full: exit 69, with its answer", code == UNAVAILABLE and "503" in err and "full" in err, err)
    (work / "no.ledger").write_text("hello\n")
    for path in ("no.ledger", "missing.ledger"):
        code, _, err = verify(work / path)
        tally.check(f"verify {path}: exit 65", code == NO_LEDGER and path in err, err)
    process = start(server, work / "cut.ledger", "-c", "20", "-R", "100", "-d", "60s", stderr=subprocess.DEVNULL)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    tally.check("Ctrl-C ends with a summary marked incomplete", "INCOMPLETE" in out and figure(out, "lost") == 0 and process.returncode == CLEAN, out)


def main():
    tally = Tally()
    with Server(None, "--shards", "2") as server:
        work = pathlib.Path(server.data) / "load"
        work.mkdir()
        ledger = a_clean_run(tally, server, work)
        spoilt(tally, ledger)
        joined(tally, server, work)
        groups(tally, server, work)
        killed(tally, server, work)
        without_reconnect(tally, server, work)
        lies(tally, server, work)
        errors(tally, server, work)
    tally.end()


main()
