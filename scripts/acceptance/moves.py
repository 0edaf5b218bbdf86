"""10,000 sockets move to another shard with bytes in flight: every answer is there, in order, byte for byte."""
import json, multiprocessing, os

from common import Server, Tally
import raw

MOVES, PROCESSES, PINGS = 10_000, 2, 12


def pings(user, n):
    """A ping whose trace id comes back: what is lost, doubled or crossed shows."""
    return [f"{user}.{n}.{i}." + os.urandom(12).hex() for i in range(PINGS)]


def once(port, token, user, n):
    traces = pings(user, n)
    frames = [raw.frame(json.dumps({"type": "ping", "trace_id": trace})) for trace in traces]
    s = raw.connect(port, 20)
    reader = raw.Reader(s)
    # Some bytes before the request is read, some while the socket moves, some after.
    s.sendall(raw.request(token) + b"".join(frames[:4]) + frames[4][:5])
    s.sendall(frames[4][5:] + b"".join(frames[5:8]))
    head = reader.head()
    s.sendall(b"".join(frames[8:]))
    answers = [reader.event("pong")["trace_id"] for _ in traces]
    s.close()
    return "101" in head and answers == traces


def work(port, tokens, share, pipe):
    bad = []
    for n in range(share):
        user, token = tokens[n % len(tokens)]
        try:
            if not once(port, token, user, n):
                bad.append((user, n))
        except (OSError, EOFError) as error:
            bad.append((user, n, repr(error)))
    pipe.send(bad)


if __name__ == "__main__":
    tally = Tally()
    with Server(None, "--shards", "2") as server:
        tokens = list(server.tokens(1, 2000).items())
        done, bad = 0, []
        while server.total("passed") < MOVES and done < 4 * MOVES and not bad:
            share, jobs = 2500, []
            for n in range(PROCESSES):
                ours, theirs = multiprocessing.Pipe()
                job = multiprocessing.Process(target=work, args=(server.port, tokens[n::PROCESSES], share, theirs))
                job.start()
                jobs.append((job, ours))
            for job, pipe in jobs:
                bad += pipe.recv()
                job.join(30)
            done += share * PROCESSES
            print(f"     {done} connections, {server.total('passed')} moved", flush=True)
        tally.check(f"at least {MOVES} sockets moved", server.total("passed") >= MOVES, server.total("passed"))
        tally.equal("every one that was passed arrived", server.total("arrived"), server.total("passed"))
        tally.equal("every connection was byte-exact and in order", bad, [])
    tally.end()
