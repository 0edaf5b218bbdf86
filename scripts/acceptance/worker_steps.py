"""A worker dies, or is stopped until its partitions have moved, at each step of its batch, under load over real Kafka,
MariaDB and Redis: nothing is lost, stored twice, out of order or left out.

    worker_steps.py [STEP...]     all when none is named; STEP is a failpoint, or one with :stop"""
import pathlib, sys, tempfile, time

from cluster_rig import CLEAN, Load, cluster, lag, log, restart, worker_metric
from common import Tally, wait_until

# Every group is large, so that a message to one is a task.
ENVIRONMENT = {"RINGWAY_LOGIC__LARGE_GROUP_MEMBERS": "10"}
LOAD = ["-c", "200", "-R", "400", "-d", "8s", "--groups", "4", "--group-size", "40"]
# At which time a step strikes: early in the load, even where a slow machine makes few and large batches of it.
HITS = {
    "polled": 20, "written": 20, "committed": 20, "hot": 20, "distributing": 20, "distributed": 3,
    "scanning": 10, "scanned": 5, "releasing": 1,
}
STOPS = ["written", "committed", "distributing", "scanning"]
STRIKE_SECONDS_MAX = 20
# Kafka gives the partitions of a worker that is silent to others after 10 s.
MOVE_SECONDS_MAX = 25
LAG_SECONDS_MAX = 25
WARNING = "FAILPOINT: this worker"


def alive(name):
    return bool(cluster("pid", name, check=False).strip())


def state(name):
    """The state of a process as the kernel calls it: T is stopped."""
    pid = cluster("pid", name, check=False).strip()
    text = pathlib.Path(f"/proc/{pid}/stat").read_text() if pid else ") X"
    return text.rsplit(") ", 1)[1][0]


def strikes(step, act):
    return log("worker-2").count(f'failpoint: the process ends itself step="{step}" act="{act}"')


def provoke(step):
    """A rebalance takes partitions from a worker when another one comes."""
    if step == "releasing":
        cluster("start", "worker-3", **ENVIRONMENT)


def calm(step):
    if step == "releasing":
        cluster("stop", "worker-3")


def dies(tally, name, step, before):
    """Waits until worker-2 has died of it, and starts it again."""
    gone = wait_until(lambda: not alive("worker-2"), STRIKE_SECONDS_MAX)
    tally.check(f"{name}: the worker dies there, and of nothing else", gone and strikes(step, "kill") == before + 1,
                (gone, strikes(step, "kill"), log("worker-2")[-800:]))
    cluster("stop", "worker-2")
    cluster("start", "worker-2", **ENVIRONMENT)


def stands(tally, name, step, before):
    """Waits until worker-2 has stopped there and its partitions have moved, and lets it go on."""
    stopped = wait_until(lambda: state("worker-2") == "T", STRIKE_SECONDS_MAX)
    tally.check(f"{name}: the worker stops there", stopped and strikes(step, "stop") == before + 1,
                (stopped, log("worker-2")[-800:]))
    taken = log("worker-1").count("a partition is this worker's")
    moved = wait_until(lambda: log("worker-1").count("a partition is this worker's") > taken, MOVE_SECONDS_MAX)
    tally.check(f"{name}: the other worker has its partitions meanwhile", moved)
    time.sleep(2)
    cluster("resume", "worker-2")


def seen(load):
    """What clients saw, in a line."""
    report = load.report()
    verdict, delivery, ack = report["verdict"], report["delivery_ms"], report["ack_ms"]
    return (f"repeated {verdict['repeated']} of {verdict['delivered']}, resent {verdict['resent']}, by sync {verdict['synced']}, "
            f"holes {report['observed']['holes']}, reconnects {report['observed']['reconnects']}; longest wait for delivery "
            f"{delivery['max'] / 1000:.1f} s (p50 {delivery['p50']:.1f} ms), for persisted {ack['max'] / 1000:.1f} s")


def scene(tally, work, step, what):
    follow = stands if what == "stop" else dies
    name, before, warned = f"{step} {what}", strikes(step, what), log("worker-2").count(WARNING)
    flag = f"--failpoint {step}:{HITS[step]}{':stop' if what == 'stop' else ''}"
    restart("worker-2", CLUSTER_LOGIC_FLAGS=flag, **ENVIRONMENT)
    tally.equal(f"{name}: start-up says that it is set", log("worker-2").count(WARNING), warned + 1)
    replayed = replays(1)
    load = Load(work, name, *LOAD)
    time.sleep(3)
    provoke(step)
    follow(tally, name, step, before)
    calm(step)
    code, verified, out = load.end()
    if not tally.equal(f"{name}: the ledger is clean, and verify says so", (code, verified), (CLEAN, CLEAN)):
        print(f"ledger {load.ledger}\n{out}", flush=True)
    # What is not noted as done would come again when a partition next changes hands, however much later.
    done = wait_until(lambda: not any(lag().values()), LAG_SECONDS_MAX, 1)
    tally.check(f"{name}: and Kafka knows that all of it is done", done, lag())
    print(f"     {name}: {seen(load)}; replays {replays(1) - replayed + replays(2)}", flush=True)


def replays(worker):
    return int(worker_metric(worker, "ringway_worker_replays_total"))


def main():
    asked = sys.argv[1:]
    scenes = [(step, "kill") for step in HITS] + [(step, "stop") for step in STOPS]
    if asked:
        scenes = [(step, what) for step, what in scenes if (step if what == "kill" else f"{step}:stop") in asked]
    tally, work = Tally(), pathlib.Path(tempfile.mkdtemp(prefix="ringway-steps-"))
    print(cluster("up", "--gateways", "2", "--workers", "0"))
    try:
        print(cluster("start", "worker-1", "worker-2", **ENVIRONMENT))
        for step, what in scenes:
            scene(tally, work, step, what)
        tally.equal("nobody is left behind", cluster("status", check=False).count("not ready"), 0)
    finally:
        print(cluster("down", check=False))
    tally.end()


main()
