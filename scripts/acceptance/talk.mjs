// A Node client on `ws`: answers every message where it came, and says at the end what it saw.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const WebSocket = createRequire(join(root, '.cache/node/package.json'))('ws');
const socket = new WebSocket(process.argv[2], { perMessageDeflate: false });
let acks = 0, messages = 0;
setTimeout(() => { console.log(`gave up: acks ${acks}, messages ${messages}`); process.exit(1); }, 30_000);

socket.on('message', text => {
  const { type, data } = JSON.parse(text);
  if (type === 'connected') console.log('connected');
  if (type === 'message-ack' && data.status === 'persisted') acks += 1;
  if (type !== 'new-message') return;
  messages += 1;
  if (data.content === 'bye') {
    console.log(`acks ${acks}, messages ${messages}`);
    return socket.close();
  }
  socket.send(JSON.stringify({ type: 'send-message', data: {
    tempMessageId: `node-${messages}`, conversationId: data.conversation_id, content: `re: ${data.content}`, messageType: 'text',
  } }));
});
socket.on('close', () => process.exit(0));
socket.on('error', error => { console.log(`error ${error.message}`); process.exit(1); });
