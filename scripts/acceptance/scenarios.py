"""`ringway load run`: scenarios end to end, reports, thresholds, a paused server, one that dies, and Ctrl-C."""
import json, pathlib, re, signal, subprocess, time

from common import BINARY, Server, Tally

CLEAN, USAGE, UNAVAILABLE, CONFIG, NOT_CLEAN = 0, 64, 69, 78, 99


def start(server, work, scenario, *args, stderr=subprocess.PIPE):
    command = [BINARY, "load", "run", str(scenario), "--target", f"ws://127.0.0.1:{server.port}/ws", "--data", server.data,
               "--api", f"http://127.0.0.1:{server.http}", "--ledger", str(work / "run.ledger"), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)


def run(server, work, scenario, *args):
    process = start(server, work, scenario, *args)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def report_of(work):
    return json.loads((work / "report.json").read_text())


def smoke(tally, server, work):
    outputs = [arg for name in ("report.json", "report.html", "run.hlog") for arg in ("-o", work / name)]
    code, out, err = run(server, work, "smoke", "--server-pid", server.process.pid, "--admin", f"http://127.0.0.1:{server.admin}",
                         "--threshold", "lost==0", "--threshold", "delivered.p(99)<10s", "--allow-saturated", *outputs)
    print(out)
    tally.equal("smoke, with a storm: exit 0", code, CLEAN) or print(err)
    report = report_of(work)
    tally.check("a fifth of the clients was broken off, and all came back",
                2 <= report["observed"]["broken"] == report["observed"]["back"] == report["latencies"]["back"]["due"]["count"],
                report["observed"])
    tally.check("typing, read marks and syncs went out", report["observed"]["typing"][0] > 50 < report["observed"]["marks"][0] and
                report["observed"]["syncs"] > 50 and report["observed"]["typing"][1] > 0, report["observed"])
    tally.check("both thresholds hold", [t["ok"] for t in report["thresholds"]] == [True, True], report["thresholds"])
    tally.check("each second has its figures", len(report["intervals"]) >= 20 and
                sum(i["persisted"] for i in report["intervals"]) == report["verdict"]["persisted"], len(report["intervals"]))
    tally.check("the server's CPU time and memory are told", report["server"]["cpu_s"] > 0 < report["server"]["rss_connected_bytes"],
                report["server"])
    tally.check("and its hops", any(hop["hop"] == "commit" and hop["count"] > 0 for hop in report["hops"]), report["hops"])
    page = (work / "report.html").read_text()
    tally.check("the page needs no network and no script", page.count("<svg") >= 5 and
                not re.search(r"<script|https?://|@import|url\(", page), len(page))
    log = (work / "run.hlog").read_text()
    tally.check("the log of histograms has a line a second for each latency", log.count("Tag=persisted,") >= 18, log[:500])
    code = subprocess.run([BINARY, "load", "verify", str(work / "run.ledger")], capture_output=True).returncode
    tally.equal("verify says the same", code, CLEAN)


def repeatable(tally, server, work):
    """The schedule follows from the seed, whatever the number of threads."""
    sent = []
    for args in (("--seed", 7), ("--seed", 7, "--shards", 3), ("--seed", 8)):
        run(server, work, "steady", "-c", 20, "-R", 100, "-d", "3s", "--allow-saturated", *args)
        records = [json.loads(line).get("r", {}) for line in (work / "run.ledger").read_text().splitlines()]
        first = min(r["sent"]["due"] for r in records if "sent" in r)
        sent.append(sorted((r["sent"]["due"] - first, r["sent"]["user"]) for r in records if "sent" in r))
    tally.check("the same seed gives the same schedule over 1 and 3 threads", sent[0] == sent[1] and len(sent[0]) > 200, len(sent[0]))
    tally.check("another seed gives another", sent[0] != sent[2])


def paused(tally, server, work):
    """A server that stands still shows from due, and not from when messages went out, where clients wait for answers."""
    scenario = work / "paused.toml"
    scenario.write_text('connections = 10\n[clients]\nwindow = 1\n[[phase]]\nkind = "hold"\nduration = "12s"\nrate = 500\n')
    process = start(server, work, scenario, "-o", work / "report.json", "--allow-saturated")
    time.sleep(5)
    server.process.send_signal(signal.SIGSTOP)
    time.sleep(2)
    server.process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=240)
    print(out)
    tally.equal("a pause of 2 s loses nothing", process.returncode, CLEAN) or print(err)
    latency = report_of(work)["latencies"]["persisted"]
    for name, words in (("due", "when it was due"), ("begun", "when it went out")):
        spectrum = "  ".join(f"{at} {latency[name][at]:.1f}" for at in ("p50", "p90", "p95", "p99", "p999", "max"))
        print(f"  persisted, ms from {words:<18} {spectrum}")
    tally.check("from due, 2 s of 12 stand in the spectrum: p99 above 1 s", latency["due"]["p99"] > 1_000, latency)
    tally.check("from when messages went out they hide: p99 is a small part of that",
                latency["begun"]["p99"] < 500 < latency["begun"]["max"], latency)


def gone(tally, server, work):
    process = start(server, work, "steady", "-c", 20, "-R", 100, "-d", "40s", "-o", work / "report.json", stderr=subprocess.DEVNULL)
    time.sleep(4)
    server.kill(signal.SIGKILL)
    began = time.time()
    out, _ = process.communicate(timeout=120)
    took = time.time() - began
    tally.check("a server that dies: exit 69, and it says so", process.returncode == UNAVAILABLE and "THE SERVER IS GONE" in out,
                (process.returncode, out))
    tally.check("long before the end", took < 30, took)
    tally.check("with a report", report_of(work)["gone"] is not None, "")
    code, _, err = run(server, work, "smoke")
    tally.check("a server that is down: exit 69, cause and cure", code == UNAVAILABLE and "refused" in err and "ringway dev" in err, err)
    server.start()


def interrupted(tally, server, work):
    process = start(server, work, "steady", "-c", 20, "-R", 100, "-o", work / "report.json", stderr=subprocess.DEVNULL)
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    report = report_of(work)
    tally.check("Ctrl-C: a report marked incomplete", "INCOMPLETE" in out and report["incomplete"] and report["verdict"]["sent"] > 50, out)


def refused(tally, server, work):
    bad = work / "bad.toml"
    bad.write_text('connections = 10\n[arrival]\nkind = "constant"\nrat = 3\n[[phase]]\nkind = "hold"\nduration = "1s"\n')
    code, _, err = run(server, work, bad)
    tally.check("an unknown key: exit 78, with line and column", code == CONFIG and "line 4, column 1" in err and "rat" in err, err)
    code, _, err = run(server, work, "smoky")
    tally.check("an unknown scenario: exit 64, with those there are", code == USAGE and "smoke" in err, err)
    code, _, err = run(server, work, "smoke", "--threshold", "persisted<1")
    tally.check("a threshold that is none: exit 64", code == USAGE and "p(99)" in err, err)
    code, out, _ = run(server, work, "steady", "-c", 20, "-R", 50, "-d", "2s", "--threshold", "persisted.p(99)<1us")
    tally.check("a threshold that fails: exit 99, and it is named", code == NOT_CLEAN and "FAILS: persisted.p(99)<1us" in out, out)


def main():
    tally = Tally()
    with Server(None, "--shards", "2") as server:
        work = pathlib.Path(server.data) / "load"
        work.mkdir()
        smoke(tally, server, work)
        repeatable(tally, server, work)
        refused(tally, server, work)
        interrupted(tally, server, work)
        paused(tally, server, work)
        gone(tally, server, work)
    tally.end()


main()
