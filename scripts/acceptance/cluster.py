"""Two gateways and two workers over real Kafka, MariaDB and Redis: people talk across them, nothing is lost while
any of them is killed, stopped or paused, and bad records are put aside."""
import asyncio, json, os, pathlib, re, signal, subprocess, sys, tempfile, time, urllib.error, urllib.request

import websockets
from kafka import KafkaProducer

from common import BINARY, ROOT, Tally, message, receive, sync_all, wait_until

PORT = int(os.environ.get("CLUSTER_PORT", "18080"))
KAFKA = subprocess.run([ROOT / "scripts/services", "address", "kafka"], capture_output=True, text=True).stdout.strip()
DATA = ROOT / ".services/cluster"
CLEAN = 0


def cluster(*words, check=True):
    environment = dict(os.environ, CLUSTER_BINARY=BINARY)
    done = subprocess.run([ROOT / "scripts/cluster", *words], capture_output=True, text=True, env=environment)
    if check and done.returncode:
        raise SystemExit(f"cluster {words}: {done.stdout}{done.stderr}")
    return done.stdout


def token(user):
    return subprocess.check_output([BINARY, "token", "--user", str(user), "--data", DATA], text=True).strip()


def socket(gateway):
    return f"ws://127.0.0.1:{PORT + gateway}/ws"


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def metric(port, name):
    lines = [line for line in get(port, "/metrics")[1].splitlines() if re.match(rf"{name}(\{{|\s)", line)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def workers(name):
    return sum(metric(PORT + 40 + worker, name) for worker in (1, 2))


def api(worker, method, path, body, user):
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT + 60 + worker}{path}", method=method, data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token(user)}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read() or b"null")


async def connect(gateway, user):
    ws = await websockets.connect(f"{socket(gateway)}?token={token(user)}", max_size=None, compression=None)
    first = await receive(ws)
    assert first["type"] == "connected", first
    assert first["data"]["gatewayId"] == f"gateway-{gateway}", first
    return ws


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


class Load:
    """`ringway load quick` over both gateways."""

    def __init__(self, work, name, *args):
        self.ledger = work / f"{name}.ledger"
        command = [BINARY, "load", "quick", "--target", socket(1), "--target", socket(2), "--api",
                   f"http://127.0.0.1:{PORT + 61}", "--data", DATA, "--ledger", self.ledger, "--reconnect", "--at-least-once", *args]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def end(self):
        out, _ = self.process.communicate(timeout=240)
        verified = subprocess.run([BINARY, "load", "verify", self.ledger], capture_output=True, text=True)
        return self.process.returncode, verified.returncode, out


def under_load(tally, work, what, fault, seconds=14, users=200, rate=400):
    name = re.sub(r"\W+", "-", what)
    load = Load(work, name, "-c", str(users), "-R", str(rate), "-d", f"{seconds}s")
    time.sleep(4)
    fault()
    code, verified, out = load.end()
    print(f"--- {what}\n{out}", flush=True)
    tally.equal(f"{what}: clean, and verify says so", (code, verified), (CLEAN, CLEAN))


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


def service(name, away):
    def fault():
        subprocess.run([ROOT / "scripts/services", "kill", name], check=True, capture_output=True)
        time.sleep(away)
        subprocess.run([ROOT / "scripts/services", "start", name], check=True, capture_output=True)
    return fault


def wipe():
    import socket as sockets
    address = subprocess.run([ROOT / "scripts/services", "address", "redis"], capture_output=True, text=True).stdout
    with sockets.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1]))) as s:
        s.sendall(b"FLUSHALL\r\n")
        assert s.recv(64).startswith(b"+OK")


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
    environment = dict(os.environ, RINGWAY_GATEWAY__ID="gateway-1", RINGWAY_LISTEN="127.0.0.1:0", RINGWAY_ADMIN="127.0.0.1:0")
    done = subprocess.run([BINARY, "gateway", "--config", ROOT / "deploy/local/gateway.toml"], capture_output=True, text=True,
                          env=environment, timeout=60, cwd=ROOT)
    tally.check("a gateway id that is alive refuses to start twice", done.returncode == 69 and "alive" in done.stderr, done.stderr[-500:])


def letters(*words):
    done = subprocess.run([BINARY, "logic", "--config", ROOT / "deploy/local/logic.toml", "dead-letters", *words],
                          capture_output=True, text=True, cwd=ROOT, timeout=60)
    return done.stdout + done.stderr


async def garbage(tally, run):
    """A raw producer writes what nobody should: put aside with reasons, and the partition moves on."""
    a, b = 7_500_000 + 10 * run, 7_500_001 + 10 * run
    conversation, marker = f"single_{a}_{b}", f"misplaced-{run}"
    one, other = await connect(1, a), await connect(2, b)
    producer = KafkaProducer(bootstrap_servers=KAFKA)
    known = json.loads(RECORD)
    value = json.dumps({**known, "conversation_id": conversation, "sender_id": str(a), "client_msg_id": marker}).encode()
    right = partition(conversation, 64)
    wrong = (right + 1) % 64
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
    consumer = KafkaConsumer(bootstrap_servers=KAFKA, consumer_timeout_ms=5000, auto_offset_reset="earliest")
    consumer.assign([TopicPartition("im-upstream", p) for p in range(64)])
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
    print(cluster("up", "--gateways", "2", "--workers", "2"))
    try:
        asyncio.run(talk(tally, run))
        RECORD = learn_record()
        asyncio.run(garbage(tally, run))
        twice(tally)
        scenes = {
            "a run over both": lambda: None,
            "a gateway killed": kill_gateway,
            "a worker killed": kill_worker,
            "Redis wiped": wipe,
            "MariaDB killed, 4 s away": service("mysql", 4),
            "Kafka killed, 4 s away": service("kafka", 4),
        }
        if "--long" in sys.argv:
            scenes = {
                "a gateway killed": kill_gateway,
                "a worker killed": kill_worker,
                "Redis wiped": wipe,
                "MariaDB killed, 10 s away": service("mysql", 10),
                "Kafka killed, 10 s away": service("kafka", 10),
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
