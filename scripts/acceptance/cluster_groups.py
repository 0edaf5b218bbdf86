"""Groups over two gateways and two workers: 20,000 members with 5,000 online in as few records as designed, and
members who come and go without a pause while their group is written to at full rate."""
import asyncio, collections, json, multiprocessing, subprocess, threading, time

from cluster_rig import DATA, PORT, api, cluster, connect, restart, service, worker_metric
from common import BINARY, Tally, message, receive, sync_all
from large_group import crowd

MEMBERS, ONLINE, PER_CALL, GATEWAYS, WORKERS = 20_000, 5_000, 1_000, 2, 2
# The contract's: bucket ranges of a large group, each a task of its own. deploy/local has one shard a gateway.
RANGES, SHARDS = 4, 1
SINGLY, AT_ONCE = 20, 200
# The changes follow each other at once: far fewer would all fall between a handful of batches.
CHANGES, SENDERS, IN_FLIGHT = 400, 6, 20
# Ids that no earlier run on the same store has used.
FIRST = 100_000_000 + int(time.time()) % 1_000_000 * 100_000
FIGURES = ("batches", "fanout_tasks", "fanout_scans", "downstream_records")
FENCES = ("fence_lost", "batches_locked")


def tokens(first, count):
    words = [BINARY, "token", "--users", f"{first}..{first + count - 1}", "--data", DATA]
    return dict(zip(range(first, first + count), subprocess.check_output(words, text=True).split()))


class Crowd:
    """Members on both gateways, a process for each."""

    def __init__(self, known, users):
        self.pipes, self.size = [], len(users)
        for n in range(GATEWAYS):
            ours, theirs = multiprocessing.Pipe()
            mine = [known[user] for user in users[n::GATEWAYS]]
            multiprocessing.Process(target=crowd, args=(PORT + 1 + n, mine, theirs), daemon=True).start()
            self.pipes.append(ours)
        self.connected = sum(pipe.recv() for pipe in self.pipes)

    def ask(self, what):
        for pipe in self.pipes:
            pipe.send(what)
        return [pipe.recv() for pipe in self.pipes]

    async def have(self, at_least, seconds):
        end = time.monotonic() + seconds
        while (have := sum(await asyncio.to_thread(self.ask, at_least))) < self.size and time.monotonic() < end:
            await asyncio.sleep(0.02)
        return have

    def seen(self):
        return sum(self.ask(None), collections.Counter())


def figures(names=FIGURES):
    return collections.Counter({name: int(sum(worker_metric(w, f"ringway_worker_{name}_total") for w in range(1, WORKERS + 1)))
                                for name in names})


def since(before):
    now = figures(before)
    return {name: now[name] - before[name] for name in before}


def members_path(group):
    return f"/api/groups/{group.removeprefix('group_')}/members"


def query(sql):
    """Rows of the store, read past Ringway."""
    host, port = service("address", "mysql").split("@")[1].split("/")[0].split(":")
    words = ["mariadb", "-h", host, "-P", port, "-uroot", "--batch", "--skip-column-names", "ringway", "-e", sql]
    return [line.split("\t") for line in subprocess.check_output(words, text=True).splitlines()]


async def large(tally, known):
    owner = FIRST
    group = api(1, "POST", "/api/groups", {"name": "large", "members": list(range(owner + 1, owner + PER_CALL))}, owner)["conversationId"]
    for first in range(owner + PER_CALL, owner + MEMBERS, PER_CALL):
        api(1 + first % WORKERS, "POST", members_path(group), {"userIds": [str(u) for u in range(first, first + PER_CALL)]}, owner)
    people = Crowd(known, [user for user in range(owner + 4, owner + MEMBERS) if user % 4 == 0][:ONLINE - 1])
    tally.equal("so many members are online, over both gateways", people.connected, ONLINE - 1)
    sender = await connect(1, owner)
    before = figures()
    for n in range(1, SINGLY + 1):
        await sender.send(message(f"s{n}", group, f"singly {n}"))
        await persisted(sender, 1)
        await people.have(n, 20)
    tally.equal(f"{SINGLY} messages one by one: {RANGES} tasks and scans each, a record for each range and shard, and one for the ack",
                since(before), {"batches": SINGLY, "fanout_tasks": RANGES * SINGLY, "fanout_scans": RANGES * SINGLY,
                                "downstream_records": (GATEWAYS * SHARDS * RANGES + 1) * SINGLY})
    before, start, total = figures(), time.monotonic(), SINGLY + AT_ONCE
    for n in range(SINGLY + 1, total + 1):
        await sender.send(message(f"b{n}", group, f"at once {n}"))
    await persisted(sender, AT_ONCE)
    tally.equal(f"all {people.size} have all {total}", await people.have(total, 90), people.size)
    print(f"     {AT_ONCE} at once: {AT_ONCE * people.size / (time.monotonic() - start):,.0f} deliveries/s, {since(before)}", flush=True)
    seen = people.seen()
    once = sum(count for seqs, count in seen.items() if sorted(seqs) == list(range(1, total + 1)))
    tally.equal("each got each message exactly once", once, people.size)
    await sender.close()


async def persisted(ws, count):
    while count:
        count -= (await receive(ws, "message-ack", 60))["data"]["status"] == "persisted"


async def write(ws, user, group, until, sent, refused, acked):
    """As fast as the window allows, until told to stop; what was refused, and when the rest was persisted, is noted."""
    n = 0
    room = asyncio.Semaphore(IN_FLIGHT)

    async def hear():
        async for text in ws:
            event = json.loads(text)
            if event["type"] == "message-ack" and event["data"]["status"] == "persisted":
                acked.append(time.monotonic())
                room.release()
            elif event["type"] == "error":
                refused[event["data"]["code"]] += 1
                room.release()

    hearing = asyncio.create_task(hear())
    while not until.is_set():
        await room.acquire()
        n += 1
        await ws.send(message(f"{user}-{n}", group, f"{n} of {user}"))
    for _ in range(IN_FLIGHT):
        await asyncio.wait_for(room.acquire(), 60)
    sent[user] = n
    hearing.cancel()


async def listen(ws, seqs):
    try:
        async for text in ws:
            event = json.loads(text)
            if event["type"] == "new-message":
                seqs.append(event["data"]["seq_id"])
    except Exception as error:  # A listener that ends early would hide what it should have got.
        seqs.append(error)


async def changing(tally):
    """Writers who stay, writers who are removed while they write, and listeners who come and go."""
    owner = FIRST + 50_000
    stay = list(range(owner + 1, owner + SENDERS))
    leave = list(range(owner + 100, owner + 100 + CHANGES // 2))
    come = list(range(owner + 500, owner + 500 + CHANGES // 2))
    group = api(1, "POST", "/api/groups", {"name": "busy", "members": stay + leave}, owner)["conversationId"]
    until, sent, refused, acked = asyncio.Event(), {}, collections.Counter(), []
    heard = {user: [] for user in leave + come}
    sockets = {user: await connect(1 + user % GATEWAYS, user) for user in [owner, *stay, *leave, *come]}
    listeners = [asyncio.create_task(listen(sockets[user], heard[user])) for user in heard if user not in leave[:3]]
    writers = [asyncio.create_task(write(sockets[user], user, group, until, sent, refused, acked)) for user in [owner, *stay]]
    # Three of those who leave write, too.
    gone = [asyncio.create_task(write(sockets[user], user, group, until, sent, refused, acked)) for user in leave[:3]]
    start = time.monotonic()

    def change():
        time.sleep(1)
        began = time.monotonic()
        for n, (out, comer) in enumerate(zip(leave, come)):
            api(1 + n % WORKERS, "DELETE", f"{members_path(group)}/{out}", None, owner)
            api(1 + n % WORKERS, "POST", members_path(group), {"userIds": [str(comer)]}, owner)
        ended = time.monotonic()
        time.sleep(1)
        return began, ended

    before = figures(FENCES)
    began, ended = await asyncio.to_thread(change)
    until.set()
    await asyncio.gather(*writers, *gone)
    took = time.monotonic() - start
    await asyncio.sleep(3)
    for task in listeners:
        task.cancel()
    last = int(query(f"SELECT MAX(seq_id) FROM messages WHERE conversation_id = '{group}'")[0][0])
    print(f"     {last} messages at {last / took:,.0f}/s in {took:.1f} s; refused {dict(refused)}", flush=True)
    meanwhile = [began, *(at for at in sorted(acked) if began < at < ended), ended]
    pause = max(later - at for at, later in zip(meanwhile, meanwhile[1:]))
    changed = 2 * len(leave)
    print(f"     {changed} changes at {changed / (ended - began):,.0f}/s: {len(meanwhile) - 2} acks meanwhile, {pause * 1000:,.0f} ms "
          f"without one at most; {since(before)}", flush=True)
    windows = {int(user): (int(join), last if left == "NULL" else int(left)) for user, join, left in query(
        f"SELECT user_id, join_seq, leave_seq FROM conversation_members WHERE conversation_id = '{group}'")}
    ends, begins = {windows[user][1] for user in leave}, {windows[user][0] for user in come}
    tally.check("windows begin and end at many places in the middle of the writing",
                min(len(ends), len(begins)) >= 10 and 0 < min(ends | begins) and max(ends | begins) < last, (ends, begins))
    wrong = {user: seqs[-5:] for user, seqs in heard.items() if user not in leave[:3] and sorted(seqs) != list(range(windows[user][0] + 1, windows[user][1] + 1))}
    tally.equal("everybody who listened got their window, each message once, and nothing else", wrong, {})
    ex = query(f"SELECT sender_id, MAX(seq_id) FROM messages WHERE conversation_id = '{group}' GROUP BY sender_id")
    late = {int(user): int(seq) for user, seq in ex if int(seq) > windows[int(user)][1]}
    tally.equal("nothing of an ex-member is stored after their leave_seq", late, {})
    tally.check("ex-members who wrote on were told", refused["NOT_A_MEMBER"] > 0 and set(refused) == {"NOT_A_MEMBER"}, refused)
    wrong = {}
    for user in (*leave[3:8], *come[:5]):
        ws = await connect(1 + user % GATEWAYS, user)
        got = [m["seq_id"] for m in (await sync_all(ws, group))[0]]
        if got != list(range(windows[user][0] + 1, windows[user][1] + 1)):
            wrong[user] = (got[:1], got[-1:], windows[user])
        await ws.close()
    tally.equal("sync has the window and no more", wrong, {})
    for ws in sockets.values():
        await ws.close()


def main():
    tally = Tally()
    print(cluster("up", "--gateways", str(GATEWAYS), "--workers", str(WORKERS)))
    try:
        # These readers answer no pings, and these writers are faster than people.
        restart("gateway-1", "gateway-2", RINGWAY_LIMITS__HEARTBEAT="10m", RINGWAY_LIMITS__COMMANDS_PER_SECOND="0")
        asyncio.run(changing(tally))
        asyncio.run(large(tally, tokens(FIRST, MEMBERS)))
    finally:
        print(cluster("down", check=False))
    tally.end()


main()
