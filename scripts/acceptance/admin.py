"""The admin port: probes that say yes and, while draining, no; metrics that another's parser reads and a message moves."""
import asyncio, json, signal, urllib.error, urllib.request

from openapi_spec_validator import validate
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from common import Server, Tally, message, receive, sync_all, wait_until

SHARDS = 2


def get(server, path, port=None):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port or server.admin}{path}", timeout=5) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def scrape(server):
    """Every sample by its name and labels, and every family by its name."""
    status, kind, text = get(server, "/metrics")
    assert status == 200 and kind.startswith("application/openmetrics-text; version=1.0.0"), (status, kind)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = {}
    for family in families.values():
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in samples, f"{key} comes twice"
            samples[key] = sample.value
    return families, samples


def total(samples, name, **labels):
    found = [value for (n, l), value in samples.items() if n == name and set(labels.items()) <= set(l)]
    assert found, f"no sample of {name} {labels}"
    return sum(found)


async def probes(tally, server):
    tally.equal("/livez says ok", get(server, "/livez")[::2], (200, "ok\n"))
    tally.equal("/readyz says ok", get(server, "/readyz")[::2], (200, "ok\n"))
    status, _, text = get(server, "/readyz?verbose")
    parts = ["phase", *(f"shard-{n}" for n in range(SHARDS)), "persister", "distributor", "fanout", "query", "http", "store"]
    tally.equal("/readyz?verbose has a line per part", (status, sorted(text.splitlines())),
                (200, sorted([*(f"[+]{part} ok" for part in parts), "readyz check passed"])))
    tally.equal("another path is told what there is", get(server, "/")[0], 404)


async def metrics(tally, server):
    families, before = scrape(server)
    tally.check("names are ours, counters end in _total, units are the names' ends", all(
        name.startswith("ringway_") and family.documentation and (not family.unit or name.endswith("_" + family.unit))
        for name, family in families.items()), list(families))
    hops = ["upstream", "commit", "distribute", "downstream"]
    types = {hop: families[f"ringway_{hop}_latency_seconds"].type for hop in hops}
    tally.equal("every hop has a histogram", types, dict.fromkeys(hops, "histogram"))
    one, two = await server.connect(1), await server.connect(2)
    await one.send(message("m-1", "single_1_2", "hello"))
    await receive(one, "message-ack")
    await receive(two, "new-message")
    await sync_all(two, "single_1_2")
    await two.send(json.dumps({"type": "mark-read", "data": {"conversationId": "single_1_2", "seqId": 1}}))
    await receive(one, "read")
    await one.send("nonsense")
    await receive(one, "error")

    def moved():
        after = scrape(server)[1]
        return {name: total(after, name, **labels) - total(before, name, **labels) for name, labels in expected}

    by_name = lambda *names: [(f"ringway_{name}", {}) for name in names]
    expected = by_name(
        "sessions", "users", "accepted_total", "upgrades_total", "messages_received_total", "commands_refused_total",
        "worker_records_total", "worker_batches_total", "worker_persisted_total", "worker_queries_total",
        "worker_marks_moved_total", "worker_routes_added_total", "upstream_latency_seconds_count",
        "commit_latency_seconds_count", "distribute_latency_seconds_count")
    numbers = [2, 2, 2, 2, 4, 1, 1, 1, 1, 2, 1, 2, 1, 1, 1]
    wanted = {name: number for (name, _), number in zip(expected, numbers)}
    # A shard shows its levels once per turn of its loop.
    wait_until(lambda: moved() == wanted)
    tally.equal("one message, one sync, one mark and one mistake are counted", moved(), wanted)
    after = scrape(server)[1]
    difference = lambda name, **labels: total(after, name, **labels) - total(before, name, **labels)
    for name in ["received_bytes_total", "sent_bytes_total", "sends_total", "frames_queued_total",
                 "downstream_records_total", "downstream_entries_total", "worker_downstream_records_total"]:
        tally.check(f"{name} grew", difference(f"ringway_{name}") > 0)
    sessions_of = [shard["connections"] for shard in server.shards()]
    for shard, sessions in enumerate(sessions_of):
        tally.check(f"shard {shard} measured its downstream hop if and only if it has a session",
                    (difference("ringway_downstream_latency_seconds_count", shard=str(shard)) > 0) == (sessions > 0), sessions_of)
    records = difference("ringway_downstream_latency_seconds_count")
    tally.equal("each downstream record was measured", records, difference("ringway_downstream_records_total"))
    buckets = [(float(dict(labels)["le"]), value) for (name, labels), value in after.items()
               if name == "ringway_commit_latency_seconds_bucket"]
    values = [value for _, value in sorted(buckets)]
    tally.check("buckets grow with their bound, up to the count",
                values == sorted(values) and values[-1] == total(after, "ringway_commit_latency_seconds_count"), buckets)
    tally.equal("ringway_ready is 1", total(after, "ringway_ready"), 1)
    return one, two


async def drain(tally, server, sockets):
    """While a client that does not answer its close is waited for, the probes go on answering."""
    # A reader that has stopped keeps the drain going for the grace time.
    sockets[0].transport.pause_reading()
    closed = asyncio.create_task(sockets[1].wait_closed())
    seen, open_at_no = [], None
    server.process.send_signal(signal.SIGTERM)
    while server.process.poll() is None:
        try:
            ready = (await asyncio.to_thread(get, server, "/readyz"))[::2]
            if ready[0] == 503 and open_at_no is None:
                open_at_no = not closed.done()
            live = (await asyncio.to_thread(get, server, "/livez"))[0]
            metrics_ready = total((await asyncio.to_thread(scrape, server))[1], "ringway_ready")
        except OSError:
            break
        seen.append((ready, live, metrics_ready))
    code = await asyncio.to_thread(server.process.wait, 20)
    no = [entry for entry in seen if entry[0][0] == 503]
    tally.check("after SIGTERM /readyz says that it drains", no and all("[-]phase failed: draining" in ready[1] for ready, _, _ in no), seen)
    tally.check("it said so before sessions were closed", open_at_no is True, seen)
    tally.check("/livez says ok all the while", seen and all(live == 200 for _, live, _ in seen), seen)
    tally.check("ringway_ready is 0", no and no[-1][2] == 0, seen)
    tally.equal("exit code", code, 0)


async def main():
    tally = Tally()
    server = Server(None, "--shards", str(SHARDS)).start()
    try:
        await probes(tally, server)
        sockets = await metrics(tally, server)
        status, kind, text = get(server, "/api/openapi.json", server.http)
        tally.equal("the API describes itself", (status, kind), (200, "application/json"))
        try:
            validate(json.loads(text))
            fault = None
        except Exception as error:  # whatever it is, it is told
            fault = error
        tally.check("the description is valid OpenAPI", fault is None, fault)
        await drain(tally, server, sockets)
    finally:
        server.stop()
    tally.end()


asyncio.run(main())
