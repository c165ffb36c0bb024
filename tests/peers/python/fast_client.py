"""An MCP client as FastMCP makes it. Takes a URL, an era and steps as JSON; prints what each step gave."""

import asyncio
import json
import sys

from fastmcp import Client
from mcp.shared.exceptions import MCPError
from steps import plain, take


async def elicited(_message, _kind, _params, _context):
    return {"name": "Ada"}


async def sampled(_messages, _params, _context):
    return "sampled"


class Sdk:
    """What FastMCP does in its own way."""

    def __init__(self, client):
        self.client = client

    async def tools(self):
        return await self.client.list_tools()

    async def prompts(self):
        return await self.client.list_prompts()

    async def resources(self):
        return await self.client.list_resources()

    async def templates(self):
        return await self.client.list_resource_templates()

    async def call(self, name, arguments, progress=None):
        return plain(await self.client.call_tool_mcp(name, arguments, progress_handler=progress))

    async def prompt(self, name, arguments):
        return plain(await self.client.get_prompt_mcp(name, arguments))

    async def read(self, uri):
        return plain(await self.client.read_resource_mcp(uri))

    async def complete(self, name, argument):
        from mcp.types import PromptReference

        return plain(await self.client.complete_mcp(PromptReference(type="ref/prompt", name=name), argument))


async def main():
    url, era, steps = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    mode = "legacy" if era == "legacy" else "2026-07-28"
    handlers = {"elicitation_handler": elicited, "sampling_handler": sampled, "roots": []}
    out = []
    async with Client(url, mode=mode, cache=False, **handlers) as client:
        for step in steps:
            try:
                out.append(await take(Sdk(client), step))
            except MCPError as error:
                out.append({"error": {"code": error.error.code, "message": error.error.message}})
    print(json.dumps(out))


asyncio.run(main())
