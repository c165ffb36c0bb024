// An MCP client as the TypeScript SDK makes it (legacy era). Takes a URL, an era and steps as JSON; prints what each
// step gave.
import { createRequire } from 'node:module';

// Packages lie in the tools cache, not beside this script.
const require = createRequire(`${process.env.MCPGW_NPM_PEERS}/package.json`);
const { Client } = require('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = require('@modelcontextprotocol/sdk/client/streamableHttp.js');
const { CreateMessageRequestSchema, ElicitRequestSchema } = require('@modelcontextprotocol/sdk/types.js');

const [url, , text] = process.argv.slice(2);
const client = new Client(
  { name: 'typescript', version: '1' },
  { capabilities: { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } } },
);
client.setRequestHandler(CreateMessageRequestSchema, async () => ({
  model: 'm', role: 'assistant', content: { type: 'text', text: 'sampled' },
}));
client.setRequestHandler(ElicitRequestSchema, async () => ({ action: 'accept', content: { name: 'Ada' } }));

async function take(step) {
  switch (step.do) {
    case 'tools': return (await client.listTools()).tools;
    case 'prompts': return (await client.listPrompts()).prompts;
    case 'resources': return (await client.listResources()).resources;
    case 'templates': return (await client.listResourceTemplates()).resourceTemplates;
    case 'call': {
      const progress = [];
      const onprogress = ({ progress: done, total }) => progress.push([done, total]);
      const result = await client.callTool({ name: step.name, arguments: step.arguments }, undefined, { onprogress });
      return { result, progress };
    }
    case 'prompt': return client.getPrompt({ name: step.name, arguments: step.arguments });
    case 'read': return client.readResource({ uri: step.uri });
    case 'ping': return client.ping();
    default: throw new Error(`no such step: ${step.do}`);
  }
}

const transport = new StreamableHTTPClientTransport(new URL(url));
await client.connect(transport);
const out = [];
for (const step of JSON.parse(text)) {
  try {
    out.push(await take(step));
  } catch (error) {
    out.push({ error: { code: error.code, message: error.message } });
  }
}
await transport.terminateSession();
await client.close();
console.log(JSON.stringify(out));
process.exit(0);
