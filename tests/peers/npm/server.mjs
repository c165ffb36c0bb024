// An MCP server as version 2 of the TypeScript SDK makes it, in both eras. Takes a port, and `--sessions` for clients of the
// legacy era to get sessions, which the SDK does not give them by itself, or `--http2` to speak HTTP/2 alone: without TLS, or
// with `--tls CERTIFICATE KEY` as TLS agrees.
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import http2 from 'node:http2';
import { createRequire } from 'node:module';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

// Packages lie in the tools cache, not beside this script.
const require = createRequire(`${process.env.MCPGW_NPM_PEERS}/package.json`);
const {
  McpServer, ResourceTemplate, UrlElicitationRequiredError, WebStandardStreamableHTTPServerTransport, acceptedContent,
  completable, createMcpHandler, inputRequired, isLegacyRequest,
} = require('@modelcontextprotocol/server');
const { z } = require('zod');

// How long a call takes that is to be cancelled, in milliseconds.
const LONG = 30_000;
// Items on one page of each list. Of tools, the first page has one that a policy hides from those who read no more.
const PAGES = { tools: 4, prompts: 2, resources: 100 };
// Resources that are there to be listed only: more than a gateway has on one page.
const LEAVES = 300;
// Where a user is sent, why, and as what.
const VISIT = { message: 'Please sign in.', url: 'https://example.com/visit?who=Ada&then=%2Fhome' };
const VISIT_ID = 'visit-1';
// Calls that were cancelled.
let cancellations = 0;

const text = (text) => ({ content: [{ type: 'text', text }] });

// Lists a few items at a time, which the SDK leaves to the server below.
function page(server, method, items) {
  const list = server._getRequestHandler(method);
  server.setRequestHandler(method, async (request, context) => {
    const result = await list(request, context);
    const start = Number(request.params?.cursor ?? 0);
    const end = start + PAGES[items];
    const more = end < result[items].length && { nextCursor: `${end}` };
    return { ...result, [items]: result[items].slice(start, end), ...more };
  });
}

function make({ era }) {
  const capabilities = { logging: {}, resources: { subscribe: true } };
  const server = new McpServer({ name: 'typescript', version: '1' }, { instructions: 'Ask it sums.', capabilities });
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
  const prompt = z.object({ prompt: z.string() });
  server.registerTool(
    'sample', { description: "Asks the client's model.", inputSchema: prompt },
    async ({ prompt }, { mcpReq }) => {
      const answer = mcpReq.inputResponses?.asked;
      if (answer) return text(`The model says: ${answer.content.text}`);
      const messages = [{ role: 'user', content: { type: 'text', text: prompt } }];
      return inputRequired({ inputRequests: { asked: inputRequired.createMessage({ messages, maxTokens: 10 }) } });
    },
  );
  server.registerTool(
    'roots', { description: "Asks for the client's roots.", inputSchema: z.object({}) },
    async (_, { mcpReq }) => {
      const answer = mcpReq.inputResponses?.asked;
      if (answer) return text(`Its roots: ${answer.roots.map(({ uri }) => uri)}`);
      return inputRequired({ inputRequests: { asked: inputRequired.listRoots() } });
    },
  );
  server.registerTool(
    'visit',
    {
      description: 'Sends the user to a page, and tells when the user is done there, where the client has a session.',
      inputSchema: z.object({}),
    },
    async (_, { mcpReq }) => {
      if (era === 'modern') {
        const answer = mcpReq.inputResponses?.asked;
        if (answer) return text(`The user's word: ${answer.action}`);
        return inputRequired({ inputRequests: { asked: inputRequired.elicitUrl(VISIT) } });
      }
      const { action } = await mcpReq.elicitInput({ mode: 'url', elicitationId: VISIT_ID, ...VISIT });
      await mcpReq.notify({ method: 'notifications/elicitation/complete', params: { elicitationId: VISIT_ID } });
      return text(`The user's word: ${action}`);
    },
  );
  server.registerTool(
    'gate', { description: 'Wants a page visited before it is called at all.', inputSchema: z.object({}) },
    async () => { throw new UrlElicitationRequiredError([{ mode: 'url', elicitationId: VISIT_ID, ...VISIT }]); },
  );
  server.registerTool(
    'ping', { description: 'Pings the client, where that has a session.', inputSchema: z.object({}) },
    async () => {
      await server.server.ping();
      return text('It is there.');
    },
  );
  server.registerTool(
    'touch', { description: 'Says that a resource changed.', inputSchema: z.object({ uri: z.string() }) },
    async ({ uri }) => {
      if (era === 'modern') handler.notify.resourceUpdated(uri);
      else await server.server.sendResourceUpdated({ uri });
      return text(uri);
    },
  );
  const topic = completable(z.string(), (begun) => ['rain', 'river', 'sun'].filter((word) => word.startsWith(begun)));
  server.registerPrompt(
    'poem', { description: 'Asks for a poem.', argsSchema: z.object({ about: topic }) },
    async ({ about }) => ({
      messages: [{ role: 'user', content: { type: 'text', text: `A poem about ${about}, please.` } }],
    }),
  );
  for (const name of ['joke', 'riddle']) {
    server.registerPrompt(name, { description: `Asks for a ${name}.` }, async () => ({
      messages: [{ role: 'user', content: { type: 'text', text: `A ${name}, please.` } }],
    }));
  }
  const leaves = Array.from({ length: LEAVES }, (_, number) => `leaf-${number}`);
  for (const name of ['fixed', 'other', ...leaves]) {
    server.registerResource(name, `page://${name}`, { mimeType: 'text/plain' }, async (uri) => ({
      contents: [{ uri: uri.href, mimeType: 'text/plain', text: name }],
    }));
  }
  server.registerResource(
    'of',
    new ResourceTemplate('page://of/{name}', {
      list: undefined, complete: { name: (begun) => ['Ada', 'Alan', 'Grace'].filter((name) => name.startsWith(begun)) },
    }),
    { mimeType: 'text/plain' },
    async (uri, { name }) => ({ contents: [{ uri: uri.href, mimeType: 'text/plain', text: `a note of ${name}` }] }),
  );
  for (const method of ['resources/subscribe', 'resources/unsubscribe']) {
    server.server.setRequestHandler(method, async () => ({}));
  }
  for (const list of Object.keys(PAGES)) page(server.server, `${list}/list`, list);
  return server;
}

const [port, version, , certificate, key] = process.argv.slice(2);
const handler = createMcpHandler(make);
const sessions = new Map();

// A request of the legacy era in its session, or the one that opens it.
async function session(request) {
  const id = request.headers.get('mcp-session-id');
  const known = sessions.get(id);
  if (known) return known.handleRequest(request);
  if (id !== null) return new Response(null, { status: 404 });
  const transport = new WebStandardStreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => { sessions.set(id, transport); },
    onsessionclosed: (id) => { sessions.delete(id); },
  });
  await make({ era: 'legacy' }).connect(transport);
  return transport.handleRequest(request);
}

async function answered(request) {
  if (version === '--sessions' && await isLegacyRequest(request)) return session(request);
  return handler.fetch(request);
}

async function serve(incoming, outgoing) {
  const gone = new AbortController();
  outgoing.on('close', () => gone.abort());
  const { method } = incoming;
  // HTTP/2 has some of a request among its headers, by names that headers cannot have.
  const pairs = Object.entries(incoming.headers).filter(([name]) => !name.startsWith(':'));
  const host = incoming.headers[':authority'] ?? incoming.headers.host;
  const body = method === 'POST' ? Readable.toWeb(incoming) : undefined;
  const answer = await answered(
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
