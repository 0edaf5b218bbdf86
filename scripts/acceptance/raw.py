"""A WebSocket client of plain sockets, for what well-behaved clients never do."""
import json, os, socket, struct

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def request(token, path="/ws"):
    return (f"GET {path}?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n").encode()


def frame(payload, opcode=1):
    payload = payload if isinstance(payload, bytes) else payload.encode()
    mask = os.urandom(4)
    n = len(payload)
    head = bytes([0x80 | opcode])
    head += bytes([0x80 | n]) if n < 126 else bytes([0xFE]) + struct.pack(">H", n) if n < 65536 else bytes([0xFF]) + struct.pack(">Q", n)
    return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def connect(port, timeout=10, source=None):
    s = socket.create_connection(("127.0.0.1", port), timeout, source_address=(source, 0) if source else None)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


class Reader:
    def __init__(self, sock):
        self.sock, self.buffer = sock, b""

    def more(self):
        piece = self.sock.recv(65536)
        if not piece:
            raise EOFError("the server closed")
        self.buffer += piece

    def head(self):
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        return head.decode()

    def frame(self):
        """The next (opcode, payload)."""
        while True:
            b = self.buffer
            if len(b) >= 2:
                n, at = b[1] & 127, 2
                if n == 126 and len(b) >= 4:
                    n, at = struct.unpack(">H", b[2:4])[0], 4
                elif n == 127 and len(b) >= 10:
                    n, at = struct.unpack(">Q", b[2:10])[0], 10
                elif n >= 126:
                    n = None
                if n is not None and len(b) >= at + n:
                    self.buffer = b[at + n:]
                    return b[0] & 15, b[at:at + n]
            self.more()

    def event(self, kind=None):
        while True:
            opcode, payload = self.frame()
            if opcode == 1:
                event = json.loads(payload)
                if kind is None or event["type"] == kind:
                    return event
            elif opcode == 8:
                raise EOFError(f"closed {struct.unpack('>H', payload[:2])[0]} {payload[2:].decode()}")
