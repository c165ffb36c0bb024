"""An MCP client as the Python SDK makes it. Takes a URL, an era and steps as JSON; prints what each step gave."""

import asyncio
import json
import sys

from mcp import Client, types
from mcp.client.sse import sse_client
from mcp.shared.exceptions import MCPError
from steps import Log, News, answered, failed, plain, take, visited


async def elicited(_context, params):
    if action := visited(params):
        return types.ElicitResult(action=action)
    return types.ElicitResult(action="accept", content={"name": "Ada"})


async def sampled(_context, params):
    text = types.TextContent(type="text", text=answered(params.messages))
    return types.CreateMessageResult(role="assistant", model="m", content=text)


async def roots(_context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///home/ada", name="home")])


class Sdk:
    """What this SDK does in its own way."""

    can_be_quiet = True

    def __init__(self, client, modern, news, log):
        self.client, self.modern, self.news, self.log = client, modern, news, log
        self.session = client.session

    async def tools(self, cursor):
        page = await self.client.list_tools(cursor=cursor)
        return page.tools, page.next_cursor

    async def prompts(self, cursor):
        page = await self.client.list_prompts(cursor=cursor)
        return page.prompts, page.next_cursor

    async def resources(self, cursor):
        page = await self.client.list_resources(cursor=cursor)
        return page.resources, page.next_cursor

    async def templates(self, cursor):
        page = await self.client.list_resource_templates(cursor=cursor)
        return page.resource_templates, page.next_cursor

    async def call(self, name, arguments, progress=None, meta=None):
        return plain(await self.client.call_tool(name, arguments, progress_callback=progress, meta=meta))

    async def prompt(self, name, arguments):
        return plain(await self.client.get_prompt(name, arguments))

    async def read(self, uri):
        return plain(await self.client.read_resource(uri))

    async def complete(self, reference, argument, given):
        kind = types.PromptReference if "name" in reference else types.ResourceTemplateReference
        return plain(await self.client.complete(kind(**reference), argument, context_arguments=given))


async def main():
    url, era, steps = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    mode = "2026-07-28" if era == "modern" else "legacy"
    server = sse_client(url) if era == "httpsse" else url
    news, log = News(), Log()
    abilities = {"elicitation_callback": elicited, "sampling_callback": sampled, "list_roots_callback": roots}
    abilities["logging_callback"] = log
    out = []
    async with Client(server, mode=mode, cache=None, message_handler=news, **abilities) as client:
        sdk = Sdk(client, mode != "legacy", news, log)
        for step in steps:
            try:
                out.append(await take(sdk, step))
            except MCPError as error:
                out.append(failed(error))
    print(json.dumps(out))


asyncio.run(main())
