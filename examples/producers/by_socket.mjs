// Queues a message over the socket, with Node.js alone, and waits until it is on disk.
//
//     node by_socket.mjs SOCKET ACCOUNT CHAT TEXT KEY
//
// KEY is yours: if this program is run again with the same key, the message is not queued twice.
import http from 'node:http';

const [socketPath, account_id, chat_id, text, dedupe_key] = process.argv.slice(2);

const request = http.request(
  { socketPath, method: 'POST', path: '/v1/messages', headers: { 'content-type': 'application/json' }, timeout: 30_000 },
  async (response) => {
    let body = '';
    for await (const part of response.setEncoding('utf8')) body += part;
    const answer = JSON.parse(body);
    // 201: queued; 200: it was queued before under this key. Anything else says what is wrong and what to do.
    if (response.statusCode === 200 || response.statusCode === 201) {
      console.log(answer.id);
    } else {
      const { field, problem, fix } = answer.error;
      console.error(`${field} ${problem}; ${fix}`);
      process.exitCode = 1;
    }
  },
);
request.on('timeout', () => request.destroy(new Error('no answer in 30 s')));
request.on('error', (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
request.end(JSON.stringify({ account_id, chat_id, text, dedupe_key }));
