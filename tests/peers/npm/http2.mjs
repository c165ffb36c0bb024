// `fetch` over HTTP/2 alone, by Node's own client: with prior knowledge for http:, as TLS agrees for https:. Where
// `MCPGW_HTTP2` is not set there is none, and a client's own is used.
import http2 from 'node:http2';
import { Readable } from 'node:stream';

// The name that a certificate must be of, where it is not the host of the URL.
const servername = process.env.MCPGW_SERVER_NAME;
const sessions = new Map();

function session(origin) {
  const known = sessions.get(origin);
  if (known && !known.closed && !known.destroyed) return known;
  const opened = http2.connect(origin, servername ? { servername } : {});
  // Every request on it says so, too.
  opened.on('error', () => {});
  sessions.set(origin, opened);
  return opened;
}

async function over(url, { method = 'GET', headers, body, signal } = {}) {
  const at = new URL(url);
  const asked = { ...Object.fromEntries(new Headers(headers)), ':method': method, ':path': at.pathname + at.search };
  const stream = session(at.origin).request(asked, { endStream: body == null, signal: signal ?? undefined });
  const head = new Promise((resolve, reject) => {
    stream.once('response', resolve);
    stream.once('error', reject);
    stream.once('close', () => reject(new Error('the stream was closed')));
  });
  if (body != null) stream.end(body);
  const { ':status': status, ...given } = await head;
  const pairs = Object.entries(given).map(([name, value]) => [name, `${value}`]);
  const empty = [204, 205, 304].includes(status);
  return new Response(empty ? null : Readable.toWeb(stream), { status, headers: pairs });
}

export const fetch = process.env.MCPGW_HTTP2 ? over : undefined;
