"""The servers that are measured: where each comes from, how it starts on core 0, how it is spoken to."""
import contextlib, os, pathlib, re, shutil, signal, socket, subprocess, tempfile, time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KEPT = ROOT / ".cache/peers"
BUN_VERSION, NATS_VERSION = "1.4.5", "v2.15.2"
SERVER_CORE, START_S, INSTALL_S = "0", 10, 900


class Missing(Exception):
    """A server that can't be had here, and why."""


def sh(*command, **more):
    """Runs an installer; what it says is the reason if it fails."""
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=INSTALL_S, **more)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise Missing(f"{' '.join(map(str, command))}: {(done.stderr or done.stdout).strip()[-300:]}")
    return (done.stdout + done.stderr).strip()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """One server: `protocols` says what the tool speaks to it, and at which path, for each shape."""
    name, protocols = "", {}

    def __init__(self):
        self.process = self.folder = None
        self.version = self.install()

    def install(self):
        """Makes the program available and returns its version, or raises Missing."""
        raise NotImplementedError

    def command(self, shape):
        raise NotImplementedError

    def load_arguments(self, shape):
        protocol, path = self.protocols[shape]
        return ["--protocol", protocol, "--target", f"ws://127.0.0.1:{self.port}{path}"]

    @contextlib.contextmanager
    def running(self, shape):
        """The server on its core, until the block is left, by Ctrl-C too."""
        self.port = free_port()
        with tempfile.TemporaryDirectory(prefix="peers-") as folder:
            self.folder = pathlib.Path(folder)
            log = open(self.folder / "log", "w")
            command = ["taskset", "-c", SERVER_CORE, *map(str, self.command(shape))]
            # In a session of its own: Ctrl-C is for the script, which then ends the server.
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            try:
                self.wait()
                yield self
            finally:
                self.stop()
                log.close()

    def wait(self):
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return time.sleep(0.3)
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} did not start: {(self.folder / 'log').read_text()[-1000:]}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)


class Bun(Server):
    name = "Bun"
    protocols = {"echo": ("raw-echo", "/echo"), "relay": ("raw-relay", "/relay/{room}"), "room": ("raw-room", "/room/{room}")}

    def install(self):
        folder = KEPT / "bun"
        self.program = folder / "node_modules/@oven/bun-linux-x64-baseline/bin/bun"
        if not self.program.exists():
            folder.mkdir(parents=True, exist_ok=True)
            sh("npm", "install", "--prefix", folder, "--no-fund", "--no-audit", f"@oven/bun-linux-x64-baseline@{BUN_VERSION}")
        return "Bun " + sh(self.program, "--version")

    def command(self, shape):
        return [self.program, HERE / "bun.js", self.port]


class Nats(Server):
    name = "nats-server"
    protocols = {"relay": ("nats-relay", "/"), "room": ("nats-room", "/")}

    def install(self):
        folder = KEPT / "nats"
        self.program = folder / "nats-server"
        if not self.program.exists():
            folder.mkdir(parents=True, exist_ok=True)
            sh("go", "install", f"github.com/nats-io/nats-server/v2@{NATS_VERSION}", env={**os.environ, "GOBIN": str(folder)})
        return sh(self.program, "--version").replace(": v", " ")

    def command(self, shape):
        config = self.folder / "nats.conf"
        config.write_text(f'listen: "127.0.0.1:{free_port()}"\nmax_connections: 65536\n'
                          f'websocket {{ listen: "127.0.0.1:{self.port}", no_tls: true }}\n')
        return [self.program, "-c", config]


class Nchan(Server):
    name = "nginx with nchan"
    # A channel for each way of a pair, so that nobody is sent what is its own.
    protocols = {"relay": ("raw-relay", "/relay/{user}/{peer}"), "room": ("raw-room", "/room/{room}")}

    def install(self):
        folder = KEPT / "nginx"
        self.program, self.module = folder / "usr/sbin/nginx", folder / "usr/lib/nginx/modules/ngx_nchan_module.so"
        if not (self.program.exists() and self.module.exists()):
            folder.mkdir(parents=True, exist_ok=True)
            # Unpacked, not installed: nothing starts, and no rights are needed.
            sh("apt-get", "download", "nginx", "libnginx-mod-nchan", cwd=folder)
            for package in folder.glob("*.deb"):
                sh("dpkg", "-x", package, folder)
        try:
            # With nchan nginx makes folders there, whatever its configuration says.
            pathlib.Path("/var/lib/nginx").mkdir(exist_ok=True)
        except OSError as error:
            raise Missing(f"nginx with nchan needs a folder /var/lib/nginx, as its package makes it: {error}") from error
        nchan = next((re.search(r"nchan_(?:1%3a)?([^_+]+)", p.name).group(1) for p in folder.glob("libnginx-mod-nchan_*")), "?")
        return sh(self.program, "-v").replace("nginx version: ", "") + f" with nchan {nchan}"

    def command(self, shape):
        config = self.folder / "nginx.conf"
        channel = "nchan_pubsub websocket; nchan_message_buffer_length 0; nchan_subscriber_first_message newest;"
        temporary = " ".join(f"{kind}_temp_path {self.folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config.write_text(f"""load_module {self.module};
daemon off; master_process off; pid {self.folder}/pid; error_log {self.folder}/error.log;
worker_rlimit_nofile 65536;
events {{ worker_connections 32768; }}
http {{
  access_log off; {temporary} nchan_shared_memory_size 512m;
  server {{
    listen 127.0.0.1:{self.port} backlog=4096;
    location ~ ^/relay/([0-9]+)/([0-9]+)$ {{ {channel} nchan_subscriber_channel_id u$1; nchan_publisher_channel_id u$2; }}
    location ~ ^/room/([0-9]+)$ {{ {channel} nchan_channel_id r$1; }}
  }}
}}
""")
        return [self.program, "-p", self.folder, "-c", config]


class Ringway(Server):
    """The release build of this tree."""

    def built(self, variable, path):
        program = pathlib.Path(os.environ.get(variable, ROOT / "target/release" / path))
        if not program.exists():
            raise Missing(f"{program} is not there: cargo build --release --bin ringway --example echo")
        return program

    def install(self):
        self.program = self.built("RINGWAY", "ringway")
        commit = sh("git", "-C", ROOT, "rev-parse", "--short=10", "HEAD") if shutil.which("git") else "?"
        return sh(self.program, "--version") + f" ({commit})"


class Engine(Ringway):
    name = "Ringway, loop-back road"
    protocols = {"echo": ("raw-echo", "/ws?user={user}"), "relay": ("loopback-relay", "/ws?user={user}"),
                 "room": ("loopback-room", "/ws?user={user}")}

    def install(self):
        version = super().install()
        self.program = self.built("ENGINE_ECHO", "examples/echo")
        return version

    def command(self, shape):
        relay = [] if shape == "echo" else ["--relay", "1000"]
        return [self.program, "--listen", f"127.0.0.1:{self.port}", "--core", SERVER_CORE, *relay]


class Dev(Ringway):
    name = "`ringway dev` (SQLite)"
    protocols = {"relay": ("loopback-relay", "/ws")}

    def command(self, shape):
        config = self.folder / "unlimited.toml"
        config.write_text("[limits]\ncommands_per_second = 0\nworld_user_per_second = 0\nworld_per_second = 0\n")
        return [self.program, "dev", "--config", config, "--data", self.folder, "--listen", f"127.0.0.1:{self.port}",
                "--http", f"127.0.0.1:{free_port()}", "--admin", f"127.0.0.1:{free_port()}", "--shards", "1"]

    def load_arguments(self, shape):
        return [*super().load_arguments(shape), "--data", self.folder]


SERVERS = [Bun, Engine, Dev, Nats, Nchan]
