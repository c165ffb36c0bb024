// The steps of a client, as both major versions of the TypeScript SDK take them.

// For a notification to arrive.
const SOON = 10_000;
// How often, and after how many milliseconds, a server is asked whether it has noticed something.
const TRIES = 50;
const PAUSE = 100;

// The loudest level at which a tool logs: nothing comes after it.
const LOUDEST = 'error';

// Resolves when `hear` calls the function that it is given.
function heard(hear) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('nothing was heard')), SOON);
    hear(() => { clearTimeout(timer); resolve(true); });
  });
}

// How many calls the server has seen cancelled.
async function count(sdk, step) {
  const { content } = await sdk.call(step.counter, {}, {});
  return Number(content[0].text);
}

// All items of a list, by its pages: `more` asks for the page at a cursor.
// Version 2 puts the pages together by itself, and does not say how many there were.
async function listed(sdk, name, more) {
  const items = [];
  let pages = 0;
  let cursor;
  do {
    const page = await more(cursor === undefined ? {} : { cursor });
    items.push(...page[name]);
    cursor = page.nextCursor;
    pages += 1;
  } while (cursor !== undefined);
  return sdk.followsCursors ? { items } : { items, pages };
}

// What the server logs while `act` runs, and until there is a message for which `isLast` holds; and what `act` gave.
async function logged(sdk, isLast, act) {
  const messages = [];
  const last = heard((hear) => sdk.on('notifications/message', ({ params: { level, logger, data } }) => {
    messages.push({ level, logger, data });
    if (isLast(data, level)) hear();
  })).catch(() => {});
  const result = await act();
  await last;
  return { heard: messages, result };
}

// `sdk` has what the versions do in different ways: `modern`, whether it has no session, `followsCursors`, `call(name, arguments, options)`, `on(notification, handler)`,
// `listen(filter)`, which returns how to end it, `task(name, arguments)`, and `from(level, name)`, which calls a tool
// that is to log from this level on.
export async function take(client, sdk, step) {
  switch (step.do) {
    case 'hello': return {
      capabilities: client.getServerCapabilities(),
      server: client.getServerVersion(),
      instructions: client.getInstructions(),
    };
    case 'tools': return listed(sdk, 'tools', (page) => client.listTools(page));
    case 'prompts': return listed(sdk, 'prompts', (page) => client.listPrompts(page));
    case 'resources': return listed(sdk, 'resources', (page) => client.listResources(page));
    case 'templates': return listed(sdk, 'resourceTemplates', (page) => client.listResourceTemplates(page));
    case 'ping': return client.ping();
    case 'call': {
      const progress = [];
      const onprogress = ({ progress: done, total }) => progress.push([done, total]);
      const completed = step.completes && heard((hear) => sdk.on('notifications/elicitation/complete', ({ params }) => {
        if (params.elicitationId === step.completes) hear();
      }));
      // It is waited for below, if the call is answered at all.
      completed?.catch(() => {});
      const result = await sdk.call(step.name, step.arguments, { onprogress });
      await completed;
      return { result, progress };
    }
    case 'prompt': return client.getPrompt({ name: step.name, arguments: step.arguments });
    case 'read': return client.readResource({ uri: step.uri });
    case 'complete': return client.complete({
      ref: step.uri ? { type: 'ref/resource', uri: step.uri } : { type: 'ref/prompt', name: step.name },
      argument: step.argument,
      ...(step.given && { context: { arguments: step.given } }),
    });
    case 'log': return logged(sdk, (_, level) => level === LOUDEST, async () => {
      // Of this one nothing is to be heard.
      if (sdk.modern) await sdk.call(step.name, {}, {});
      return sdk.from(step.level, step.name);
    });
    case 'acknowledged': {
      const [quiet, loud] = step.uris;
      const { heard: all } = await logged(sdk, (data) => `${data}`.includes(loud), async () => {
        for (const [level, uri] of [[LOUDEST, quiet], [step.level, loud]]) {
          await client.setLoggingLevel(level);
          await client.subscribeResource({ uri });
        }
      });
      await client.setLoggingLevel(LOUDEST);
      for (const uri of step.uris) await client.unsubscribeResource({ uri });
      const ours = all.filter(({ data }) => step.uris.some((uri) => `${data}`.includes(uri)));
      return { heard: ours.map(({ level, data }) => ({ level, data: data.split(' from session')[0] })) };
    }
    case 'cancel': {
      const before = await count(sdk, step);
      const abort = new AbortController();
      const options = { signal: abort.signal, onprogress: () => abort.abort() };
      const ended = await sdk.call(step.name, {}, options).then(() => 'answered', () => 'cancelled');
      let noticed = false;
      for (let tries = 0; tries < TRIES && !noticed; tries += 1) {
        noticed = await count(sdk, step) > before;
        if (!noticed) await new Promise((resolve) => setTimeout(resolve, PAUSE));
      }
      return { ended, noticed };
    }
    case 'changes': {
      const end = await sdk.listen({ toolsListChanged: true });
      const waiting = heard((hear) => sdk.on('notifications/tools/list_changed', hear));
      await sdk.call(step.name, {}, {});
      await waiting;
      await sdk.call(step.name, {}, {});
      await end();
      return { heard: true };
    }
    case 'updates': {
      const end = await sdk.listen({ resourceSubscriptions: [step.uri] });
      const waiting = heard((hear) => sdk.on('notifications/resources/updated', ({ params }) => {
        if (params.uri === step.uri) hear();
      }));
      await sdk.call(step.name, step.arguments ?? {}, {});
      await waiting;
      await end();
      return { heard: true };
    }
    case 'task': return sdk.task(step.name, step.arguments);
    default: throw new Error(`no such step: ${step.do}`);
  }
}

// Takes all steps; what each of them gave.
export async function takeAll(client, sdk, steps) {
  const out = [];
  for (const step of steps) {
    try {
      out.push(await take(client, sdk, step));
    } catch (error) {
      const { code, data } = error;
      // Version 1 says so in the message, too.
      const message = error.message.replace(`MCP error ${code}: `, '');
      out.push({ error: data === undefined ? { code, message } : { code, message, data } });
    }
  }
  return out;
}

// Prints what the steps gave, to the last byte: a process that exits does not wait for what its pipe has no room for.
export function say(gave) {
  return new Promise((resolve) => { process.stdout.write(`${JSON.stringify(gave)}\n`, resolve); });
}

// The page that a user visits, if a server asks for that in these words.
const VISIT = { message: 'Please sign in.', url: 'https://example.com/visit?who=Ada&then=%2Fhome' };

// How every client here answers.
export const sampled = async ({ params }) => {
  const [{ content }] = params.messages.slice(-1);
  return { model: 'm', role: 'assistant', content: { type: 'text', text: `an answer to ${content.text}` } };
};
export const elicited = async ({ params }) => {
  if (params.mode !== 'url') return { action: 'accept', content: { name: 'Ada' } };
  return { action: params.url === VISIT.url && params.message === VISIT.message ? 'accept' : 'decline' };
};
export const rooted = async () => ({ roots: [{ uri: 'file:///home/ada', name: 'home' }] });
