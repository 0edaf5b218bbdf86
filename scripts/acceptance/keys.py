"""RS256, EdDSA and HS256 keys by kid, beside the development key; SIGHUP swaps them, or keeps the old ones if it can't."""
import asyncio, os, secrets, signal, tempfile, time

import jwt, websockets
from common import ROOT, Server, Tally, message, receive, wait_until

PEM = ROOT / "protocol/tests/keys"
RSA, ED = (PEM / "rsa.pem").read_text(), (PEM / "ed25519.pem").read_text()
OLD, NEW, SHARED = secrets.token_hex(32), secrets.token_hex(32), secrets.token_hex(32)


def token(user, key, kind, kid=None, seconds=600):
    claims = {"sub": str(user), "exp": int(time.time()) + seconds}
    return jwt.encode(claims, key, kind, headers={"kid": kid} if kid else None)


class Keyed(Server):
    """A server with keys of its own, of which `in-turn` is the one that is swapped."""

    def __init__(self):
        data = tempfile.mkdtemp(prefix="ringway-")
        self.config = os.path.join(data, "ringway.toml")
        self.secret = os.path.join(data, "in-turn.key")
        self.write_secret(OLD)
        self.write_config()
        super().__init__(data, "--shards", "2", "--config", self.config)

    def write_secret(self, secret, mode=0o600):
        with open(self.secret, "w") as file:
            file.write(secret + "\n")
        os.chmod(self.secret, mode)

    def write_config(self, more=""):
        with open(self.config, "w") as file:
            file.write(f"""[auth]
keys = [
  {{ kind = "RS256", kid = "rsa", file = "{PEM}/rsa.pub.pem" }},
  {{ kind = "EdDSA", kid = "ed", file = "{PEM}/ed25519.pub.pem" }},
  {{ kind = "HS256", kid = "in-turn", file = "{self.secret}" }},
  {{ kind = "HS256", env = "RINGWAY_SHARED_SECRET" }},
]
{more}""")

    def said(self):
        return open(self.log.name).read()

    def hang_up(self, expected):
        """SIGHUP; whether the log then says that, once more than before."""
        before = self.said().count(expected)
        self.process.send_signal(signal.SIGHUP)
        return wait_until(lambda: self.said().count(expected) == before + 1)


async def enter(server, user, token):
    """Opens a session; the status of the refusal if there is one."""
    url = f"ws://127.0.0.1:{server.port}/ws"
    try:
        ws = await websockets.connect(url, additional_headers={"Authorization": f"Bearer {token}"}, compression=None)
    except websockets.InvalidStatus as refused:
        return refused.response.status_code
    first = await receive(ws, "connected")
    assert first["data"]["userId"] == str(user), first
    return ws


async def status(server, user, token):
    answer = await enter(server, user, token)
    if isinstance(answer, int):
        return answer
    await answer.close()
    return 101


def api_status(server, token):
    server.cached[1] = token
    status, _ = server.api("GET", "/api/conversations")
    del server.cached[1]
    return status


async def until(server, user, token, expected):
    """Shards take a new policy in turn: each of them has it soon."""
    for _ in range(100):
        if all([await status(server, n, token(n)) == expected for n in range(user, user + 8)]):
            return True
        await asyncio.sleep(0.05)
    return False


async def talk(ws, name):
    await ws.send(message(name, "single_7_8", "still here"))
    return (await receive(ws, "message-ack"))["data"]["status"] == "persisted"


async def by_kid(server, tally):
    for name, good in {
        "RS256 by its kid": token(1, RSA, "RS256", "rsa"),
        "RS256 without a kid": token(1, RSA, "RS256"),
        "EdDSA by its kid": token(1, ED, "EdDSA", "ed"),
        "HS256 from a file": token(1, OLD, "HS256", "in-turn"),
        "HS256 from a variable": token(1, SHARED, "HS256"),
        "the development key": server.token(1),
    }.items():
        tally.equal(f"{name}: taken by the socket", await status(server, 1, good), 101)
        tally.equal(f"{name}: taken by the API", api_status(server, good), 200)
    for name, bad in {
        "a kid that is another key's": token(1, RSA, "RS256", "ed"),
        "a kid that nobody has": token(1, ED, "EdDSA", "gone"),
        "a secret that nobody has": token(1, NEW, "HS256", "in-turn"),
        "a token past its time": token(1, RSA, "RS256", "rsa", seconds=-5),
        "an algorithm that is not listed": token(1, OLD + OLD, "HS512", "in-turn"),
    }.items():
        tally.equal(f"{name}: 401 from the socket", await status(server, 1, bad), 401)
        tally.equal(f"{name}: 401 from the API", api_status(server, bad), 401)


async def swap(server, tally):
    old, new = (lambda user: token(user, OLD, "HS256", "in-turn")), (lambda user: token(user, NEW, "HS256", "in-turn"))
    session = await enter(server, 7, old(7))
    server.write_secret(NEW)
    tally.equal("before SIGHUP the new key is not taken", await status(server, 9, new(9)), 401)
    tally.check("SIGHUP: the log names the kids", server.hang_up('keys=4 kids="rsa, ed, in-turn, (none)"'), server.said()[-600:])
    tally.check("after SIGHUP the new key is taken on every shard", await until(server, 10, new, 101))
    tally.check("and the old one is refused with 401", await until(server, 10, old, 401))
    tally.equal("the API refuses the old one", api_status(server, old(1)), 401)
    tally.equal("the API takes the new one", api_status(server, new(1)), 200)
    tally.check("the session that the old key opened lives on", await talk(session, "after-swap"))
    tally.equal("the development key is taken as before", await status(server, 1, server.token(1)), 101)
    return session, new


async def broken(server, tally, session, new):
    stays = "the keys of tokens stay as they were"

    def keeps(name, reason):
        tally.check(f"{name}: SIGHUP keeps the old keys and says why", server.hang_up(stays) and reason in server.said(), server.said()[-600:])

    server.write_secret("too short")
    keeps("a secret that is too short", "at least 32 bytes")
    server.write_secret(NEW, mode=0o644)
    keeps("a secret that others can read", "chmod 600")
    os.remove(server.secret)
    keeps("a file that is gone", "cannot read the file")
    server.write_config("[limits]\nheadroom = 0\n")
    keeps("a configuration that is wrong", "limits.headroom: expected")
    tally.check("what was valid is taken all the same", await until(server, 20, new, 101))

    server.write_secret(NEW)
    server.write_config("[limits]\nheadroom = 7\n")
    tally.check("a change of other settings is told to need a restart", server.hang_up("they need a restart") and
                'settings="limits.headroom"' in server.said(), server.said()[-600:])
    tally.check("the session is still there", await talk(session, "after-all"))
    secret = next((s for s in (OLD, NEW, SHARED, "too short") if s in server.said()), None)
    tally.equal("no secret is in the log", secret, None)


async def main():
    tally = Tally()
    os.environ["RINGWAY_SHARED_SECRET"] = SHARED
    with Keyed() as server:
        await by_kid(server, tally)
        session, new = await swap(server, tally)
        await broken(server, tally, session, new)
        tally.equal("SIGTERM ends it", server.kill(signal.SIGTERM), 0)
    tally.end()


asyncio.run(main())
