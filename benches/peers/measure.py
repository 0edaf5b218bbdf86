"""What is measured of a server, each by one run of `ringway load` on core 1."""
import json, os, pathlib, resource, signal, subprocess

from servers import ROOT

TOOL = os.environ.get("RINGWAY", str(ROOT / "target/release/ringway"))
TOOL_CORE = "1"
RUN_S_MAX = 300
# Open files beside the sockets.
SPARE_FILES = 500


class Unmeasured(Exception):
    """There is no figure, and why."""


class Sizes:
    """How long, and with how many."""

    def __init__(self, quick):
        self.seconds = 3 if quick else 12
        self.pairs_users, self.room = 200, 1000
        soft = raise_open_files()
        # A shard of Ringway takes 18,000 unless it is told otherwise.
        self.idle = (2000, 4000) if quick else (8000, 18000)
        if self.idle[1] + SPARE_FILES > soft:
            raise SystemExit(f"{self.idle[1]} connections need {self.idle[1] + SPARE_FILES} open files, the limit is {soft}: ulimit -n")


def raise_open_files():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def load(server, shape, scenario, *more):
    """A run against a server; its report."""
    report = server.folder / "report.json"
    command = ["taskset", "-c", TOOL_CORE, TOOL, "load", "run", scenario, *server.load_arguments(shape), "--cores", TOOL_CORE,
               "--server-pid", server.process.pid, "--allow-saturated", "-o", report, *more]
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               cwd=server.folder, start_new_session=True)
    try:
        out, _ = process.communicate(timeout=RUN_S_MAX)
    except BaseException as error:
        process.send_signal(signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise Unmeasured(f"the run took more than {RUN_S_MAX} s") from error
        raise
    if process.returncode != 0:
        raise Unmeasured(f"exit {process.returncode}: " + " | ".join(out.strip().splitlines()[-6:]))
    return json.loads(pathlib.Path(report).read_text())


def closed(server, shape, sizes, users, depth):
    """A closed loop of that depth; what the server used, and what it delivered."""
    report = load(server, shape, "closed", "-c", users, "--depth", depth, "--room-size", users, "-d", f"{sizes.seconds}s")
    used, delivered = report["server"]["cpu_s"], report["verdict"]["delivered"]
    if used <= 0 or delivered <= 0:
        raise Unmeasured(f"{delivered} deliveries in {used} s of CPU time")
    return used, delivered


def per_message(shape, depth):
    """Server CPU µs for each delivery, in pairs or alone."""
    def measure(server, sizes):
        used, delivered = closed(server, shape, sizes, sizes.pairs_users, depth)
        return [used * 1e6 / delivered]
    return measure


def fan_out(depth):
    """Deliveries for each second of server CPU, in one room, in thousands."""
    def measure(server, sizes):
        used, delivered = closed(server, "room", sizes, sizes.room, depth)
        return [delivered / used / 1e3]
    return measure


def idle(server, sizes):
    """Bytes that one more connection adds, and connections a second."""
    first, last = sizes.idle
    scenario = server.folder / "idle.toml"
    phase = lambda seconds, more="": f'[[phase]]\nkind = "hold"\nduration = "{seconds}s"\nrate = 0\n{more}'
    scenario.write_text(f"connections = {first}\n[mix]\nsingle = 0\n" + phase(3) + phase(sizes.seconds, f"connections = {last}\n") + phase(3))
    report = load(server, "relay", scenario)
    rss = lambda online: [i["server_rss_bytes"] for i in report["intervals"] if i["online"] == online and i["server_rss_bytes"]]
    if not rss(first) or not rss(last):
        raise Unmeasured(f"no second with {first} or none with {last} connections")
    return [(rss(last)[-1] - rss(first)[-1]) / (last - first), first / report["connect_s"]]


# Shape of the server, titles of the rows, digits after the point, and how.
CELLS = [
    ("echo", ["echo, 1 in flight: CPU µs a message"], [2], per_message("echo", 1)),
    ("relay", ["relay, 1 in flight: CPU µs a delivery"], [2], per_message("relay", 1)),
    ("relay", ["relay, 16 in flight: CPU µs a delivery"], [2], per_message("relay", 16)),
    ("room", ["room of 1,000, 2 in flight: thousand deliveries a CPU second"], [0], fan_out(2)),
    ("room", ["room of 1,000, 16 in flight: the same"], [0], fan_out(16)),
    ("relay", ["bytes an idle connection", "connections a second"], [0, 0], idle),
]
TITLES = [title for _, titles, *_ in CELLS for title in titles]
DIGITS = [digits for *_, all_digits, _ in CELLS for digits in all_digits]
