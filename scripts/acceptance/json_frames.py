"""The public JSON corpus as frames: no invalid case is taken, no valid one is refused as JSON."""
import json, pathlib

from common import ROOT, Server, Tally
import raw

CORPUS = ROOT / ".cache/json-corpus"
NOT_JSON = "not valid JSON"


def client(server, user):
    s = raw.connect(server.port)
    s.sendall(raw.request(server.token(user)))
    reader = raw.Reader(s)
    reader.head()
    reader.event("connected")
    return s, reader


def ask(server, user, payload):
    """How the server answers: an error event, an ack, or a close."""
    s, reader = client(server, user)
    try:
        s.sendall(raw.frame(payload))
        event = reader.event()
        return event["data"].get("message") or event["type"]
    except EOFError as end:
        return str(end)
    finally:
        s.close()


def embedded(case):
    """A good message with the case as the value of a field that nobody knows."""
    return (b'{"type":"send-message","data":{"tempMessageId":"c","conversationId":"single_1_2","content":"x",'
            b'"messageType":"text"},"unknown":' + case + b"}")


def is_json(text):
    """What Python's parser says, without its additions to JSON."""

    def refuse(constant):
        raise ValueError(constant)

    try:
        json.loads(text.decode(), parse_constant=refuse)
        return True
    except (ValueError, RecursionError):
        return False


def is_refused(answer):
    # Two cases are larger than a message may be: they never get as far as the parser.
    return NOT_JSON in answer or "deep" in answer or answer.startswith(("closed 1007", "closed 1009"))


tally = Tally()
with Server(None, "--shards", "1") as server:
    cases = sorted(p for p in CORPUS.glob("*.json"))
    tally.equal("the corpus is whole (scripts/tools makes it)", len(cases), 318)
    taken, refused, raw_taken = [], [], []
    for path in cases:
        case, name = path.read_bytes(), path.stem
        answer, inside = ask(server, 1, case), ask(server, 1, embedded(case))
        if name.startswith("y_") and (NOT_JSON in answer + inside or "closed" in answer + inside):
            refused.append((name, answer, inside))
        if name.startswith("n_") and not is_refused(answer):
            raw_taken.append((name, answer))
        # Some invalid cases are valid within other text, such as one that lacks a bracket.
        if name.startswith("n_") and not is_json(embedded(case)) and not is_refused(inside):
            taken.append((name, inside))
    tally.equal("no valid case is refused as JSON", refused, [])
    tally.equal("every invalid case is refused as JSON", raw_taken, [])
    tally.equal("no message with an invalid case in it is taken", taken, [])
tally.end()
