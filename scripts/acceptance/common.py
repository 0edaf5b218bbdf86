"""What the acceptance drivers share: a server of their own, tokens, clients, and a tally."""
import asyncio, contextlib, json, os, pathlib, random, signal, socket, subprocess, sys, tempfile, time, urllib.error, urllib.request

import websockets

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("RINGWAY", str(ROOT / "target/release/ringway"))
WAIT_S = 10


class Tally:
    """Counts checks; the closing line says how many held."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, good, detail=""):
        print(f"{'ok  ' if good else 'FAIL'} {name}{'' if good else f': {detail}'}", flush=True)
        if good:
            self.passed += 1
        else:
            self.failed += 1
        return good

    def equal(self, name, got, expected):
        return self.check(name, got == expected, f"expected {expected!r}, got {got!r}")

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed or not self.passed else 0)


def free_port():
    """A port that no client is given as its own while the server is down."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


class Server:
    """A `ringway dev` of its own, ended by pid."""

    def __init__(self, data=None, *args):
        self.data = data or tempfile.mkdtemp(prefix="ringway-")
        # Drivers send faster than people: the rates have tests of their own.
        config = os.path.join(self.data, "unlimited.toml")
        if "--config" not in args:
            with open(config, "w") as file:
                file.write("[limits]\ncommands_per_second = 0\nworld_user_per_second = 0\nworld_per_second = 0\n")
            args = ("--config", config, *args)
        self.args = args
        self.port, self.http, self.admin = free_port(), free_port(), free_port()
        self.process = None
        self.cached = {}

    def start(self):
        at = lambda port: f"127.0.0.1:{port}"
        command = [BINARY, "dev", "--data", self.data, "--listen", at(self.port), "--http", at(self.http),
                   "--admin", at(self.admin), *self.args]
        self.log = open(os.path.join(self.data, "log"), "a")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        for line in self.process.stdout:
            if "Ctrl-C" in line:
                return self
        raise SystemExit(f"the server did not start: {open(self.log.name).read()[-2000:]}")

    def kill(self, sig=signal.SIGKILL):
        self.process.send_signal(sig)
        return self.process.wait(30)

    def stop(self):
        if self.process and self.process.poll() is None:
            return self.kill(signal.SIGTERM)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def tokens(self, first, last):
        text = subprocess.check_output([BINARY, "token", "--users", f"{first}..{last}", "--data", self.data], text=True)
        self.cached.update(zip(range(first, last + 1), text.split()))
        return self.cached

    def token(self, user):
        return self.cached.get(user) or self.tokens(user, user)[user]

    def url(self, user):
        return f"ws://127.0.0.1:{self.port}/ws?token={self.token(user)}"

    async def connect(self, user, **options):
        ws = await websockets.connect(self.url(user), max_size=None, open_timeout=WAIT_S, compression=None, **options)
        first = await receive(ws)
        assert first["type"] == "connected" and first["data"]["userId"] == str(user), first
        return ws

    def api(self, method, path, body=None, user=1):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http}{path}", method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token(user)}", "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def group(self, owner, members, name="group"):
        members = list(members)
        status, answer = self.api("POST", "/api/groups", {"name": name, "members": members[:1000]}, owner)
        assert status == 201, (status, answer)
        return answer["conversationId"]

    def shards(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/shards", timeout=WAIT_S) as answer:
            return json.load(answer)["shards"]

    def total(self, name):
        return sum(shard[name] for shard in self.shards())

    def metric(self, name, **labels):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=WAIT_S) as answer:
            text = answer.read().decode()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = [l for l in text.splitlines() if l.startswith(name + "{") and all(w in l for w in wanted)]
        assert lines, f"no metric {name} {labels}"
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def rss(self):
        status = open(f"/proc/{self.process.pid}/status").read()
        return next(int(l.split()[1]) * 1024 for l in status.splitlines() if l.startswith("VmRSS"))


def message(client_id, conversation, content, kind="text"):
    data = {"tempMessageId": client_id, "conversationId": conversation, "content": content, "messageType": kind}
    return json.dumps({"type": "send-message", "data": data, "trace_id": f"t-{client_id}"[:64]})


async def receive(ws, kind=None, wait=WAIT_S):
    """The next event, or the next of that type."""
    async with asyncio.timeout(wait):
        while True:
            event = json.loads(await ws.recv())
            if kind is None or event["type"] == kind:
                return event


async def sync_all(ws, conversation, limit=300, after=0):
    """Every message after `after`, page by page, and how many pages it took."""
    messages, pages = [], 0
    while True:
        request = {"conversations": [{"conversationId": conversation, "afterSeq": after}], "limit": limit}
        await ws.send(json.dumps({"type": "sync", "data": request}))
        part = (await receive(ws, "sync-result"))["data"]["conversations"][0]
        assert "messages" in part, part
        messages += part["messages"]
        pages += 1
        if not part["hasMore"]:
            return messages, pages
        after = messages[-1]["seq_id"]


def wait_until(good, seconds=WAIT_S, step=0.05):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if good():
            return True
        time.sleep(step)
    return bool(good())
