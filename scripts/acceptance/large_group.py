"""A group of 20,000 with 5,000 online: each gets it once, in as few records as designed, within their window."""
import asyncio, collections, json, multiprocessing, os, sqlite3, time, urllib.request

from common import WAIT_S, Server, Tally, message, receive, sync_all
from slow_reader import Member


MEMBERS, ONLINE, PER_CALL, PROCESSES, SHARDS = 20_000, 5_000, 1_000, 2, 2
# The contract's: bucket ranges of a large group, each a task of its own.
RANGES = 4
OWNER, LEAVER, AWAY, JOINER = 1, 2, 3, MEMBERS + 1
SINGLY, MIDDLE, AT_ONCE, RATE = 20, 60, 200, 20
ENDLESS = 1 << 60


def crowd(port, tokens, pipe):
    """One process full of members; answers with how many have so many messages, or with what all of them saw."""

    async def run():
        loop = asyncio.get_running_loop()
        members = []
        for token in tokens:
            _, member = await loop.create_connection(lambda: Member(token, ENDLESS), "127.0.0.1", port)
            members.append(member)
        await asyncio.wait_for(asyncio.gather(*(member.ready for member in members)), 60)
        pipe.send(len(members))
        while (at_least := await asyncio.to_thread(pipe.recv)) is not None:
            pipe.send(sum(len(member.seqs) >= at_least for member in members))
        pipe.send(collections.Counter(tuple(member.seqs) for member in members))

    asyncio.run(run())


class Crowd:
    def __init__(self, server, users):
        self.pipes = []
        for n in range(PROCESSES):
            ours, theirs = multiprocessing.Pipe()
            tokens = [server.token(user) for user in users[n::PROCESSES]]
            multiprocessing.Process(target=crowd, args=(server.port, tokens, theirs), daemon=True).start()
            self.pipes.append(ours)
        self.size = sum(pipe.recv() for pipe in self.pipes)

    def ask(self, what):
        for pipe in self.pipes:
            pipe.send(what)
        return [pipe.recv() for pipe in self.pipes]

    async def have(self, at_least, seconds=30):
        """Waits until everybody has so many messages; how many have them."""
        end = time.monotonic() + seconds
        while (have := sum(await asyncio.to_thread(self.ask, at_least))) < self.size and time.monotonic() < end:
            await asyncio.sleep(0.02)
        return have

    def seen(self):
        """What was seen, and by how many."""
        return sum(self.ask(None), collections.Counter())


def worker(server):
    """The worker's figures of /metrics, by name."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.admin}/metrics", timeout=WAIT_S) as answer:
        lines = answer.read().decode().splitlines()
    prefix, suffix = "ringway_worker_", "_total"
    pairs = [line.split("{")[0].split(" ")[0:1] + [line.rsplit(" ", 1)[1]] for line in lines if line.startswith(prefix)]
    return collections.Counter({name[len(prefix):-len(suffix)]: int(float(value)) for name, value in pairs if name.endswith(suffix)})


def since(server, before):
    now = worker(server)
    return {name: now[name] - before[name] for name in ("batches", "fanout_tasks", "fanout_scans", "downstream_records")}


def window(server, group, user):
    """A member's join_seq and leave_seq, as the store has them."""
    (path,) = [os.path.join(server.data, name) for name in os.listdir(server.data) if name.endswith(".db")]
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as store:
        where = (group.encode(), user)
        return store.execute("SELECT join_seq, leave_seq FROM conversation_members WHERE conversation_id = ? AND user_id = ?", where).fetchone()


def make(tally, server):
    start = time.monotonic()
    group = server.group(OWNER, range(2, PER_CALL + 1))
    path = f"/api/groups/{group.removeprefix('group_')}/members"
    for first in range(PER_CALL + 1, MEMBERS, PER_CALL):
        users = [str(user) for user in range(first, first + PER_CALL)]
        status, answer = server.api("POST", path, {"userIds": users}, OWNER)
        assert status == 204, (status, answer)
    print(f"     {MEMBERS} members in {MEMBERS // PER_CALL} calls: {time.monotonic() - start:.1f} s", flush=True)
    status, answer = server.api("POST", path, {"userIds": [str(user) for user in range(30_000, 31_001)]}, OWNER)
    tally.check("1,001 members in one call are refused", status == 400 and "1000" in json.dumps(answer), (status, answer))
    return group, path


async def alone(server, user):
    """A member whose messages are looked at one by one."""
    loop = asyncio.get_running_loop()
    _, member = await loop.create_connection(lambda: Member(server.token(user), ENDLESS), "127.0.0.1", server.port)
    await asyncio.wait_for(member.ready, WAIT_S)
    return member


async def singly(tally, server, sender, group, people):
    """Each message a batch of its own."""
    before = worker(server)
    for n in range(1, SINGLY + 1):
        await sender.send(message(f"s{n}", group, f"singly {n}"))
        await receive(sender, "message-ack")
        await people.have(n)
    spent = since(server, before)
    tally.equal(f"{SINGLY} messages one by one: {RANGES} tasks, {RANGES} scans and {SHARDS} × {RANGES} records each, and one for the ack",
                spent, {"batches": SINGLY, "fanout_tasks": RANGES * SINGLY, "fanout_scans": RANGES * SINGLY,
                        "downstream_records": (SHARDS * RANGES + 1) * SINGLY})


async def changing(tally, server, sender, group, path, people):
    """Messages at a rate, while one leaves who is online, one who is not, and one comes."""
    leaver, joiner = await alone(server, LEAVER), await alone(server, JOINER)

    def change():
        time.sleep(MIDDLE / RATE / 2)
        for user in (LEAVER, AWAY):
            assert server.api("DELETE", f"{path}/{user}", user=OWNER)[0] == 204
        assert server.api("POST", path, {"userIds": [str(JOINER)]}, OWNER)[0] == 204

    changes = asyncio.create_task(asyncio.to_thread(change))
    for n in range(SINGLY + 1, SINGLY + MIDDLE + 1):
        await sender.send(message(f"c{n}", group, f"changing {n}"))
        await asyncio.sleep(1 / RATE)
    await changes
    for _ in range(MIDDLE):
        await receive(sender, "message-ack")
    await people.have(SINGLY + MIDDLE)
    return leaver, joiner


async def at_once(tally, server, sender, group, people):
    """Messages that the worker finds together: what they cost is shared."""
    before, total = worker(server), SINGLY + MIDDLE + AT_ONCE
    start = time.monotonic()
    for n in range(SINGLY + MIDDLE + 1, total + 1):
        await sender.send(message(f"b{n}", group, f"at once {n}"))
    for _ in range(AT_ONCE):
        await receive(sender, "message-ack", 30)
    have = await people.have(total, 60)
    took = time.monotonic() - start
    tally.equal(f"all {people.size} have all {total} messages", have, people.size)
    spent = since(server, before)
    print(f"     {AT_ONCE} messages at once, {AT_ONCE * people.size / took:.0f} deliveries/s: {spent}", flush=True)
    tally.equal("a task for each message and range", spent["fanout_tasks"], RANGES * AT_ONCE)
    tally.check("tasks that wait together share a scan, and scans share records",
                spent["fanout_scans"] < spent["fanout_tasks"] and
                spent["downstream_records"] <= SHARDS * spent["fanout_scans"] + spent["batches"], spent)


async def windows(tally, server, group, leaver, joiner):
    total = SINGLY + MIDDLE + AT_ONCE
    left, joined = window(server, group, LEAVER)[1], window(server, group, JOINER)[0]
    away = window(server, group, AWAY)[1]
    print(f"     leave_seq {left} and {away}, join_seq {joined}, of {total}", flush=True)
    tally.check("they left and came in the middle", all(SINGLY < seq < SINGLY + MIDDLE for seq in (left, away, joined)), (left, away, joined))
    tally.equal("who was removed got everything up to leave_seq, once, and nothing after it", sorted(leaver.seqs), list(range(SINGLY + 1, left + 1)))
    tally.equal("who was added got everything after join_seq, once, and nothing before it", sorted(joiner.seqs), list(range(joined + 1, total + 1)))
    for name, user, expected in (("removed while online", LEAVER, range(1, left + 1)), ("removed while away", AWAY, range(1, away + 1)),
                                 ("added", JOINER, range(joined + 1, total + 1)), ("never touched", MEMBERS - 1, range(1, total + 1))):
        ws = await server.connect(user)
        messages, _ = await sync_all(ws, group)
        tally.equal(f"sync of one who was {name} has their window and no more", [m["seq_id"] for m in messages], list(expected))
    stranger = await server.connect(JOINER + 1)
    await stranger.send(json.dumps({"type": "sync", "data": {"conversations": [{"conversationId": group}]}}))
    part = (await receive(stranger, "sync-result"))["data"]["conversations"][0]
    tally.equal("sync of a stranger is refused", part.get("code"), "NOT_A_MEMBER")
    ws = await server.connect(AWAY)
    await ws.send(message("after", group, "I am gone"))
    tally.equal("who was removed can't send", (await receive(ws, "error"))["data"]["code"], "NOT_A_MEMBER")


async def main():
    tally = Tally()
    it = Server(None, "--shards", str(SHARDS))
    config = os.path.join(it.data, "quiet.toml")
    with open(config, "w") as file:
        # These readers answer no pings.
        file.write('[limits]\ncommands_per_second = 0\nheartbeat = "10m"\n')
    it.args = ("--config", config, "--shards", str(SHARDS))
    with it as server:
        server.tokens(1, JOINER + 1)
        group, path = make(tally, server)
        # The sender and the one who is removed are online too.
        users = [user for user in range(4, MEMBERS - 1) if user % 4 == 0][:ONLINE - 2]
        people = Crowd(server, users)
        sender = await server.connect(OWNER)
        tally.equal("so many members are online", server.total("connections"), len(users) + 1)
        await singly(tally, server, sender, group, people)
        leaver, joiner = await changing(tally, server, sender, group, path, people)
        await at_once(tally, server, sender, group, people)
        await windows(tally, server, group, leaver, joiner)
        seen = people.seen()
        once = sum(count for seqs, count in seen.items() if sorted(seqs) == list(range(1, SINGLY + MIDDLE + AT_ONCE + 1)))
        tally.equal("each member online got each message exactly once", once, people.size)
        in_order = sum(count for seqs, count in seen.items() if list(seqs) == sorted(seqs))
        print(f"     {in_order} of {people.size} got them in order of seq", flush=True)
    tally.end()


if __name__ == "__main__":
    asyncio.run(main())
