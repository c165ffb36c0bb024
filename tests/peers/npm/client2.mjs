// An MCP client as version 2 of the TypeScript SDK makes it, in both eras. Takes a URL, an era and steps as JSON;
// prints what each step gave.
import { createRequire } from 'node:module';

import { fetch } from './http2.mjs';
import { elicited, rooted, sampled, say, takeAll } from './steps.mjs';

// Packages lie in the tools cache, not beside this script.
const require = createRequire(`${process.env.MCPGW_NPM_PEERS}/package.json`);
const { Client, StreamableHTTPClientTransport } = require('@modelcontextprotocol/client');

const [url, era, text] = process.argv.slice(2);
const modern = era === 'modern';
const client = new Client(
  { name: 'typescript2', version: '1' },
  {
    capabilities: { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } },
    versionNegotiation: { mode: modern ? { pin: '2026-07-28' } : 'legacy' },
  },
);
client.setRequestHandler('sampling/createMessage', sampled);
client.setRequestHandler('elicitation/create', elicited);
client.setRequestHandler('roots/list', rooted);

const sdk = {
  modern,
  followsCursors: true,
  call: (name, given, options) => client.callTool({ name, arguments: given }, options),
  on: (method, handler) => client.setNotificationHandler(method, handler),
  from: async (level, name) => {
    if (modern) return client.callTool({ name, arguments: {}, _meta: { 'io.modelcontextprotocol/logLevel': level } });
    await client.setLoggingLevel(level);
    return client.callTool({ name, arguments: {} });
  },
  listen: async (filter) => {
    if (modern) {
      const subscription = await client.listen(filter);
      return () => subscription.close();
    }
    const uris = filter.resourceSubscriptions ?? [];
    for (const uri of uris) await client.subscribeResource({ uri });
    return async () => { for (const uri of uris) await client.unsubscribeResource({ uri }); };
  },
};

const transport = new StreamableHTTPClientTransport(new URL(url), { fetch });
await client.connect(transport);
await say(await takeAll(client, sdk, JSON.parse(text)));
if (!modern) await transport.terminateSession();
await client.close();
process.exit(0);
