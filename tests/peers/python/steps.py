"""The steps of a client, as both Python SDKs take them."""

import asyncio

# For a notification to arrive.
SOON = 10
# How often, and after how many seconds, a server is asked whether it has noticed something.
TRIES = 50
PAUSE = 0.1


def plain(result):
    """A value of the SDK as JSON."""
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


async def take(sdk, step):
    """Takes a step; what it gave. What an SDK cannot do is skipped, with and without mcpgw."""
    kind = step["do"]
    if kind == "hello":
        client = sdk.client
        said = {"capabilities": plain(client.server_capabilities), "instructions": client.instructions}
        if client.server_info is not None:
            said["server"] = plain(client.server_info)
        return said
    if kind in ("tools", "prompts", "resources", "templates"):
        return [plain(item) for item in await getattr(sdk, kind)()]
    if kind == "call":
        steps = []

        async def progress(done, total, _message):
            steps.append([done, total])

        result = await sdk.call(step["name"], step["arguments"], progress)
        return {"result": result, "progress": steps}
    if kind == "prompt":
        return await sdk.prompt(step["name"], step["arguments"])
    if kind == "read":
        return await sdk.read(step["uri"])
    if kind == "complete":
        return await sdk.complete(step["name"], step["argument"])
    if kind == "cancel":
        before = await count(sdk, step)
        ended = await cancelled(sdk, step)
        for _ in range(TRIES):
            noticed = await count(sdk, step) > before
            if noticed:
                break
            await asyncio.sleep(PAUSE)
        return {"ended": ended, "noticed": noticed}
    if kind in ("changes", "updates"):
        if not hasattr(sdk, "hear"):
            return {"skipped": True}
        uri = step.get("uri")
        async with sdk.hear(uri) as heard:
            await sdk.call(step["name"], {})
            await asyncio.wait_for(heard.wait(), SOON)
        if uri is None:
            await sdk.call(step["name"], {})
        return {"heard": True}
    raise SystemExit(f"no such step: {kind}")


async def count(sdk, step):
    """How many calls the server has seen cancelled."""
    return int((await sdk.call(step["counter"], {}))["content"][0]["text"])


async def cancelled(sdk, step):
    """Cancels a call once it has begun."""
    begun = asyncio.Event()

    async def progress(_done, _total, _message):
        begun.set()

    call = asyncio.create_task(sdk.call(step["name"], {}, progress))
    await asyncio.wait_for(begun.wait(), SOON)
    call.cancel()
    try:
        await call
    except asyncio.CancelledError:
        return "cancelled"
    return "answered"
