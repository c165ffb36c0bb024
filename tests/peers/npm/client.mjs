// An MCP client as version 1 of the TypeScript SDK makes it (legacy era, both transports). Takes a URL, an era and steps as JSON;
// prints what each step gave.
import { createRequire } from 'node:module';

import { fetch } from './http2.mjs';
import { elicited, rooted, sampled, say, takeAll } from './steps.mjs';

// Packages lie in the tools cache, not beside this script.
const require = createRequire(`${process.env.MCPGW_NPM_PEERS}/package.json`);
const { Client } = require('@modelcontextprotocol/sdk/client/index.js');
const { SSEClientTransport } = require('@modelcontextprotocol/sdk/client/sse.js');
const { StreamableHTTPClientTransport } = require('@modelcontextprotocol/sdk/client/streamableHttp.js');
const types = require('@modelcontextprotocol/sdk/types.js');

const [url, era, text] = process.argv.slice(2);
const client = new Client(
  { name: 'typescript', version: '1' },
  { capabilities: { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } } },
);
client.setRequestHandler(types.CreateMessageRequestSchema, sampled);
client.setRequestHandler(types.ElicitRequestSchema, elicited);
client.setRequestHandler(types.ListRootsRequestSchema, rooted);

const schemas = {
  'notifications/tools/list_changed': types.ToolListChangedNotificationSchema,
  'notifications/resources/updated': types.ResourceUpdatedNotificationSchema,
  'notifications/elicitation/complete': types.ElicitationCompleteNotificationSchema,
  'notifications/message': types.LoggingMessageNotificationSchema,
};
const sdk = {
  modern: false,
  followsCursors: false,
  call: (name, given, options) => client.callTool({ name, arguments: given }, undefined, options),
  on: (method, handler) => client.setNotificationHandler(schemas[method], handler),
  from: async (level, name) => {
    await client.setLoggingLevel(level);
    return client.callTool({ name, arguments: {} });
  },
  // A call as a task: what became of it, and whether its one id is good for all that can be asked of it.
  task: async (name, given) => {
    const { tasks } = client.experimental;
    const stream = tasks.callToolStream({ name, arguments: given }, types.CallToolResultSchema, { task: {} });
    let id;
    const states = new Set();
    for await (const message of stream) {
      if (message.type === 'taskCreated') id = message.task.taskId;
      if (message.type === 'error') return { error: message.error.message };
      if (message.type !== 'result') {
        states.add(message.task.status);
        continue;
      }
      const related = message.result._meta?.['io.modelcontextprotocol/related-task']?.taskId;
      const listed = (await tasks.listTasks()).tasks.some(({ taskId }) => taskId === id);
      const known = (await tasks.getTask(id)).taskId === id;
      const unknown = await tasks.getTask(`${id}x`).then(() => 'known', () => 'unknown');
      return { states: [...states].sort(), content: message.result.content, related: related === id, listed, known, unknown };
    }
    return { error: 'no result' };
  },
  // Lists are told of unasked.
  listen: async ({ resourceSubscriptions: uris = [] }) => {
    for (const uri of uris) await client.subscribeResource({ uri });
    return async () => { for (const uri of uris) await client.unsubscribeResource({ uri }); };
  },
};

const Transport = era === 'httpsse' ? SSEClientTransport : StreamableHTTPClientTransport;
const transport = new Transport(new URL(url), { fetch });
await client.connect(transport);
await say(await takeAll(client, sdk, JSON.parse(text)));
await transport.terminateSession?.();
await client.close();
process.exit(0);
