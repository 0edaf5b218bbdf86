"""The progress of `ringway load`, and of a judgement: lines redrawn on a terminal, which is left as it was; plain lines and
silence elsewhere."""
import fcntl, os, pathlib, pty, re, select, signal, subprocess, termios, time

from common import BINARY, Server, Tally

CLEAN, USAGE, UNAVAILABLE = 0, 64, 69
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")


def command(server, work, *args, port=None, rate=100):
    return [BINARY, "load", "quick", "--target", f"ws://127.0.0.1:{port or server.port}/ws", "--data", server.data,
            "--ledger", str(work / "run.ledger"), "-c", "10", "-R", str(rate), *args]


class Terminal:
    """A program whose stderr is a terminal of its own, and what came out of it."""

    def __init__(self, argv, **environment):
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 100))
        self.slave, self.before, self.out = slave, termios.tcgetattr(slave), b""
        env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "CLICOLOR_FORCE")}
        # Ctrl-C goes to the foreground of the terminal that a session has.
        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env | {"TERM": "xterm-256color"} | environment,
                                        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))

    def read(self, until=None, seconds=60):
        """Reads until that is there, or until the program ends."""
        end = time.time() + seconds
        while time.time() < end and not (until and until in self.out):
            if select.select([self.master], [], [], 0.2)[0]:
                self.out += os.read(self.master, 65536)
            elif self.process.poll() is not None:
                break
        return self.out

    def press(self, keys):
        os.write(self.master, keys)

    def end(self, seconds=60):
        self.read(seconds=seconds)
        self.process.wait(10)
        return self.process.returncode

    def same_settings(self):
        return termios.tcgetattr(self.slave) == self.before


def shown(out):
    """The lines that a terminal shows in the end, for the few sequences that move its cursor."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", out.decode(errors="replace")):
        count = int(re.sub(r"\D", "", part) or 1) if part.startswith("\x1b") else 0
        if part == "\n":
            row += 1
        elif part == "\r":
            column = 0
        elif part.endswith("A") and count:
            row = max(row - count, 0)
        elif part.endswith("B") and count:
            row += count
        elif part.endswith("K") and count:
            lines[row] = "" if "2K" in part else lines[row][:column]
        elif not part.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part):]
            column += len(part)
        while row >= len(lines):
            lines.append("")
    return lines


def redrawn(tally, server, work):
    terminal = Terminal(command(server, work, "-d", "4s"))
    code = terminal.end()
    out = terminal.out
    tally.equal("on a terminal: exit 0", code, CLEAN)
    tally.check("lines are redrawn in place", len(re.findall(rb"\x1b\[\d+A", out)) >= 2 and b"\x1b[2K" in out, out[:2000])
    text = COLOUR.sub(b"", out).decode(errors="replace")
    for word in ("hold 1/1", "/s sent", "in flight", "p50", "p99", "errors 0", "lag", "s left of the phase", "of the sending"):
        tally.check(f"they have {word!r}", word in text, text[:2000])
    left = [int(n) for n in re.findall(r"(\d+) s of the sending", text)]
    tally.check("the time left goes down", len(left) >= 3 and left[0] > left[-1], left)
    tally.check("with colours", bool(COLOUR.search(out)), out[:500])
    final = shown(out)
    tally.check("at the end they are wiped, and the summary stands there", not any("left of the phase" in line for line in final) and
                any("verdict: CLEAN" in line for line in final), final)
    restored(tally, "at the end", terminal)


def restored(tally, when, terminal):
    hidden, visible = terminal.out.count(b"\x1b[?25l"), terminal.out.count(b"\x1b[?25h")
    tally.check(f"{when} the terminal has its settings, its cursor and its screen", terminal.same_settings() and
                hidden <= visible and b"\x1b[?1049h" not in terminal.out, (hidden, visible))


def without_colour(tally, server, work):
    terminal = Terminal(command(server, work, "-d", "2s"), NO_COLOR="1")
    terminal.end()
    tally.check("NO_COLOR: redrawn, and without colours", b"\x1b[2K" in terminal.out and not COLOUR.search(terminal.out), terminal.out[:2000])
    terminal = Terminal(command(server, work, "-d", "2s"), TERM="dumb")
    terminal.end()
    tally.check("a terminal that can't move its cursor gets plain lines", b"\x1b" not in terminal.out and
                b"persisted/s" in terminal.out and terminal.out.count(b"in flight") >= 2, terminal.out[:2000])


def interrupted(tally, server, work):
    terminal = Terminal(command(server, work, "-d", "60s"))
    terminal.read(b"hold 1/1")
    terminal.press(b"\x03")
    code = terminal.end(seconds=40)
    final = shown(terminal.out)
    tally.check("Ctrl-C: the lines are wiped, the summary says INCOMPLETE", code == CLEAN and any("INCOMPLETE" in line for line in final) and
                not any("in flight" in line for line in final), (code, final))
    restored(tally, "after Ctrl-C", terminal)
    terminal = Terminal(command(server, work, "-d", "60s"))
    terminal.read(b"hold 1/1")
    server.process.send_signal(signal.SIGSTOP)
    terminal.press(b"\x03")
    terminal.read(b"settling")
    terminal.press(b"\x03")
    terminal.end(seconds=40)
    server.process.send_signal(signal.SIGCONT)
    final = shown(terminal.out)
    tally.check("a second Ctrl-C before a server that stands still: it ends at once, with a summary", any("verdict" in line for line in final) and
                not any("left of the phase" in line for line in final), final)
    restored(tally, "after the second", terminal)


def refused(tally, server, work):
    terminal = Terminal(command(server, work, "-d", "5s", port=1))
    code = terminal.end()
    final = shown(terminal.out)
    tally.check("a server that is not there: exit 69, and only the error stands there", code == UNAVAILABLE and
                any("refused" in line for line in final) and not any("online" in line for line in final), (code, final))
    restored(tally, "after an error", terminal)


def elsewhere(tally, server, work):
    err = lambda *args: subprocess.run(command(server, work, "-d", "2s", *args), capture_output=True, text=True, timeout=60)
    plain = err().stderr
    tally.check("without a terminal: a line a second, and no sequences", "\x1b" not in plain and plain.count("in flight") >= 2 and
                "\r" not in plain, plain)
    for args in (("--quiet",), ("-q",), ("--progress", "none")):
        done = err(*args)
        tally.check(f"{' '.join(args)}: nothing on stderr, the summary on stdout", done.stderr == "" and "verdict: CLEAN" in done.stdout, done.stderr)
    terminal = Terminal(command(server, work, "-d", "2s", "--progress", "plain"))
    terminal.end()
    tally.check("--progress plain on a terminal: plain lines", b"\x1b" not in terminal.out and terminal.out.count(b"in flight") >= 2, terminal.out)
    done = err("--progress", "fancy")
    tally.check("another --progress: exit 64, with those there are", done.returncode == USAGE and "plain" in done.stderr, done.stderr)


def slowed(*command):
    """A judgement that takes longer than 2 s, because until it is shown the judge may only work for 10 ms in each 600."""
    terminal = Terminal([BINARY, "load", "verify", *command])
    while terminal.process.poll() is None and b"judging" not in terminal.out:
        terminal.process.send_signal(signal.SIGSTOP)
        terminal.read(b"judging", seconds=0.6)
        terminal.process.send_signal(signal.SIGCONT)
        time.sleep(0.01)
    return terminal.end(), terminal, COLOUR.sub(b"", terminal.out).decode(errors="replace")


def judged(tally, server, work):
    ledger = work / "run.ledger"
    subprocess.run(command(server, work, "-d", "6s", "-q", rate=1000), stdout=subprocess.DEVNULL, timeout=120)
    records = len(ledger.read_text().splitlines()) - 1
    code, _, text = slowed(ledger, "--progress", "plain")
    found = re.findall(r"^judging: [\d,]+ of ([\d,]+) (records|messages)\r?$", text, re.M)
    tally.check("a judgement of more than 2 s: a line says how far it is, and of how many records", found and "\x1b" not in text and
                all(count == f"{records:,}" for count, what in found if what == "records"), (text, records))
    tally.check("and the summary follows", code == CLEAN and "verdict: CLEAN" in text, text)
    code, terminal, text = slowed(ledger)
    final = shown(terminal.out)
    tally.check("on a terminal: a bar", re.search(r"judging .*\d+%", text) and re.search(r"[\d,]+ of [\d,]+ (records|messages)", text), text)
    tally.check("that is wiped at the end, before the summary", code == CLEAN and not any("judging" in line for line in final) and
                any("verdict: CLEAN" in line for line in final), final)
    restored(tally, "after the judgement", terminal)
    soon = subprocess.run([BINARY, "load", "verify", ledger], capture_output=True, text=True, timeout=60)
    tally.check("a judgement that is soon over: nothing on stderr", soon.returncode == CLEAN and soon.stderr == "", soon.stderr)


def main():
    tally = Tally()
    with Server(None, "--shards", "1") as server:
        work = pathlib.Path(server.data) / "load"
        work.mkdir()
        redrawn(tally, server, work)
        without_colour(tally, server, work)
        refused(tally, server, work)
        elsewhere(tally, server, work)
        interrupted(tally, server, work)
        judged(tally, server, work)
    tally.end()


main()
