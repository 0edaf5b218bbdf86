// The server that Bun is measured with: /echo sends back, /relay/N joins two, /room/N joins many.
// Usage: bun bun.js PORT
const pairs = new Map();

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    const [, shape, name] = new URL(request.url).pathname.split("/");
    const known = shape === "echo" || ((shape === "relay" || shape === "room") && name);
    if (!known) return new Response("expected /echo, /relay/N or /room/N\n", { status: 404 });
    if (server.upgrade(request, { data: { shape, name, other: null } })) return;
    return new Response("expected a WebSocket\n", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    idleTimeout: 0,
    open(ws) {
      const { shape, name } = ws.data;
      if (shape === "room") ws.subscribe(name);
      if (shape !== "relay") return;
      const other = pairs.get(name);
      if (!other) return pairs.set(name, ws);
      pairs.delete(name);
      ws.data.other = other;
      other.data.other = ws;
    },
    message(ws, message) {
      const { shape, name, other } = ws.data;
      if (shape === "echo") ws.send(message);
      else if (shape === "relay") other?.send(message);
      else ws.publish(name, message);
    },
    close(ws) {
      const { name, other } = ws.data;
      if (other) other.data.other = null;
      if (pairs.get(name) === ws) pairs.delete(name);
    },
  },
});
console.log(`listening on ${server.port}`);
