"""`ringway load` on servers that are no Ringway: what it counts is what they count, and what they do wrong is seen."""
import contextlib, json, os, pathlib, signal, socket, subprocess, tempfile, time, urllib.request

from common import BINARY, ROOT, Tally, free_port, wait_until

CLEAN, USAGE, UNAVAILABLE, NOT_CLEAN = 0, 64, 69, 99
ECHO = pathlib.Path(os.environ.get("ENGINE_ECHO", ROOT / "target/release/examples/echo"))
CONNECTIONS, ROOM, MESSAGES = 40, 10, 1000
BRIEF = ["-R", MESSAGES, "-d", "1s"]


@contextlib.contextmanager
def process(*command):
    """A process with lines on stdout, ended by pid."""
    started = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(10)


@contextlib.contextmanager
def node(*wrong):
    """The port of a server on `ws`."""
    with process("node", ROOT / "scripts/acceptance/targets.mjs", *wrong) as server:
        yield int(server.stdout.readline()), server.pid


def counts(port, path="counts"):
    return json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10))


def load(work, command, protocol, url, *args, room=ROOM):
    """Runs `ringway load`; exit code, report, and what it printed."""
    report = work / "report.json"
    report.unlink(missing_ok=True)
    full = [BINARY, "load", *command, "--protocol", protocol, "--target", url, "-c", CONNECTIONS,
            "--ledger", work / "none.ledger", "-o", report, "--room-size", room, *args]
    done = subprocess.run([str(part) for part in full], capture_output=True, text=True, timeout=120, cwd=work)
    return done.returncode, json.loads(report.read_text()) if report.exists() else None, done.stdout + done.stderr


def open_loop(tally, work, name, protocol, url, port, pid, recipients):
    code, report, text = load(work, ["quick"], protocol, url, *BRIEF, "--server-pid", pid,
                              "--threshold", "lost==0", "--threshold", "delivered.p(99)<5s")
    tally.equal(f"{name}: exit 0", code, CLEAN) or print(text)
    verdict, own = report["verdict"], counts(port, "reset")
    tally.equal(f"{name}: sent and delivered as the server counts them", (verdict["sent"], verdict["delivered"]),
                (own["taken"], own["delivered"]))
    tally.equal(f"{name}: 1,000 were due, each for {recipients}", (verdict["sent"], verdict["delivered"]), (MESSAGES, MESSAGES * recipients))
    tally.check(f"{name}: latency of each, CPU time of the server for each", report["latencies"]["delivered"]["due"]["count"] ==
                MESSAGES * recipients and report["server"]["cpu_us_per_delivery"] > 0 and "µs for each delivery" in text, report["server"])
    tally.check(f"{name}: no ledger, and it says so", not (work / "none.ledger").exists() and "without a ledger" in text, text)


def closed_loop(tally, work, port):
    code, report, text = load(work, ["run", "closed"], "raw-room", f"ws://127.0.0.1:{port}/room/{{room}}", "--depth", 3, "-d", "2s",
                              "--allow-saturated")
    tally.equal("a closed loop in rooms: exit 0", code, CLEAN) or print(text)
    verdict, own = report["verdict"], counts(port, "reset")
    tally.equal("as the server counts it", (verdict["sent"], verdict["delivered"]), (own["taken"], own["delivered"]))
    in_flight = max(i["in_flight"] for i in report["intervals"])
    tally.check("no more than 3 messages a room are under way", 0 < in_flight <= CONNECTIONS // ROOM * 3 * (ROOM - 1), in_flight)


def wrong(tally, work, how, kind):
    with node(how, 500) as (port, _):
        code, report, text = load(work, ["quick"], "raw-relay", f"ws://127.0.0.1:{port}/relay", *BRIEF)
        verdict = report["verdict"]
        tally.check(f"a server that does {how} one: exit 99, one {kind}, named", code == NOT_CLEAN and verdict["counts"][kind] == 1 ==
                    sum(verdict["counts"].values()) and f"{kind}: room " in text, (code, verdict["counts"], text))
        tally.equal("and what else came is as the server counts it", verdict["delivered"], counts(port)["delivered"] - (how == "drop"))


def stopped_generator(tally, work, port):
    """A generator that stands still at the end of the sending sends what was due all the same, and says how late it was."""
    report = work / "report.json"
    command = [BINARY, "load", "quick", "--protocol", "raw-echo", "--target", f"ws://127.0.0.1:{port}/echo", "-c", 20, "-R", 500, "-d", "2s", "-o", report]
    started = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=work)
    time.sleep(1.5)
    started.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    started.send_signal(signal.SIGCONT)
    code, report = started.wait(60), json.loads(report.read_text())
    tally.equal("a generator that stood still at the end: all 1,000 went out, and the server had them",
                (code, report["verdict"]["sent"], counts(port, "reset")["taken"]), (CLEAN, 1000, 1000))
    tally.check("and it says that it was late", "handed out" in (report["saturated"] or ""), report["saturated"])


def engine(tally, work):
    for relay, protocol in (([], "raw-echo"), (["--relay", "10"], "loopback-relay")):
        port = free_port()
        with process(ECHO, "--listen", f"127.0.0.1:{port}", *relay) as server:
            server.stdout.readline()
            code, report, text = load(work, ["quick"], protocol, f"ws://127.0.0.1:{port}/ws?user={{user}}", *BRIEF)
            tally.equal(f"the engine's example by {protocol}: 1,000 delivered, exit 0", (code, report and report["verdict"]["delivered"]),
                        (CLEAN, MESSAGES)) or print(text)


def brokers(tally, work):
    """NATS and MQTT on nats-server, which speaks both, where benches/peers/run has fetched it."""
    program = ROOT / ".cache/peers/nats/nats-server"
    if not program.exists():
        return print("left out: NATS and MQTT, there is no .cache/peers/nats/nats-server")
    sockets, config = free_port(), work / "nats.conf"
    config.write_text(f'server_name: load\nlisten: "127.0.0.1:{free_port()}"\njetstream {{ store_dir: "{work}/jetstream" }}\n'
                      f'mqtt {{ listen: "127.0.0.1:{free_port()}" }}\nwebsocket {{ listen: "127.0.0.1:{sockets}", no_tls: true }}\n')
    with process(program, "-l", work / "nats.log", "-c", config):
        wait_until(lambda: listens(sockets))
        for protocol, path, recipients in (("nats", "/", 1), ("nats-room", "/", ROOM - 1), ("mqtt", "/mqtt", 1), ("mqtt-room", "/mqtt", ROOM - 1)):
            code, report, text = load(work, ["quick"], protocol, f"ws://127.0.0.1:{sockets}{path}", *BRIEF)
            tally.equal(f"nats-server by {protocol}: exit 0, all delivered", (code, report and report["verdict"]["delivered"]),
                        (CLEAN, MESSAGES * recipients)) or print(text)


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def refused(tally, work):
    code, _, text = load(work, ["quick"], "raw", "ws://127.0.0.1:1/")
    tally.check("an unknown protocol: exit 64, with those there are", code == USAGE and "raw-relay" in text, text)
    code, _, text = load(work, ["quick"], "raw-room", "ws://127.0.0.1:1/", room=7)
    tally.check("rooms that are not whole: exit 64, and why", code == USAGE and "whole rooms of 7" in text, text)
    code, _, text = load(work, ["run", "smoke"], "raw-relay", "ws://127.0.0.1:1/")
    tally.check("a mix of more than messages: exit 64, and why", code == USAGE and "nothing but messages" in text, text)
    for protocol, advice in (("raw-relay", "--target must say where"), ("nats", "`websocket` block"), ("mqtt", "MQTT over WebSockets")):
        code, _, text = load(work, ["quick"], protocol, "ws://127.0.0.1:1/")
        tally.check(f"a server of {protocol} that is not there: exit 69, and how to have one, which is no Ringway", code == UNAVAILABLE and
                    advice in text and "ringway dev" not in text, text)


def main():
    tally, began = Tally(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="targets-") as folder:
        work = pathlib.Path(folder)
        with node() as (port, pid):
            open_loop(tally, work, "raw-echo", "raw-echo", f"ws://127.0.0.1:{port}/echo", port, pid, 1)
            open_loop(tally, work, "raw-relay", "raw-relay", f"ws://127.0.0.1:{port}/relay", port, pid, 1)
            open_loop(tally, work, "raw-room", "raw-room", f"ws://127.0.0.1:{port}/room/{{room}}", port, pid, ROOM - 1)
            closed_loop(tally, work, port)
            stopped_generator(tally, work, port)
        wrong(tally, work, "drop", "lost")
        wrong(tally, work, "double", "doubled")
        engine(tally, work)
        brokers(tally, work)
        refused(tally, work)
    print(f"{time.monotonic() - began:.0f} s")
    tally.end()


main()
