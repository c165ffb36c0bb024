"""An MCP client as the Python SDK makes it. Takes a URL, an era and steps as JSON; prints what each step gave."""

import asyncio
import contextlib
import json
import sys

from mcp import Client, types
from mcp.client.sse import sse_client
from mcp.shared.exceptions import MCPError
from steps import Log, plain, take


async def elicited(_context, _params):
    return types.ElicitResult(action="accept", content={"name": "Ada"})


async def sampled(_context, _params):
    text = types.TextContent(type="text", text="sampled")
    return types.CreateMessageResult(role="assistant", model="m", content=text)


async def roots(_context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///home/ada", name="home")])


class Sdk:
    """What this SDK does in its own way."""

    def __init__(self, client, modern, heard, log):
        self.client, self.modern, self.heard, self.log = client, modern, heard, log

    async def tools(self):
        return (await self.client.list_tools()).tools

    async def prompts(self):
        return (await self.client.list_prompts()).prompts

    async def resources(self):
        return (await self.client.list_resources()).resources

    async def templates(self):
        return (await self.client.list_resource_templates()).resource_templates

    async def call(self, name, arguments, progress=None, meta=None):
        return plain(await self.client.call_tool(name, arguments, progress_callback=progress, meta=meta))

    async def prompt(self, name, arguments):
        return plain(await self.client.get_prompt(name, arguments))

    async def read(self, uri):
        return plain(await self.client.read_resource(uri))

    async def complete(self, reference, argument, given):
        kind = types.PromptReference if "name" in reference else types.ResourceTemplateReference
        return plain(await self.client.complete(kind(**reference), argument, context_arguments=given))

    async def subscribe(self, uri):
        await self.client.subscribe_resource(uri)

    async def unsubscribe(self, uri):
        await self.client.unsubscribe_resource(uri)

    @contextlib.asynccontextmanager
    async def hear(self, uri):
        """Waits for a resource's update, or without one for a change of the tools."""
        self.heard.clear()
        if not self.modern:
            if uri is not None:
                await self.client.subscribe_resource(uri)
            yield self.heard
            if uri is not None:
                await self.client.unsubscribe_resource(uri)
            return
        wanted = {"resource_subscriptions": [uri]} if uri else {"tools_list_changed": True}
        async with self.client.listen(**wanted) as events:

            async def listen():
                async for _ in events:
                    self.heard.set()

            listening = asyncio.create_task(listen())
            yield self.heard
            listening.cancel()


async def main():
    url, era, steps = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    mode = "2026-07-28" if era == "modern" else "legacy"
    server = sse_client(url) if era == "httpsse" else url
    heard, log = asyncio.Event(), Log()
    kinds = (types.ToolListChangedNotification, types.ResourceUpdatedNotification)

    async def message(message):
        if isinstance(getattr(message, "root", message), kinds):
            heard.set()

    abilities = {"elicitation_callback": elicited, "sampling_callback": sampled, "list_roots_callback": roots}
    abilities["logging_callback"] = log
    out = []
    async with Client(server, mode=mode, cache=None, message_handler=message, **abilities) as client:
        sdk = Sdk(client, mode != "legacy", heard, log)
        for step in steps:
            try:
                out.append(await take(sdk, step))
            except MCPError as error:
                out.append({"error": {"code": error.error.code, "message": error.error.message}})
    print(json.dumps(out))


asyncio.run(main())
