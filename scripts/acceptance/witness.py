"""A passive witness of a run: the packets of a server's port on the loopback interface, each with the kernel's time,
put together to streams, frames and messages. It takes no part in the run and shares no code with either side of it."""
import array, bisect, contextlib, ctypes, json, math, socket, struct, threading, time

# linux/if_ether.h, linux/if_packet.h, asm-generic/socket.h: Python has no names for them.
ETH_P_IP = 0x0800
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_ATTACH_FILTER, SO_RCVBUFFORCE, SO_TIMESTAMPNS = 26, 33, 35
# What the kernel keeps between two looks; half a million small packets.
BUFFER_BYTES = 256 << 20
# How often it is looked at: seldom, so that the witness takes no processor time from who is measured.
LOOK_S = 0.05
# Larger than any packet of the loopback interface (64 KiB with segmentation offload).
PACKET_BYTES_MAX = 1 << 17
PACKETS_MAX = 2_000_000
SYN, TEXT = 0x02, 0x1


class Untold(Exception):
    """The witness has not seen everything, or not understood it: it says nothing then."""


def port_filter(port):
    """Classic BPF for TCP over IPv4 from or to a port, unfragmented; offsets from the IP header on."""
    code = [(0x30, 0, 0, 9), (0x15, 0, 8, socket.IPPROTO_TCP),  # ldb [9]: the protocol
            (0x28, 0, 0, 6), (0x45, 6, 0, 0x1fff),              # ldh [6]: a later fragment
            (0xb1, 0, 0, 0),                                    # ldxb 4*([0]&0xf): where TCP begins
            (0x48, 0, 0, 0), (0x15, 2, 0, port),                # ldh [x+0]: from that port
            (0x48, 0, 0, 2), (0x15, 0, 1, port),                # ldh [x+2]: to that port
            (0x06, 0, 0, PACKET_BYTES_MAX), (0x06, 0, 0, 0)]    # all of it, or nothing
    return b"".join(struct.pack("HBBI", *step) for step in code), len(code)


def stamp(told):
    """The kernel's time of what was read, ns of CLOCK_REALTIME."""
    seconds, ns = struct.unpack("ll", next(data for _, kind, data in told if kind == SO_TIMESTAMPNS))
    return seconds * 1_000_000_000 + ns


class Pings:
    """What any client takes beside the wire on this machine, at this time: from before it sends until that is on the wire,
    and from the wire until a reader that waited has been woken. Datagrams, to a reader of the witness's own."""

    def __init__(self):
        self.out_ms, self.back_ms = [], []
        self.reader, self.writer = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self.reader.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.reader.bind(("127.0.0.1", 0))
        self.writer.connect(self.reader.getsockname())
        self.thread = threading.Thread(target=self.read)

    def start(self):
        self.thread.start()

    def send(self):
        self.writer.send(struct.pack("q", time.time_ns()))

    def read(self):
        while True:
            data, told, _, _ = self.reader.recvmsg(8, 64)
            now = time.time_ns()
            if not data:
                return
            wire = stamp(told)
            self.out_ms.append((wire - struct.unpack("q", data)[0]) / 1e6)
            self.back_ms.append((now - wire) / 1e6)

    def end(self):
        self.writer.send(b"")
        self.thread.join()
        self.reader.close()
        self.writer.close()
        self.out_ms.sort()
        self.back_ms.sort()


class Packets:
    """Keeps the packets of a port while the block runs: (time in ns of CLOCK_REALTIME, bytes from the IP header on)."""

    def __init__(self, port):
        self.port, self.kept, self.fault, self.over = port, [], None, threading.Event()
        self.pings = Pings()

    def __enter__(self):
        try:
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        except PermissionError as error:
            raise Untold("the witness reads packets: expected root or CAP_NET_RAW") from error
        code, steps = port_filter(self.port)
        held = ctypes.create_string_buffer(code)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", steps, ctypes.addressof(held)))
        with contextlib.suppress(PermissionError):
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        # A socket bound to a protocol is shown what comes in only, so each packet of `lo` once. Its time is that of
        # the sender's hand-over: loopback hands a packet on at once.
        self.socket.bind(("lo", ETH_P_IP))
        self.socket.setblocking(False)
        self.pings.start()
        self.thread = threading.Thread(target=self.keep)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.pings.end()
        self.socket.close()

    def keep(self):
        try:
            while not self.over.wait(LOOK_S):
                self.drain()
                # Last: while this thread works, Python lets the reader wait.
                self.pings.send()
            # The dropped are among the seen.
            self.seen, self.dropped = struct.unpack("II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
            self.drain()
        except Exception as error:
            self.fault = error

    def drain(self):
        while len(self.kept) < PACKETS_MAX:
            try:
                data, told, flags, _ = self.socket.recvmsg(PACKET_BYTES_MAX, 64)
            except BlockingIOError:
                return
            if flags & socket.MSG_TRUNC:
                raise Untold(f"a packet of more than {PACKET_BYTES_MAX} bytes")
            self.kept.append((stamp(told), data))
        raise Untold(f"more than {PACKETS_MAX} packets")

    def all(self):
        """The packets, if that is all of them."""
        if self.fault:
            raise Untold(f"the witness stopped: {self.fault!r}")
        if self.dropped or len(self.kept) < self.seen:
            raise Untold(f"the kernel has dropped {self.dropped} of {self.seen} packets, {len(self.kept)} were kept")
        return self.kept


class Stream:
    """One direction of a connection: its bytes in order, and where each piece ends with the time that it was there."""

    def __init__(self):
        self.next, self.early, self.data = None, {}, bytearray()
        self.ends, self.times = array.array("q"), array.array("q")

    def take(self, ns, seq, payload, syn=False):
        if syn:
            self.next = (seq + 1) % 2**32
        if not payload:
            return
        if self.next is None:
            raise Untold("a stream whose beginning was not seen")
        self.early[seq] = max(self.early.get(seq, b""), payload, key=len)
        # What was seen early counts from when the gap before it closed: until then nobody could read it.
        while (at := next((s for s in self.early if self.ahead(s) <= 0), None)) is not None:
            # What comes again counts from the first time.
            piece, old = self.early.pop(at), -self.ahead(at)
            if len(piece) > old:
                self.data += piece[old:]
                self.next = (self.next + len(piece) - old) % 2**32
                self.ends.append(len(self.data))
                self.times.append(ns)

    def ahead(self, seq):
        """How far a sequence number is past what is there; negative before it (RFC 9293, 3.4)."""
        return (seq - self.next + 2**31) % 2**32 - 2**31


def streams(packets):
    """{(from address and port, to address and port): Stream}."""
    found = {}
    for ns, data in packets:
        header, total = (data[0] & 0xF) * 4, int.from_bytes(data[2:4], "big")
        source, target, seq = struct.unpack_from(">HHI", data, header)
        # 0: longer than the field can say.
        payload = data[header + (data[header + 12] >> 4) * 4:total or len(data)]
        flow = (data[12:16], source), (data[16:20], target)
        syn = data[header + 13] & SYN
        if syn and flow in found and found[flow].data:
            raise Untold(f"port {source} spoke to port {target} in two connections: not told apart here")
        found.setdefault(flow, Stream()).take(ns, seq, payload, syn)
    return found


def frames(stream):
    """(time of its last byte, opcode, payload) of each frame after the head of the upgrade."""
    data = stream.data
    at = data.find(b"\r\n\r\n") + 4
    if at < 4 or stream.early:
        raise Untold("a connection without an upgrade, or with a gap")
    while at + 2 <= len(data):
        size, start = data[at + 1] & 0x7F, at + 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            size, start = int.from_bytes(data[start:start + wide], "big"), start + wide
        mask = bytes(data[start:start + 4]) if data[at + 1] & 0x80 else None
        start += 4 if mask else 0
        if start + size > len(data):
            return
        if data[at] & 0xF0 != 0x80:
            raise Untold(f"a frame that begins with {data[at]:#x}: neither fragments nor extensions are read here")
        payload = bytes(data[start:start + size])
        if mask:
            key = (mask * (size // 4 + 1))[:size]
            payload = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
        yield stream.times[bisect.bisect_left(stream.ends, start + size)], data[at] & 0xF, payload
        at = start + size


class Seen:
    """What went over the wire, by client id; times in ns."""

    def __init__(self, port, packets):
        self.sent, self.accepted, self.persisted, self.delivered = {}, {}, {}, {}
        self.packets, self.connections = len(packets), 0
        for (source, target), stream in streams(packets).items():
            if stream.data:
                self.connections += target[1] == port
                self.read(frames(stream), self.from_client if target[1] == port else self.to_client, target)

    @staticmethod
    def read(told, take, target):
        for ns, opcode, payload in told:
            if opcode == TEXT:
                event = json.loads(payload)
                take(ns, event["type"], event["data"], target)

    def from_client(self, ns, kind, data, _):
        if kind == "send-message":
            # What goes out again counts from the first time.
            self.sent.setdefault(data["tempMessageId"], ns)

    def to_client(self, ns, kind, data, target):
        if kind == "message-ack":
            getattr(self, data["status"]).setdefault(data["tempMessageId"], ns)
        elif kind == "new-message":
            self.delivered.setdefault((data["client_msg_id"], target), ns)


def quantile(sorted_values, share):
    """The value that at least that share is not above."""
    return sorted_values[max(math.ceil(share * len(sorted_values)), 1) - 1]
