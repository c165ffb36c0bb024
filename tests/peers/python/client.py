"""An MCP client as the Python SDK makes it. Takes a URL, an era and steps as JSON; prints what each step gave."""

import asyncio
import json
import sys

from mcp import Client, types
from mcp.shared.exceptions import MCPError


async def elicited(_context, _params):
    return types.ElicitResult(action="accept", content={"name": "Ada"})


async def sampled(_context, _params):
    text = types.TextContent(type="text", text="sampled")
    return types.CreateMessageResult(role="assistant", model="m", content=text)


async def roots(_context):
    return types.ListRootsResult(roots=[])


def plain(result):
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


async def take(client, step):
    kind = step["do"]
    if kind == "tools":
        return [plain(tool) for tool in (await client.list_tools()).tools]
    if kind == "prompts":
        return [plain(prompt) for prompt in (await client.list_prompts()).prompts]
    if kind == "resources":
        return [plain(resource) for resource in (await client.list_resources()).resources]
    if kind == "templates":
        return [plain(template) for template in (await client.list_resource_templates()).resource_templates]
    if kind == "call":
        steps = []

        async def progress(done, total, _message):
            steps.append([done, total])

        result = plain(await client.call_tool(step["name"], step["arguments"], progress_callback=progress))
        return {"result": result, "progress": steps}
    if kind == "prompt":
        return plain(await client.get_prompt(step["name"], step["arguments"]))
    if kind == "read":
        return plain(await client.read_resource(step["uri"]))
    if kind == "ping":
        return plain(await client.send_ping())
    raise SystemExit(f"no such step: {kind}")


ABILITIES = {"elicitation_callback": elicited, "sampling_callback": sampled, "list_roots_callback": roots}


async def main():
    url, era, steps = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    mode = "legacy" if era == "legacy" else "2026-07-28"
    out = []
    async with Client(url, mode=mode, cache=None, **ABILITIES) as client:
        for step in steps:
            try:
                out.append(await take(client, step))
            except MCPError as error:
                out.append({"error": {"code": error.error.code, "message": error.error.message}})
    print(json.dumps(out))


asyncio.run(main())
