"""An MCP client as FastMCP makes it. Takes a URL, an era and steps as JSON; prints what each step gave."""

import asyncio
import json
import sys

from fastmcp import Client
from mcp import types
from mcp.shared.exceptions import MCPError
from steps import Log, News, answered, failed, plain, take, visited


async def elicited(_message, _kind, params, _context):
    if action := visited(params):
        return types.ElicitResult(action=action)
    return {"name": "Ada"}


async def sampled(messages, _params, _context):
    return answered(messages)


ROOT = types.Root(uri="file:///home/ada", name="home")


class Sdk:
    """What FastMCP does in its own way."""

    # In the modern era it wants to hear what each call logs, unless one says otherwise.
    can_be_quiet = False

    def __init__(self, client, modern, news, log):
        self.client, self.modern, self.news, self.log = client, modern, news, log
        # Subscriptions are left to what is below.
        self.session = client.session

    async def tools(self, cursor):
        page = await self.client.list_tools_mcp(cursor=cursor)
        return page.tools, page.next_cursor

    async def prompts(self, cursor):
        page = await self.client.list_prompts_mcp(cursor=cursor)
        return page.prompts, page.next_cursor

    async def resources(self, cursor):
        page = await self.client.list_resources_mcp(cursor=cursor)
        return page.resources, page.next_cursor

    async def templates(self, cursor):
        page = await self.client.list_resource_templates_mcp(cursor=cursor)
        return page.resource_templates, page.next_cursor

    async def call(self, name, arguments, progress=None, meta=None):
        return plain(await self.client.call_tool_mcp(name, arguments, progress_handler=progress, meta=meta))

    async def prompt(self, name, arguments):
        return plain(await self.client.get_prompt_mcp(name, arguments))

    async def read(self, uri):
        return plain(await self.client.read_resource_mcp(uri))

    async def complete(self, reference, argument, given):
        kind = types.PromptReference if "name" in reference else types.ResourceTemplateReference
        return plain(await self.client.complete_mcp(kind(**reference), argument, context_arguments=given))


async def main():
    url, era, steps = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    mode = "legacy" if era == "legacy" else "2026-07-28"
    news, log = News(), Log()
    handlers = {"elicitation_handler": elicited, "sampling_handler": sampled, "roots": [ROOT], "log_handler": log}
    handlers["message_handler"] = news
    out = []
    async with Client(url, mode=mode, cache=False, **handlers) as client:
        for step in steps:
            try:
                out.append(await take(Sdk(client, mode != "legacy", news, log), step))
            except MCPError as error:
                out.append(failed(error))
    print(json.dumps(out))


asyncio.run(main())
