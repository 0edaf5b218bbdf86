"""`ringway load` against a second, independent client: `pairs` of benches/ (one thread on epoll, no code in common), in
turn against the same server at the same rate. Counts are judged; percentiles are printed, and judged with --strict,
which wants a quiet machine. PAIRS names the binary (default: target/release/pairs)."""
import argparse, json, os, pathlib, re, sqlite3, statistics, subprocess

from common import BINARY, ROOT, Server, Tally

PAIRS = os.environ.get("PAIRS", str(ROOT / "target/release/pairs"))
WARMUP_S = 2
# What the two may differ by: counts, and percentiles with --strict.
COUNTS, PERCENTILES = 0.01, 0.05
KEYS = [(what, at) for what in ("persisted", "delivered") for at in ("p50", "p99")]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-c", "--connections", type=int, default=100)
    parser.add_argument("-R", "--rate", type=int, default=1000)
    parser.add_argument("-d", "--duration", type=int, default=5, help="seconds measured, each time")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--strict", action="store_true", help="judge percentiles too")
    return parser.parse_args()


def rows(server):
    with sqlite3.connect(f"file:{server.data}/ringway.db?mode=ro", uri=True, timeout=30) as store:
        return store.execute("SELECT COUNT(*) FROM messages").fetchone()[0]


def by_load(server, args, work):
    report = work / "report.json"
    done = subprocess.run(
        [BINARY, "load", "quick", "--target", f"ws://127.0.0.1:{server.port}/ws", "--data", server.data, "--quiet", "-c", str(args.connections),
         "-R", str(args.rate), "-d", f"{args.duration}s", "--warmup", f"{WARMUP_S}s", "--ledger", str(work / "run.ledger"), "-o", str(report)],
        capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(report.read_text())
    seen = {(what, at): report["latencies"][what]["due"][at] for what, at in KEYS}
    counts = {what: report["latencies"][what]["due"]["count"] for what in ("persisted", "delivered")}
    return counts | {"sent": report["verdict"]["sent"]}, seen


def by_pairs(server, args, work):
    tokens = work / "tokens"
    tokens.write_text("".join(f"{server.token(user)}\n" for user in range(1, args.connections + 1)))
    out = subprocess.check_output([PAIRS, "--target", f"127.0.0.1:{server.port}", "--tokens", str(tokens), "-R", str(args.rate), "-d",
                                   str(args.duration), "--warmup", str(WARMUP_S)], text=True, timeout=180)
    counts, seen = {"sent": int(re.search(r"^sent (\d+)", out)[1])}, {}
    for what in ("persisted", "delivered"):
        line = re.search(rf"^{what} (\d+) p50 ([\d.]+) ms .*p99 ([\d.]+) ms", out, re.M)
        counts[what], seen[what, "p50"], seen[what, "p99"] = int(line[1]), float(line[2]), float(line[3])
    return counts, seen


def main():
    args, tally = arguments(), Tally()
    with Server(None, "--shards", "1") as server:
        work = pathlib.Path(server.data) / "independent"
        work.mkdir()
        server.tokens(1, args.connections)
        passes = {"load": [], "pairs": []}
        for number in range(args.passes):
            for name, run in (("load", by_load), ("pairs", by_pairs)):
                before = rows(server)
                counts, seen = run(server, args, work)
                counts["stored"] = rows(server) - before
                passes[name].append((counts, seen))
                figures = "  ".join(f"{what} {at} {seen[what, at]:.3f}" for what, at in KEYS)
                print(f"  {number + 1} {name:<6} {counts}  {figures} ms", flush=True)
    measured, all_of_it = args.rate * args.duration, args.rate * (args.duration + WARMUP_S)
    expected = {"sent": all_of_it, "stored": all_of_it, "persisted": measured, "delivered": measured}
    for name, runs in passes.items():
        worst = max(abs(counts[what] / count - 1) for counts, _ in runs for what, count in expected.items())
        tally.check(f"{name}: each count is within {COUNTS:.0%} of the schedule, and of the rows in the store", worst <= COUNTS,
                    [counts for counts, _ in runs])
    for key in KEYS:
        load, pairs = (statistics.median(seen[key] for _, seen in passes[name]) for name in ("load", "pairs"))
        off = load / pairs - 1
        said = f"{key[0]} {key[1]}: load {load:.3f} ms, pairs {pairs:.3f} ms, {off:+.1%} (medians of {args.passes})"
        if args.strict:
            tally.check(f"{said}, at most {PERCENTILES:.0%}", abs(off) <= PERCENTILES)
        else:
            print(f"     {said}")
    tally.end()


main()
