"""An MCP client as FastMCP makes it. Takes a URL, an era and steps as JSON; prints what each step gave."""

import asyncio
import json
import sys

from fastmcp import Client
from mcp import types
from mcp.shared.exceptions import MCPError
from steps import Log, plain, take


async def elicited(_message, _kind, _params, _context):
    return {"name": "Ada"}


async def sampled(_messages, _params, _context):
    return "sampled"


ROOT = types.Root(uri="file:///home/ada", name="home")


class Sdk:
    """What FastMCP does in its own way."""

    def __init__(self, client, modern, log):
        self.client, self.modern, self.log = client, modern, log

    async def tools(self):
        return await self.client.list_tools()

    async def prompts(self):
        return await self.client.list_prompts()

    async def resources(self):
        return await self.client.list_resources()

    async def templates(self):
        return await self.client.list_resource_templates()

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
    log = Log()
    handlers = {"elicitation_handler": elicited, "sampling_handler": sampled, "roots": [ROOT], "log_handler": log}
    out = []
    async with Client(url, mode=mode, cache=False, **handlers) as client:
        for step in steps:
            try:
                out.append(await take(Sdk(client, mode != "legacy", log), step))
            except MCPError as error:
                out.append({"error": {"code": error.error.code, "message": error.error.message}})
    print(json.dumps(out))


asyncio.run(main())
