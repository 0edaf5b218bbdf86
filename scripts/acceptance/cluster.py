"""Two gateways and two workers over real Kafka, MariaDB and Redis: people talk across them, nothing is lost while
any of them is killed, stopped or paused, and bad records are put aside."""
import asyncio, json, os, pathlib, signal, socket as sockets, subprocess, sys, tempfile, time

import websockets
from kafka import KafkaProducer

from cluster_rig import PARTITIONS, api, at, cluster, connect, log, restart, service, under_load
from common import BINARY, ROOT, Tally, message, receive, sync_all, wait_until

# A line at each hop of each message.
HOPS = {"RUST_LOG": "info,ringway::hop=debug"}


async def talk(tally, run):
    """Users of different gateways, and one user on both."""
    a, b = 7_000_000 + 10 * run, 7_000_001 + 10 * run
    conversation = f"single_{a}_{b}"
    one, other, second = await connect(1, a), await connect(2, b), await connect(2, a)
    await one.send(message("m-1", conversation, "hello across"))
    statuses = [(await receive(one, "message-ack"))["data"]["status"] for _ in range(2)]
    tally.equal("accepted by Kafka, then persisted", sorted(statuses), ["accepted", "persisted"])
    got = await receive(other, "new-message")
    tally.equal("the message arrives on the other gateway", (got["data"]["content"], got["data"]["seq_id"]), ("hello across", 1))
    tally.equal("with the trace id of its sender", got["data"]["trace_id"], "t-m-1")
    own = await receive(second, "new-message")
    tally.equal("and at the sender's own session there", own["data"]["seq_id"], 1)
    await one.send(message("m-1", conversation, "hello across"))
    repeats = [await receive(one, "message-ack") for _ in range(2)]
    last = [r["data"] for r in repeats if r["data"]["status"] == "persisted"][0]
    tally.equal("a repeat gets its first ids", (last["seqId"], last["messageId"]), (1, got["data"]["message_id"]))
    group = api(1, "POST", "/api/groups", {"name": "g", "members": [b]}, a)["conversationId"]
    await other.send(message("g-1", group, "in a group made by a worker's API"))
    tally.equal("groups reach over gateways", (await receive(one, "new-message"))["data"]["conversation_id"], group)
    messages, _ = await sync_all(other, conversation)
    tally.equal("sync has it once", [m["seq_id"] for m in messages], [1])
    await other.send(json.dumps({"type": "mark-read", "data": {"conversationId": conversation, "seqId": 1}}))
    tally.equal("read marks reach over gateways", (await receive(one, "read"))["data"]["seqId"], 1)
    await other.send(json.dumps({"type": "typing", "data": {"conversationId": conversation}}))
    tally.equal("and typing", (await receive(one, "typing"))["data"]["userId"], str(b))
    stranger = await connect(1, a + 5)
    await stranger.send(message("x-1", conversation, "no party"))
    events = [await receive(stranger) for _ in range(2)]
    tally.check("who is no party is told so", any(e["data"].get("code") == "NOT_A_MEMBER" for e in events), events)
    for ws in (one, other, second, stranger):
        await ws.close()


def kill_gateway():
    cluster("kill", "gateway-1")
    time.sleep(3)
    cluster("start", "gateway-1")


def kill_worker():
    cluster("kill", "worker-1")
    time.sleep(3)
    cluster("start", "worker-1")


def pause_worker():
    cluster("pause", "worker-2")
    time.sleep(15)
    cluster("resume", "worker-2")


def away(name, seconds):
    def fault():
        service("kill", name)
        time.sleep(seconds)
        service("start", name)
    return fault


def wipe():
    with sockets.create_connection(("127.0.0.1", int(service("address", "redis").rsplit(":", 1)[1]))) as s:
        s.sendall(b"FLUSHALL\r\n")
        assert s.recv(64).startswith(b"+OK")


async def closing(ws):
    """The code that a session ends with."""
    try:
        async with asyncio.timeout(15):
            while True:
                await ws.recv()
    except websockets.ConnectionClosed as closed:
        return closed.rcvd and closed.rcvd.code


async def trace(tally, run):
    """One message's id is in the log of its gateway, of a worker, and of the recipient's gateway."""
    a, b, trace_id = 7_200_000 + 10 * run, 7_200_001 + 10 * run, f"trace-{run}-{time.time_ns()}"
    one, other = await connect(1, a), await connect(2, b)
    text = json.loads(message("t-1", f"single_{a}_{b}", "followed"))
    await one.send(json.dumps({**text, "trace_id": trace_id}))
    got = await receive(other, "new-message")
    tally.equal("the recipient is told the trace id", got["data"]["trace_id"], trace_id)

    def told(name):
        return [line for line in log(name).splitlines() if trace_id in line]

    def hops(*names):
        return {hop for name in names for line in told(name) for hop in ("publish", "accepted", "persist", "distribute", "deliver")
                if f'"{hop}"' in line}

    for what, names, expected in (
        ("the sender's gateway", ["gateway-1"], {"publish", "accepted"}),
        ("a worker", ["worker-1", "worker-2"], {"persist", "distribute"}),
        ("the recipient's gateway", ["gateway-2"], {"deliver"}),
    ):
        tally.check(f"the log of {what} has it", wait_until(lambda: hops(*names) >= expected), [told(name) for name in names])
    tally.check("and only the worker that had it", sum(bool(told(f"worker-{n}")) for n in (1, 2)) == 1)
    await one.close()
    await other.close()


async def replace(tally, run):
    """With the policy `replace` a user's newer session ends the older one, wherever that is."""
    a, b = 7_300_000 + 10 * run, 7_300_001 + 10 * run
    older, partner = await connect(1, a), await connect(1, b)
    newer = await connect(2, a)
    tally.equal("replace: a session at the other gateway closes the first 4002", await closing(older), 4002)
    await partner.send(message("r-1", f"single_{a}_{b}", "to the newer"))
    tally.equal("replace: the newer one gets what comes", (await receive(newer, "new-message"))["data"]["content"], "to the newer")
    back = await connect(1, a)
    tally.equal("replace: and gives way in turn", await closing(newer), 4002)
    await partner.send(message("r-2", f"single_{a}_{b}", "and back"))
    tally.equal("replace: to one that gets what comes", (await receive(back, "new-message"))["data"]["content"], "and back")
    await back.close()
    await partner.close()


async def drain(tally):
    ws = await connect(2, 7_900_001)
    cluster_pid = int(cluster("pid", "gateway-2"))
    os.kill(cluster_pid, signal.SIGTERM)
    try:
        while True:
            await asyncio.wait_for(ws.recv(), 15)
    except websockets.ConnectionClosed as closed:
        tally.check("SIGTERM closes with 1001 and a hint", closed.rcvd.code == 1001 and closed.rcvd.reason.startswith("retry_ms="),
                    closed.rcvd)
    tally.check("and ends", wait_until(lambda: not pathlib.Path(f"/proc/{cluster_pid}").exists(), 20))
    started = time.monotonic()
    cluster("start", "gateway-2")
    tally.check("whose lease is free at once", time.monotonic() - started < 8, time.monotonic() - started)


def twice(tally):
    """A gateway id that is alive is refused a second start."""
    environment = {**os.environ, **at("kafka", "redis"), "RINGWAY_GATEWAY__ID": "gateway-1", "RINGWAY_LISTEN": "127.0.0.1:0",
                   "RINGWAY_ADMIN": "127.0.0.1:0"}
    done = subprocess.run([BINARY, "gateway", "--config", ROOT / "deploy/local/gateway.toml"], capture_output=True, text=True,
                          env=environment, timeout=60, cwd=ROOT)
    tally.check("a gateway id that is alive refuses to start twice", done.returncode == 69 and "alive" in done.stderr, done.stderr[-500:])


def letters(*words):
    done = subprocess.run([BINARY, "logic", "--config", ROOT / "deploy/local/logic.toml", "dead-letters", *words],
                          capture_output=True, text=True, cwd=ROOT, timeout=60,
                          env={**os.environ, **at("kafka", "redis", "mysql")})
    return done.stdout + done.stderr


async def garbage(tally, run):
    """A raw producer writes what nobody should: put aside with reasons, and the partition moves on."""
    a, b = 7_500_000 + 10 * run, 7_500_001 + 10 * run
    conversation, marker = f"single_{a}_{b}", f"misplaced-{run}"
    one, other = await connect(1, a), await connect(2, b)
    producer = KafkaProducer(bootstrap_servers=service("address", "kafka"))
    known = json.loads(RECORD)
    value = json.dumps({**known, "conversation_id": conversation, "sender_id": str(a), "client_msg_id": marker}).encode()
    right = partition(conversation, PARTITIONS)
    wrong = (right + 1) % PARTITIONS
    good = [("v", b"1"), ("kind", b"send-message"), ("trace_id", marker.encode())]
    for value_, at, headers in ((b"\xff not json", right, good), (value, right, [("v", b"99")]), (value, wrong, good)):
        producer.send("im-upstream", value_, partition=at, headers=headers)
    producer.flush(10)
    producer.close()
    await one.send(message("after", conversation, "goes on"))
    got = await receive(other, "new-message")
    tally.equal("the partition moves on", (got["data"]["content"], got["data"]["seq_id"]), ("goes on", 1))
    tally.check("all three are put aside", wait_until(lambda: listed(right, wrong) >= 3, 20, 1), letters("list")[-1500:])
    text = letters("list")
    print(text[-1200:])
    mine = [line for line in text.splitlines() if f"im-upstream/{wrong}@" in line][-1]
    offset = mine.split()[0]
    tally.check("show shows it whole", marker in letters("show", offset), letters("show", offset))
    tally.check("replay puts the misplaced one right", f"partition {right}" in letters("replay", offset))
    back = await receive(other, "new-message", 20)
    tally.equal("and it arrives", (back["data"]["client_msg_id"], back["data"]["seq_id"]), (marker, 2))
    await one.close()
    await other.close()


def listed(*partitions):
    return sum(any(f"im-upstream/{p}@" in line for p in partitions) for line in letters("list").splitlines())


def partition(key, count):
    """murmur2 of the key, as Kafka's clients have it."""
    from kafka.partitioner.default import murmur2
    return (murmur2(key.encode()) & 0x7FFFFFFF) % count


RECORD = "{}"


def learn_record():
    """The form of a record, from the topic itself: the driver takes nothing for granted."""
    from kafka import KafkaConsumer, TopicPartition
    consumer = KafkaConsumer(bootstrap_servers=service("address", "kafka"), consumer_timeout_ms=5000, auto_offset_reset="earliest")
    consumer.assign([TopicPartition("im-upstream", p) for p in range(PARTITIONS)])
    consumer.seek_to_beginning()
    for record in consumer:
        try:
            value = json.loads(record.value)
        except ValueError:
            continue
        if "client_msg_id" in value and dict(record.headers).get("v") == b"1":
            consumer.close()
            return record.value.decode()
    raise SystemExit("no record in im-upstream")


def main():
    global RECORD
    tally, work = Tally(), pathlib.Path(tempfile.mkdtemp(prefix="ringway-cluster-"))
    run = int(time.time()) % 40_000
    print(cluster("up", "--gateways", "2", "--workers", "2", **HOPS))
    try:
        asyncio.run(talk(tally, run))
        asyncio.run(trace(tally, run))
        RECORD = learn_record()
        asyncio.run(garbage(tally, run))
        twice(tally)
        restart("worker-1", "worker-2")
        restart("gateway-1", "gateway-2", RINGWAY_LIMITS__SESSION_POLICY="replace")
        asyncio.run(replace(tally, run))
        restart("gateway-1", "gateway-2")
        scenes = {
            "a run over both": lambda: None,
            "a gateway killed": kill_gateway,
            "a worker killed": kill_worker,
            "Redis wiped": wipe,
            "MariaDB killed, 4 s away": away("mysql", 4),
            "Kafka killed, 4 s away": away("kafka", 4),
        }
        if "--long" in sys.argv:
            scenes = {
                "a gateway killed": kill_gateway,
                "a worker killed": kill_worker,
                "Redis wiped": wipe,
                "MariaDB killed, 10 s away": away("mysql", 10),
                "Kafka killed, 10 s away": away("kafka", 10),
                "a worker paused for 40 s": lambda: (cluster("pause", "worker-2"), time.sleep(40), cluster("resume", "worker-2")),
                "a worker added, then stopped": lambda: (cluster("start", "worker-3"), time.sleep(8), cluster("stop", "worker-3")),
            }
        for what, fault in scenes.items():
            under_load(tally, work, what, fault, seconds=60 if "40 s" in what else 20 if "--long" in sys.argv else 10)
        asyncio.run(drain(tally))
        tally.equal("nobody is left behind", cluster("status", check=False).count("not ready"), 0)
    finally:
        print(cluster("down", check=False))
    tally.end()


main()
