// An MCP server as version 2 of the TypeScript SDK makes it, in both eras. Takes a port, and `--http2` to speak HTTP/2
// alone: without TLS, or with `--tls CERTIFICATE KEY` as TLS agrees.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import http2 from 'node:http2';
import { createRequire } from 'node:module';
import { Readable } from 'node:stream';

// Packages lie in the tools cache, not beside this script.
const require = createRequire(`${process.env.MCPGW_NPM_PEERS}/package.json`);
const { McpServer, ResourceTemplate, createMcpHandler } = require('@modelcontextprotocol/server');
const { z } = require('zod');

const text = (text) => ({ content: [{ type: 'text', text }] });

function make() {
  const server = new McpServer({ name: 'typescript', version: '1' }, { instructions: 'Ask it sums.' });
  server.registerTool(
    'echo', { description: 'Repeats a message.', inputSchema: z.object({ message: z.string() }) },
    async ({ message }) => text(message),
  );
  server.registerTool(
    'add',
    {
      description: 'Adds two numbers, with a structured result.',
      inputSchema: z.object({ a: z.number(), b: z.number() }),
      outputSchema: z.object({ total: z.number() }),
    },
    async ({ a, b }) => ({ ...text(`${a + b}`), structuredContent: { total: a + b } }),
  );
  server.registerTool(
    'picture', { description: 'A picture of eight bytes.', inputSchema: z.object({}) },
    async () => ({ content: [{ type: 'image', data: 'iVBORw0KGgo=', mimeType: 'image/png' }] }),
  );
  server.registerTool(
    'fail', { description: 'Fails.', inputSchema: z.object({ message: z.string() }) },
    async ({ message }) => { throw new Error(message); },
  );
  server.registerPrompt(
    'poem', { description: 'Asks for a poem.', argsSchema: z.object({ about: z.string() }) },
    async ({ about }) => ({
      messages: [{ role: 'user', content: { type: 'text', text: `A poem about ${about}, please.` } }],
    }),
  );
  server.registerResource('fixed', 'page://fixed', { mimeType: 'text/plain' }, async (uri) => ({
    contents: [{ uri: uri.href, mimeType: 'text/plain', text: 'fixed' }],
  }));
  server.registerResource(
    'of', new ResourceTemplate('page://of/{name}', { list: undefined }), { mimeType: 'text/plain' },
    async (uri, { name }) => ({ contents: [{ uri: uri.href, mimeType: 'text/plain', text: `a note of ${name}` }] }),
  );
  return server;
}

const handler = createMcpHandler(make);

const [port, version, , certificate, key] = process.argv.slice(2);

async function serve(incoming, outgoing) {
  const gone = new AbortController();
  outgoing.on('close', () => gone.abort());
  const { method } = incoming;
  // HTTP/2 has some of a request among its headers, by names that headers cannot have.
  const pairs = Object.entries(incoming.headers).filter(([name]) => !name.startsWith(':'));
  const host = incoming.headers[':authority'] ?? incoming.headers.host;
  const body = method === 'POST' ? Readable.toWeb(incoming) : undefined;
  const answer = await handler.fetch(
    new Request(`http://${host}${incoming.url}`, {
      method, headers: pairs.map(([name, value]) => [name, `${value}`]), body, duplex: 'half', signal: gone.signal,
    }),
  );
  outgoing.writeHead(answer.status, Object.fromEntries(answer.headers));
  outgoing.flushHeaders();
  if (answer.body) Readable.fromWeb(answer.body).on('error', () => outgoing.destroy()).pipe(outgoing);
  else outgoing.end();
}

function server() {
  if (version !== '--http2') return createServer(serve);
  if (!certificate) return http2.createServer(serve);
  return http2.createSecureServer({ cert: readFileSync(certificate), key: readFileSync(key) }, serve);
}

server().listen(Number(port), '0.0.0.0');
