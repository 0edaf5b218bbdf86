"""Bytes come one at a time, or all at once and before the 101: nothing is lost and nothing out of order."""
from common import Server, Tally, message
import raw

ONE_BY_ONE, AT_ONCE, MESSAGES = 6, 12, 200


def acks(reader, count):
    found = []
    while len(found) < count:
        found.append(reader.event("message-ack")["data"])
    return found


def one_by_one(server, tally, user):
    s = raw.connect(server.port)
    reader = raw.Reader(s)
    conversation = f"single_{user}_1000"
    for byte in raw.request(server.token(user)):
        s.send(bytes([byte]))
    tally.check(f"user {user}: an upgrade request byte by byte", "101" in reader.head())
    for n in range(5):
        for byte in raw.frame(message(f"b{n}", conversation, f"byte by byte {n} ü")):
            s.send(bytes([byte]))
    got = acks(reader, 5)
    tally.equal(f"user {user}: messages byte by byte", [(a["tempMessageId"], a["seqId"]) for a in got],
                [(f"b{n}", n + 1) for n in range(5)])
    s.close()


def at_once(server, tally, user):
    s = raw.connect(server.port)
    reader = raw.Reader(s)
    conversation = f"single_{user}_1000"
    frames = b"".join(raw.frame(message(f"m{n}", conversation, f"all at once {n}")) for n in range(MESSAGES))
    s.sendall(raw.request(server.token(user)) + frames)
    # More follows while the socket may be on its way to its owner.
    s.sendall(b"".join(raw.frame(message(f"n{n}", conversation, f"right behind {n}")) for n in range(MESSAGES)))
    head = reader.head()
    got = acks(reader, 2 * MESSAGES)
    expected = [f"m{n}" for n in range(MESSAGES)] + [f"n{n}" for n in range(MESSAGES)]
    good = "101" in head and [a["tempMessageId"] for a in got] == expected and [a["seqId"] for a in got] == list(range(1, 2 * MESSAGES + 1))
    tally.check(f"user {user}: 200 messages in one packet with the request, and 200 right behind, in order", good)
    s.close()


tally = Tally()
with Server(None, "--shards", "2") as server:
    server.tokens(1, 100)
    for user in range(1, 1 + ONE_BY_ONE):
        one_by_one(server, tally, user)
    for user in range(20, 20 + AT_ONCE):
        at_once(server, tally, user)
    passed, shards = server.total("passed"), server.shards()
    tally.check("some sockets moved to another shard, some did not", 0 < passed < ONE_BY_ONE + AT_ONCE, passed)
    tally.equal("each that was passed arrived", server.total("arrived"), passed)
    tally.equal("both shards took messages", [s["messages_in"] > 0 for s in shards], [True, True])
tally.end()
