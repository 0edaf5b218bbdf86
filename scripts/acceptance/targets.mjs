// A server of rooms on Node's `ws`, to be loaded: /echo sends back, at any other path all who connect get each other's
// messages. It counts by itself (GET /counts) and can be wrong: `targets.mjs drop 50` or `double 50`, by delivery.
import { createRequire } from 'node:module';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const { WebSocketServer } = createRequire(join(root, '.cache/node/package.json'))('ws');
const [, , wrong, which] = process.argv;
const counts = { taken: 0, delivered: 0, sent: 0 };
const rooms = new Map();

const http = createServer((request, response) => {
  response.end(JSON.stringify(counts));
  if (request.url === '/reset') Object.assign(counts, { taken: 0, delivered: 0, sent: 0 });
});

function deliver(socket, message) {
  counts.delivered++;
  const hit = counts.delivered === Number(which);
  const times = hit && wrong === 'drop' ? 0 : hit && wrong === 'double' ? 2 : 1;
  counts.sent += times;
  for (let i = 0; i < times; i++) socket.send(message, { binary: false });
}

new WebSocketServer({ server: http, perMessageDeflate: false }).on('connection', (socket, request) => {
  const room = rooms.get(request.url) ?? new Set();
  rooms.set(request.url, room.add(socket));
  socket.on('message', message => {
    counts.taken++;
    if (request.url === '/echo') deliver(socket, message);
    else room.forEach(other => other === socket || deliver(other, message));
  });
  socket.on('close', () => room.delete(socket));
});
http.listen(0, '127.0.0.1', () => console.log(http.address().port));
