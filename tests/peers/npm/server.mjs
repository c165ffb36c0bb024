// An MCP server as version 2 of the TypeScript SDK makes it, in both eras. Takes a port, and `--http2` to speak HTTP/2
// alone: without TLS, or with `--tls CERTIFICATE KEY` as TLS agrees.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import http2 from 'node:http2';
import { createRequire } from 'node:module';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

// Packages lie in the tools cache, not beside this script.
const require = createRequire(`${process.env.MCPGW_NPM_PEERS}/package.json`);
const {
  McpServer, ResourceTemplate, acceptedContent, completable, createMcpHandler, inputRequired,
} = require('@modelcontextprotocol/server');
const { z } = require('zod');

// How long a call takes that is to be cancelled, in milliseconds.
const LONG = 30_000;
// Calls that were cancelled.
let cancellations = 0;

const text = (text) => ({ content: [{ type: 'text', text }] });

function make() {
  const server = new McpServer(
    { name: 'typescript', version: '1' }, { instructions: 'Ask it sums.', capabilities: { logging: {} } },
  );
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
  server.registerTool(
    'count', { description: 'Counts, and tells how far it is.', inputSchema: z.object({ to: z.number() }) },
    async ({ to }, { mcpReq }) => {
      const progressToken = mcpReq._meta?.progressToken;
      for (let progress = 1; progress <= to && progressToken !== undefined; progress += 1) {
        await mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: to } });
      }
      return text(`counted to ${to}`);
    },
  );
  server.registerTool(
    'log', { description: 'Logs at three levels.', inputSchema: z.object({}) },
    async (_, { mcpReq }) => {
      for (const level of ['info', 'warning', 'error']) await mcpReq.log(level, `of level ${level}`, 'typescript');
      return text('logged');
    },
  );
  server.registerTool(
    'wait', { description: 'Tells that it has begun, and waits.', inputSchema: z.object({}) },
    async (_, { mcpReq }) => {
      const progressToken = mcpReq._meta?.progressToken;
      await mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress: 1 } });
      await sleep(LONG, undefined, { signal: mcpReq.signal }).catch(() => { cancellations += 1; });
      return text('It was cancelled, or nobody cancelled it.');
    },
  );
  server.registerTool(
    'cancelled', { description: 'How many calls were cancelled.', inputSchema: z.object({}) },
    async () => text(`${cancellations}`),
  );
  server.registerTool(
    'greet', { description: 'Asks the user for a name.', inputSchema: z.object({}) },
    async (_, { mcpReq }) => {
      const answer = acceptedContent(mcpReq.inputResponses, 'who', z.object({ name: z.string() }));
      if (answer) return text(`Hello, ${answer.name}`);
      const requestedSchema = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] };
      return inputRequired({ inputRequests: { who: inputRequired.elicit({ message: 'Who are you?', requestedSchema }) } });
    },
  );
  const topic = completable(z.string(), (begun) => ['rain', 'river', 'sun'].filter((word) => word.startsWith(begun)));
  server.registerPrompt(
    'poem', { description: 'Asks for a poem.', argsSchema: z.object({ about: topic }) },
    async ({ about }) => ({
      messages: [{ role: 'user', content: { type: 'text', text: `A poem about ${about}, please.` } }],
    }),
  );
  server.registerResource('fixed', 'page://fixed', { mimeType: 'text/plain' }, async (uri) => ({
    contents: [{ uri: uri.href, mimeType: 'text/plain', text: 'fixed' }],
  }));
  server.registerResource(
    'of',
    new ResourceTemplate('page://of/{name}', {
      list: undefined, complete: { name: (begun) => ['Ada', 'Alan', 'Grace'].filter((name) => name.startsWith(begun)) },
    }),
    { mimeType: 'text/plain' },
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
