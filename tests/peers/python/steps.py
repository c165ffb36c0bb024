"""The steps of a client, as both Python SDKs take them."""

import asyncio
import contextlib

from mcp.client.subscriptions import listen

# For a notification to arrive.
SOON = 10
# How often, and after how many seconds, a server is asked whether it has noticed something.
TRIES = 50
PAUSE = 0.1


# The loudest level at which a tool logs: nothing comes after it.
LOUDEST = "error"
# Where a request of the modern era says from which level on it wants to hear.
LEVEL = "io.modelcontextprotocol/logLevel"


# The page that a user visits, if a server asks for that in these words.
VISIT = {"message": "Please sign in.", "url": "https://example.com/visit?who=Ada&then=%2Fhome"}


def visited(params):
    """What the user says of a page that a server would have visited; `None` where it asks for something else."""
    if params.mode != "url":
        return None
    return "accept" if all(getattr(params, name) == said for name, said in VISIT.items()) else "decline"


def answered(messages):
    """What a model answers."""
    return f"an answer to {messages[-1].content.text}"


class News:
    """What a server tells unasked: each notification's method, and what it is about."""

    def __init__(self):
        self.heard, self.more = set(), asyncio.Event()

    async def __call__(self, message):
        message = getattr(message, "root", message)
        if method := getattr(message, "method", None):
            params = plain(message).get("params") or {}
            self.heard.add((method, params.get("uri") or params.get("elicitationId")))
            self.more.set()

    async def until(self, method, about=None):
        """Waits for one that was not heard yet."""
        async with asyncio.timeout(SOON):
            while (method, about) not in self.heard:
                self.more.clear()
                await self.more.wait()


class Log:
    """What a server logs."""

    def __init__(self):
        self.messages, self.news = [], asyncio.Event()

    async def __call__(self, message):
        message = plain(message)
        self.messages.append({name: message.get(name) for name in ("level", "logger", "data")})
        self.news.set()

    async def until(self, is_last):
        """All messages until there is one for which this holds."""
        try:
            async with asyncio.timeout(SOON):
                while not any(map(is_last, self.messages)):
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            pass
        return list(self.messages)


def plain(result):
    """A value of the SDK as JSON."""
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


async def take(sdk, step):
    """Takes a step; what it gave."""
    kind = step["do"]
    if kind == "hello":
        client = sdk.client
        said = {"capabilities": plain(client.server_capabilities), "instructions": client.instructions}
        if client.server_info is not None:
            said["server"] = plain(client.server_info)
        return said
    if kind in ("tools", "prompts", "resources", "templates"):
        return await listed(getattr(sdk, kind))
    if kind == "ping":
        await sdk.client.send_ping() if hasattr(sdk.client, "send_ping") else await sdk.client.ping()
        return {}
    if kind == "call":
        steps = []

        async def progress(done, total, _message):
            steps.append([done, total])

        sdk.news.heard.clear()
        result = await sdk.call(step["name"], step["arguments"], progress)
        if "completes" in step:
            await sdk.news.until("notifications/elicitation/complete", step["completes"])
        return {"result": result, "progress": steps}
    if kind == "prompt":
        return await sdk.prompt(step["name"], step["arguments"])
    if kind == "read":
        return await sdk.read(step["uri"])
    if kind == "complete":
        reference = {"type": "ref/resource", "uri": step["uri"]} if "uri" in step else None
        reference = reference or {"type": "ref/prompt", "name": step["name"]}
        return await sdk.complete(reference, step["argument"], step.get("given"))
    if kind == "log":
        sdk.log.messages.clear()
        if sdk.modern:
            if sdk.can_be_quiet:
                # Of this one nothing is to be heard.
                await sdk.call(step["name"], {})
            result = await sdk.call(step["name"], {}, meta={LEVEL: step["level"]})
        else:
            await sdk.client.set_logging_level(step["level"])
            result = await sdk.call(step["name"], {})
        return {"heard": await sdk.log.until(lambda message: message["level"] == LOUDEST), "result": result}
    if kind == "acknowledged":
        return await acknowledged(sdk, step)
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
        uri = step.get("uri")
        async with hear(sdk, uri):
            sdk.news.heard.clear()
            await sdk.call(step["name"], step.get("arguments", {}))
            await sdk.news.until("notifications/resources/updated" if uri else "notifications/tools/list_changed", uri)
        if uri is None:
            await sdk.call(step["name"], {})
        return {"heard": True}
    raise SystemExit(f"no such step: {kind}")


@contextlib.asynccontextmanager
async def hear(sdk, uri):
    """Has the server tell of a resource's updates, or without one of changes of the tools."""
    if not sdk.modern:
        if uri is not None:
            await sdk.session.subscribe_resource(uri)
        yield
        if uri is not None:
            await sdk.session.unsubscribe_resource(uri)
        return
    wanted = {"resource_subscriptions": [uri]} if uri else {"tools_list_changed": True}
    async with listen(sdk.session, **wanted):
        yield


async def listed(page):
    """All items of a list, by its pages."""
    items, pages, cursor = [], 0, None
    while cursor is not None or pages == 0:
        some, cursor = await page(cursor)
        items += [plain(item) for item in some]
        pages += 1
    return {"items": items, "pages": pages}


def failed(error):
    """An error as a step gives it."""
    said = {"code": error.error.code, "message": error.error.message}
    return {"error": said if error.error.data is None else {**said, "data": error.error.data}}


async def acknowledged(sdk, step):
    """What the server logs of two subscriptions, the first of them at a time when it is to log less."""
    quiet, loud = step["uris"]
    sdk.log.messages.clear()
    for level, uri in ((LOUDEST, quiet), (step["level"], loud)):
        await sdk.client.set_logging_level(level)
        await sdk.session.subscribe_resource(uri)
    messages = await sdk.log.until(lambda message: loud in str(message["data"]))
    await sdk.client.set_logging_level(LOUDEST)
    for uri in step["uris"]:
        await sdk.session.unsubscribe_resource(uri)
    ours = [message for message in messages if any(uri in str(message["data"]) for uri in step["uris"])]
    return {"heard": [{"level": one["level"], "data": one["data"].split(" from session")[0]} for one in ours]}


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
