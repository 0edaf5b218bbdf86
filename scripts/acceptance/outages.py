"""Kafka away for 60 s under load, away while a worker is told to end, then Kafka's data lost altogether: nothing
acknowledged is lost, memory is bounded, clients are told BUSY, and all goes on by itself or by `new-epoch`."""
import asyncio, json, pathlib, subprocess, sys, tempfile, threading, time

from cluster_rig import CLEAN, PORT, Load, at, cluster, connect, get, metric, service, worker_metric
from common import BINARY, ROOT, Tally, message, receive, sync_all, wait_until

AWAY_S = 60
# More than the gateways' queues hold (65,536 each and 4,096 a shard) within that time.
USERS, RATE, DURATION_S = 2_000, 4_000, 90
RSS_MAX_MIB = 600
GOES_ON_S_MAX = 60
LEAVE_S_MAX = 25
FIRST = 200_000_000 + int(time.time()) % 1_000_000 * 100


def gateways():
    return [int(cluster("pid", f"gateway-{n}")) for n in (1, 2)]


def rss_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) // 1024


def on_gateways(name):
    return sum(metric(PORT + 20 + n, name) for n in (1, 2))


def persisted():
    return sum(worker_metric(n, "ringway_worker_persisted_total") for n in (1, 2))


def moves(count, start):
    """Seconds from `start` until the count has moved."""
    before = count()
    wait_until(lambda: count() > before, GOES_ON_S_MAX)
    return time.monotonic() - start


class Probe:
    """Two people on different gateways; one writes ten times a second, and it is noted when what came of it."""

    def __init__(self):
        self.accepted, self.persisted, self.arrived, self.busy, self.sent = {}, {}, {}, 0, {}

    async def run(self, until):
        a, b = FIRST, FIRST + 1
        one, other = await connect(1, a), await connect(2, b)
        hearing = [asyncio.create_task(self.hear(one)), asyncio.create_task(self.hear(other))]
        n = 0
        while not until.is_set():
            n += 1
            self.sent[f"p{n}"] = time.monotonic()
            await one.send(message(f"p{n}", f"single_{a}_{b}", f"probe {n}"))
            await asyncio.sleep(0.1)
        await asyncio.sleep(3)
        for task in hearing:
            task.cancel()
        await one.close()
        await other.close()

    async def hear(self, ws):
        async for text in ws:
            event, now = json.loads(text), time.monotonic()
            data = event["data"]
            if event["type"] == "message-ack":
                (self.accepted if data["status"] == "accepted" else self.persisted).setdefault(data["tempMessageId"], now)
            elif event["type"] == "new-message":
                self.arrived.setdefault(data["client_msg_id"], now)
            elif event["type"] == "error" and data["code"] == "BUSY":
                self.busy += 1


async def away(tally, work):
    probe, until = Probe(), asyncio.Event()
    probing = asyncio.create_task(probe.run(until))
    load = Load(work, "away", "-c", str(USERS), "-R", str(RATE), "-d", f"{DURATION_S}s")
    await asyncio.sleep(12)
    pids = gateways()
    before, busy = max(map(rss_mib, pids)), on_gateways("ringway_commands_busy_total")
    await asyncio.to_thread(service, "kill", "kafka")
    gone, highest, pending = time.monotonic(), 0, 0
    while time.monotonic() < gone + AWAY_S:
        highest = max(highest, *map(rss_mib, pids))
        pending = max(pending, await asyncio.to_thread(on_gateways, "ringway_road_pending_records"))
        await asyncio.sleep(1)
    told = on_gateways("ringway_commands_busy_total") - busy
    await asyncio.to_thread(service, "start", "kafka")
    back = time.monotonic()
    again = await asyncio.gather(*(asyncio.to_thread(moves, count, back)
                                   for count in (lambda: on_gateways("ringway_road_accepted_total"), persisted)))
    await asyncio.to_thread(load.process.wait, 240)
    until.set()
    await probing
    during = [when for when in probe.accepted.values() if gone + 1 < when < back - 5]
    tally.equal("nothing is called accepted while Kafka is away", during, [])
    first = {name: min((when for when in times.values() if when > gone + 1), default=back + 999) - back
             for name, times in (("accepted", probe.accepted), ("persisted", probe.persisted), ("delivered", probe.arrived))}
    print(f"     going again after {again[0]:.1f} s (accepted) and {again[1]:.1f} s (persisted)", flush=True)
    print("     what a sender saw who had written meanwhile, its place in the queue included: first", ", ".join(f"{name} {after:.1f} s" for name, after in first.items()), flush=True)
    tally.check("messages are accepted and persisted again within 2 s of its return", max(again) < 2, again)
    tally.check("and what was written while it was away within 10 s", max(first.values()) < 10, first)
    print(f"     RSS of a gateway {before} MiB before, at most {highest} MiB; {pending:,.0f} records pending at most; BUSY {told:,.0f}", flush=True)
    tally.check("memory is bounded", highest < RSS_MAX_MIB, highest)
    tally.check("BUSY is told", told > 0, told)
    code, verified, out = load.end()
    print(out, flush=True)
    tally.equal("the ledger is clean, and verify says so", (code, verified), (CLEAN, CLEAN))
    missing = [p for p in probe.accepted if p not in probe.persisted]
    tally.equal("what was accepted was persisted", missing, [])


def leaves(tally, work):
    """A worker that is told to end has commits under way that Kafka will not answer."""
    load = Load(work, "leaves", "-c", "200", "-R", "500", "-d", "30s")
    time.sleep(8)
    service("kill", "kafka")
    time.sleep(3)
    begun = time.monotonic()
    cluster("stop", "worker-2")
    took = time.monotonic() - begun
    print(f"     a worker ended {took:.1f} s after its SIGTERM", flush=True)
    tally.check("a worker ends by itself although Kafka is away", took < LEAVE_S_MAX, took)
    service("start", "kafka")
    cluster("start", "worker-2")
    load.process.wait(120)
    code, verified, out = load.end()
    print(out, flush=True)
    tally.equal("and the ledger is clean", (code, verified), (CLEAN, CLEAN))


def logic(*words):
    done = subprocess.run([BINARY, "logic", "--config", ROOT / "deploy/local/logic.toml", *words], capture_output=True,
                          text=True, cwd=ROOT, timeout=120)
    return done.returncode, done.stdout + done.stderr


async def say(a, b, count, tag):
    """So many messages, each persisted; their ids by seq."""
    conversation, known = f"single_{a}_{b}", {}
    ws = await connect(1, a)
    for n in range(count):
        await ws.send(message(f"{tag}{n}", conversation, f"{tag} {n}"))
        while True:
            ack = (await receive(ws, "message-ack", 30))["data"]
            if ack["status"] == "persisted":
                break
        known[ack["seqId"]] = ack["messageId"]
    await ws.close()
    return known


async def lost(tally):
    a, b = FIRST + 10, FIRST + 11
    before = await say(a, b, 50, "before")
    names = ["gateway-1", "gateway-2", "worker-1", "worker-2"]
    cluster("stop", *names)
    print(service("reset", "kafka"), flush=True)
    cluster("start", "worker-1", check=False)
    code, text = logic("new-epoch")
    print(text)
    tally.check("new-epoch says how things stand, and changes nothing unasked", code == 69 and "--yes" in text, text)
    cluster("stop", "worker-1", check=False)
    code, text = logic("new-epoch", "--yes")
    print(text)
    tally.check("new-epoch --yes begins the next one", code == 0, text)
    cluster("start", "worker-1", "worker-2", "gateway-1", "gateway-2")
    after = await say(a, b, 50, "after")
    tally.equal("numbers go on", sorted(before | after), list(range(1, 101)))
    tally.equal("no message id is given twice", len({*before.values(), *after.values()}), 100)
    ws = await connect(2, b)
    got = {m["seq_id"]: m["message_id"] for m in (await sync_all(ws, f"single_{a}_{b}"))[0]}
    tally.equal("all that was persisted is there, under its ids", got, before | after)
    await ws.close()


def main():
    tally, work = Tally(), pathlib.Path(tempfile.mkdtemp(prefix="ringway-outages-"))
    print(cluster("up", "--gateways", "2", "--workers", "2"))
    try:
        if "--no-away" not in sys.argv:
            asyncio.run(away(tally, work))
            leaves(tally, work)
        asyncio.run(lost(tally))
    finally:
        print(cluster("down", check=False))
    tally.end()


main()
