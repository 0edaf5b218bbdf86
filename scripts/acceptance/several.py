"""`ringway load coordinator` and `ringway load worker`: one run that several processes make."""
import contextlib, json, pathlib, signal, socket, struct, subprocess, time

from common import BINARY, Server, Tally, free_port, wait_until

CLEAN, USAGE, DATA, UNAVAILABLE, NOT_CLEAN, INTERRUPTED = 0, 64, 65, 69, 99, 130
SCENARIO = """connections = 20
[mix]
single = 3
group = 1
world = 1
[groups]
count = 2
size = 6
[[phase]]
kind = "hold"
duration = "{seconds}s"
rate = 100
"""


class Run:
    """A coordinator and workers, each ended by pid."""

    def __init__(self, work, servers, seconds=3, workers=2, extra=()):
        self.work, self.port = work, free_port()
        scenario = work / "several.toml"
        scenario.write_text(SCENARIO.format(seconds=seconds))
        targets = [arg for server in servers for arg in ("--target", f"ws://127.0.0.1:{server.port}/ws")]
        self.coordinator = self.start("coordinator", str(scenario), "--workers", workers, "--listen", f"127.0.0.1:{self.port}",
                                      "--data", servers[0].data, "--api", f"http://127.0.0.1:{servers[0].http}", *targets,
                                      "-o", work / "report.json", "-o", work / "run.hlog", "--allow-saturated", *extra)
        self.log = []

    def start(self, *args):
        return subprocess.Popen([BINARY, "load", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.work)

    def worker(self, *args):
        return self.start("worker", "--join", f"127.0.0.1:{self.port}", *args)

    def until(self, text):
        """Reads what the coordinator says until it has said that."""
        for line in self.coordinator.stderr:
            self.log.append(line)
            if text in line:
                return True
        return False

    def report(self):
        return json.loads((self.work / "report.json").read_text())


def end(process, seconds=60):
    """Exit code, stdout and stderr."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        return "hung", out, err
    return process.returncode, out, err


def judged(*ledgers):
    process = subprocess.run([BINARY, "load", "verify", *map(str, ledgers)], capture_output=True, text=True)
    return process.returncode, process.stdout + process.stderr


def records(path):
    return [json.loads(line)["r"] for line in path.read_text().splitlines()[1:]]


def clean(tally, server, work):
    run = Run(work, [server])
    workers = [run.worker(), run.worker("--shards", 2)]
    (code, out, err), ended = end(run.coordinator), [end(worker) for worker in workers]
    print(out)
    tally.equal("two workers: exit 0", code, CLEAN) or print(err)
    tally.check("both workers: exit 0, and they say where their ledgers are",
                all(code == CLEAN and "the coordinator judges them" in out for code, out, _ in ended), ended)
    report, ledgers = run.report(), [work / f"ringway-load.{index}.ledger" for index in (0, 1)]
    sent = [[r["sent"] for r in records(path) if "sent" in r] for path in ledgers]
    verdict, latencies = report["verdict"], report["latencies"]
    tally.check("both have sent, and the counts are the sum", min(map(len, sent)) > 50 and
                sum(map(len, sent)) == verdict["sent"] == verdict["persisted"] == report["observed"]["scheduled"] == 300,
                (list(map(len, sent)), verdict))
    tally.check("no user is in two workers", not {r["user"] for r in sent[0]} & {r["user"] for r in sent[1]})
    measured = latencies["delivered"]["due"]["count"]
    tally.check("each delivery is measured, or counted as another worker's",
                measured > 0 < report["observed"]["across"] and measured + report["observed"]["across"] == verdict["delivered"],
                (measured, report["observed"], verdict))
    tally.check("the histograms of both are added up: connect of 20, persisted of 300",
                latencies["connect"]["due"]["count"] == 20 and latencies["persisted"]["due"]["count"] == 300, latencies)
    tally.check("so are those of each second", sum(i["persisted_ms"]["count"] for i in report["intervals"]) == 300 ==
                sum(i["persisted"] for i in report["intervals"]), report["intervals"])
    clocks = [(w["clock_start"], w["clock_end"], w["drift_us"]) for w in report["workers"]]
    tally.check("the clocks of one machine are one, within the error that is told",
                all(abs(c["ahead_us"]) <= c["error_us"] + 1_000 for pair in clocks for c in pair[:2]), clocks)
    code, text = judged(*reversed(ledgers))
    tally.check("verify of both says the same", code == CLEAN and "verdict: CLEAN" in text, text)
    code, text = judged(ledgers[1])
    tally.check("verify of one: exit 65, and which is missing", code == DATA and "missing: of worker 0" in text, text)
    lines = ledgers[1].read_text().splitlines(keepends=True)
    at = next(at for at, line in enumerate(lines) if '"sent"' in line)
    spoiled = work / "spoiled.ledger"
    spoiled.write_text("".join(lines[:at] + lines[at + 1:]))
    code, text = judged(ledgers[0], spoiled)
    message = json.loads(lines[at])["r"]["sent"]["msg"]
    tally.check("a line that was lost: exit 99, named with its message and its worker", code == NOT_CLEAN and
                "ledger of worker 1, line" in text and message in text, text)
    return sorted((r["due"], r["user"], r["conv"]) for part in sent for r in part)


def schedule(tally, server, work, of_two):
    """One process alone sends the same, to the same, at the same times after the first."""
    scenario, ledger = work / "several.toml", work / "one.ledger"
    code, _, err = end(subprocess.Popen(
        [BINARY, "load", "run", scenario, "--target", f"ws://127.0.0.1:{server.port}/ws", "--data", server.data, "--api",
         f"http://127.0.0.1:{server.http}", "--ledger", ledger, "--allow-saturated"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=work))
    tally.equal("the same scenario in one process: exit 0", code, CLEAN) or print(err)
    of_one = sorted((r["sent"]["due"], r["sent"]["user"], r["sent"]["conv"]) for r in records(ledger) if "sent" in r)
    # Groups are made anew, and have names of their own.
    plain = lambda sends: [(due - sends[0][0], user, "group" if conv.startswith("group") else conv) for due, user, conv in sends]
    tally.check("two workers have sent what one process sends, when it does", plain(of_two) == plain(of_one), (of_two[:3], of_one[:3]))


def collected(tally, server, work):
    """A ledger that the coordinator can't read where the worker says, as on another machine, is sent over."""
    elsewhere = work / "elsewhere"
    elsewhere.mkdir()
    run = Run(work, [server], seconds=1, extra=("--ledger", work / "copy"))
    # For the coordinator that path leads to a folder of its own.
    far = subprocess.Popen([BINARY, "load", "worker", "--join", f"127.0.0.1:{run.port}", "--ledger", "/proc/self/cwd/far.ledger"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=elsewhere)
    near = run.worker()
    code, out, err = end(run.coordinator)
    ended = [end(worker)[0] for worker in (far, near)]
    copies = list(work.glob("copy.*"))
    tally.check("a ledger that is out of reach is sent over, and judged", code == CLEAN == max(ended) and len(copies) == 1 and
                copies[0].read_bytes() == (elsewhere / "far.ledger").read_bytes() and str(copies[0]) in out, (code, out, err, ended, copies))


def killed(tally, server, work):
    run = Run(work, [server], seconds=30)
    workers = [run.worker(), run.worker()]
    run.until("2 s hold")
    began = time.time()
    workers[1].kill()
    code, out, err = end(run.coordinator)
    tally.check("a worker that is killed: exit 69, and which", code == UNAVAILABLE and "A WORKER IS GONE: worker " in out and
                f"pid {workers[1].pid}" in out and "NOT CLEAN, incomplete" in out, (code, out, err))
    tally.check("at once", time.time() - began < 15, time.time() - began)
    report = run.report()
    tally.check("with a report of what there was", report["worker_gone"] and report["incomplete"] and report["verdict"]["sent"] > 100, report["verdict"])
    code, out, err = end(workers[0])
    tally.check("the other worker ends well", code == CLEAN, (code, out, err))


def coordinator_killed(tally, server, work):
    run = Run(work, [server], seconds=30)
    workers = [run.worker(), run.worker()]
    run.until("1 s hold")
    run.coordinator.kill()
    ended = [end(worker) for worker in workers]
    tally.check("a coordinator that is killed: both workers exit 69, and say so",
                all(code == UNAVAILABLE and "the coordinator at" in err and "is gone" in err for code, _, err in ended), ended)
    code, text = judged(work / "ringway-load.0.ledger", work / "ringway-load.1.ledger")
    tally.check("their ledgers have an end, marked incomplete", "incomplete" in text and "truncated" not in text, text)
    run.coordinator.communicate()


def interrupted(tally, server, work):
    for who in ("coordinator", "worker"):
        run = Run(work, [server], seconds=30)
        workers = [run.worker(), run.worker()]
        run.until("1 s hold")
        (run.coordinator if who == "coordinator" else workers[0]).send_signal(signal.SIGINT)
        (code, out, err), ended = end(run.coordinator), [end(worker) for worker in workers]
        tally.check(f"Ctrl-C at a {who}: a clean report marked incomplete, and all end", code == CLEAN and "INCOMPLETE: cut short by Ctrl-C" in out
                    and "CLEAN, incomplete" in out and [code for code, *_ in ended] == [CLEAN, CLEAN], (code, out, err, ended))
    run = Run(work, [server], workers=3)
    workers = [run.worker(), run.worker()]
    run.until("2 of 3")
    run.coordinator.send_signal(signal.SIGINT)
    codes = [end(process)[0] for process in (run.coordinator, *workers)]
    tally.equal("Ctrl-C while workers are waited for: all exit 130", codes, [INTERRUPTED] * 3)


def said(port, hello):
    """What the coordinator answers to a hello."""
    read = lambda s: json.loads(s.recv(struct.unpack(">I", s.recv(4, socket.MSG_WAITALL))[0], socket.MSG_WAITALL))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        own = read(s)
        text = json.dumps({**own, **hello}).encode()
        s.sendall(struct.pack(">I", len(text)) + text)
        return read(s)


def refused(tally, server, work):
    run = Run(work, [server], workers=1, seconds=4, extra=("--wait", "30s"))
    run.until("waiting for 1 workers")
    answer = said(run.port, {"version": "0.0.1"})
    tally.check("a worker of another version is told both", "0.0.1" in answer["refused"]["why"] and "use one version" in answer["refused"]["why"], answer)
    answer = said(run.port, {"protocol": 9})
    tally.check("and one of another protocol", "with 9" in answer["refused"]["why"], answer)
    for bytes_ in (b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\x02{}", b"\xff" * 8):
        with socket.create_connection(("127.0.0.1", run.port), timeout=10) as s, contextlib.suppress(ConnectionError):
            s.sendall(bytes_)
    with_secret = work / "secret"
    with_secret.write_text("0123456789abcdef\n")
    code, _, err = end(run.worker("--secret-file", with_secret))
    tally.check("a worker with a secret that the coordinator doesn't have: exit 69", code == UNAVAILABLE and "secret" in err, (code, err))
    worker = run.worker()
    run.until("1 s hold")
    code, _, err = end(run.worker())
    tally.check("more workers than asked for: exit 69, and why", code == UNAVAILABLE and "has its 1 workers already" in err, (code, err))
    codes = [end(process)[0] for process in (run.coordinator, worker)]
    tally.equal("which disturbs nobody", codes, [CLEAN, CLEAN])
    run = Run(work, [server], extra=("--wait", "1s"))
    worker = run.worker()
    (code, _, err), (other, _, told) = end(run.coordinator), end(worker)
    tally.check("a worker that never comes: both exit 69, and say how many there were",
                (code, other) == (UNAVAILABLE, UNAVAILABLE) and "only 1 of 2 workers" in err and "only 1 of 2 workers" in told, (code, err, other, told))
    for args, why in ((("--workers", "11"), "two users each"), (("--workers", "2", "--listen", "0.0.0.0:0"), "--secret-file")):
        code, _, err = end(run.start("coordinator", work / "several.toml", "--data", server.data, *args))
        tally.check(f"{' '.join(args)}: exit 64, with {why}", code == USAGE and why in err, (code, err))


def secret(tally, server, work):
    file = work / "secret"
    file.write_text("0123456789abcdef\n")
    # Two targets, though of one server: a loop-back address of its own.
    run = Run(work, [server], seconds=1, extra=("--secret-file", file, "--target", f"ws://0.0.0.0:{server.port}/ws"))
    run.until("waiting for 2 workers")
    code, _, err = end(run.worker())
    tally.check("a worker without the secret: exit 69, and what to do", code == UNAVAILABLE and "--secret-file" in err, (code, err))
    workers = [run.worker("--secret-file", file) for _ in range(2)]
    codes = [end(process)[0] for process in (run.coordinator, *workers)]
    tally.equal("with the secret the run is made, against two targets", codes, [CLEAN] * 3)


def main():
    tally = Tally()
    with Server(None, "--shards", "2") as server:
        work = pathlib.Path(server.data) / "several"
        work.mkdir()
        sends = clean(tally, server, work)
        schedule(tally, server, work, sends)
        collected(tally, server, work)
        secret(tally, server, work)
        refused(tally, server, work)
        interrupted(tally, server, work)
        killed(tally, server, work)
        coordinator_killed(tally, server, work)
    tally.end()


main()
