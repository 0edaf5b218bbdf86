"""What the drivers of the cluster share: gateways and workers over real Kafka, MariaDB and Redis, and a load on them."""
import functools, json, os, pathlib, re, subprocess, time, tomllib, urllib.error, urllib.request

import websockets
from kafka import KafkaConsumer, TopicPartition

from common import BINARY, ROOT, receive

PORT = int(os.environ.get("CLUSTER_PORT", "18080"))
PARTITIONS = tomllib.loads((ROOT / "deploy/local/logic.toml").read_text())["kafka"]["upstream_partitions"]
SERVICES = pathlib.Path(os.environ.get("SERVICES_DIR", ROOT / ".services")).resolve()
DATA = SERVICES / "cluster"
CLEAN = 0


def cluster(*words, check=True, **environment):
    """`scripts/cluster`, with more environment for what it starts."""
    environment = {**os.environ, "CLUSTER_BINARY": BINARY, **environment}
    done = subprocess.run([ROOT / "scripts/cluster", *words], capture_output=True, text=True, env=environment)
    if check and done.returncode:
        raise SystemExit(f"cluster {words}: {done.stdout}{done.stderr}")
    return done.stdout


def restart(*names, **environment):
    """What is restarted to change its configuration."""
    cluster("stop", *names)
    cluster("start", *names, **environment)


def service(verb, name):
    done = subprocess.run([ROOT / "scripts/services", verb, name], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"services {verb} {name}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def at(*names):
    """The environment that tells a process of ours where services are."""
    variables = {"kafka": "RINGWAY_KAFKA__BROKERS", "redis": "RINGWAY_REDIS__URL", "mysql": "RINGWAY_MYSQL__URL"}
    return {variables[name]: service("address", name) for name in names}


@functools.cache
def token(user):
    return subprocess.check_output([BINARY, "token", "--user", str(user), "--data", DATA], text=True).strip()


def socket(gateway):
    return f"ws://127.0.0.1:{PORT + gateway}/ws"


def log(name):
    """What a process of the cluster has logged so far."""
    path = DATA / name / "log"
    return path.read_text(errors="replace") if path.exists() else ""


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


def worker_metric(worker, name):
    return metric(PORT + 40 + worker, name)


def lag():
    """How much of what workers take from Kafka is not noted as done, by topic."""
    behind = {}
    for group, topic in (("ringway-logic", "im-upstream"), ("ringway-fanout", "im-task-large-group-fanout")):
        consumer = KafkaConsumer(bootstrap_servers=service("address", "kafka"), group_id=group, enable_auto_commit=False)
        try:
            places = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)]
            ends = consumer.end_offsets(places)
            behind[topic] = sum(ends[place] - (consumer.committed(place) or 0) for place in places)
        finally:
            consumer.close()
    return behind


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


class Load:
    """`ringway load quick` over both gateways."""

    def __init__(self, work, name, *args):
        name = re.sub(r"\W+", "-", name)
        self.ledger, self.output = work / f"{name}.ledger", work / f"{name}.json"
        command = [BINARY, "load", "quick", "--target", socket(1), "--target", socket(2), "--api",
                   f"http://127.0.0.1:{PORT + 61}", "--data", DATA, "--ledger", self.ledger, "-o", self.output,
                   "--reconnect", "--at-least-once", *args]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def end(self):
        """Its exit code, that of `load verify`, and what it printed."""
        out, _ = self.process.communicate(timeout=240)
        verified = subprocess.run([BINARY, "load", "verify", self.ledger], capture_output=True, text=True)
        return self.process.returncode, verified.returncode, out

    def report(self):
        return json.loads(self.output.read_text())


def under_load(tally, work, what, fault, seconds=14, users=200, rate=400, args=()):
    """A load during which `fault` happens; its ledger has to be clean."""
    load = Load(work, what, "-c", str(users), "-R", str(rate), "-d", f"{seconds}s", *args)
    time.sleep(4)
    fault()
    code, verified, out = load.end()
    print(f"--- {what}\n{out}", flush=True)
    tally.equal(f"{what}: clean, and verify says so", (code, verified), (CLEAN, CLEAN))
    return load
