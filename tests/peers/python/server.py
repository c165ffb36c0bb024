"""An MCP server as the Python SDK makes it, in both eras: one tool of each kind that matters to a gateway."""

import argparse
import asyncio
from typing import Annotated, get_args

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.types import (
    Completion,
    EmptyResult,
    LoggingLevel,
    PromptReference,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    UnsubscribeRequestParams,
)
from pydantic import BaseModel

server = MCPServer("python", instructions="Ask it sums.")


class Total(BaseModel):
    total: int


class Answer(BaseModel):
    name: str


@server.tool()
def echo(message: str) -> list[TextContent]:
    """Repeats a message."""
    return [TextContent(type="text", text=message)]


@server.tool()
def add(a: int, b: int) -> Total:
    """Adds two integers, with a structured result."""
    return Total(total=a + b)


@server.tool()
def picture() -> Image:
    """A picture of eight bytes."""
    return Image(data=b"\x89PNG\r\n\x1a\n", format="png")


@server.tool()
def fail(message: str) -> str:
    """Fails."""
    raise ValueError(message)


@server.tool()
async def count(to: int, context: Context) -> str:
    """Counts, and tells how far it is."""
    for number in range(1, to + 1):
        await context.report_progress(number, to)
    return f"counted to {to}"


@server.tool()
async def log(context: Context) -> str:
    """Logs at three levels."""
    # In the modern era the SDK itself keeps to what the request wants.
    wanted = context.session._connection.state.get("level", "debug")
    levels = get_args(LoggingLevel)
    for level in ("info", "warning", "error"):
        if levels.index(level) >= levels.index(wanted):
            await context.log(level, f"of level {level}", logger_name="python")
    return "logged"


async def set_level(context, params) -> EmptyResult:
    context.session._connection.state["level"] = params.level
    return EmptyResult()


cancellations = 0


@server.tool()
async def wait(context: Context) -> str:
    """Tells that it has begun, and waits."""
    global cancellations
    await context.report_progress(1)
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        cancellations += 1
        raise
    return "Nobody cancelled it."


@server.tool()
async def cancelled() -> str:
    """How many calls were cancelled."""
    return str(cancellations)


class Events(EventStore):
    """All events since the start, each by its number."""

    def __init__(self):
        self.events = []

    async def store_event(self, stream_id, message):
        self.events.append((stream_id, message))
        return str(len(self.events))

    async def replay_events_after(self, last_event_id, send_callback):
        last = int(last_event_id)
        stream = self.events[last - 1][0]
        for number, (of, message) in enumerate(self.events[last:], last + 1):
            if of == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


@server.tool()
async def rest(context: Context) -> str:
    """Ends its stream before it answers, where it can be resumed."""
    await context.close_sse_stream()
    await asyncio.sleep(0.5)
    return "rested"


async def who() -> Elicit[Answer]:
    return Elicit("Who are you?", Answer)


@server.tool()
def greet(answer: Annotated[Answer, Resolve(who)]) -> str:
    """Asks the user for a name."""
    return f"Hello, {answer.name}"


async def subscribe(context, params) -> EmptyResult:
    return EmptyResult()


# Only the server below has subscriptions and levels.
for method, params, handler in (
    ("resources/subscribe", SubscribeRequestParams, subscribe),
    ("resources/unsubscribe", UnsubscribeRequestParams, subscribe),
    ("logging/setLevel", SetLevelRequestParams, set_level),
):
    server._lowlevel_server.add_request_handler(method, params, handler)


@server.tool()
async def touch(uri: str, context: Context) -> str:
    """Says that a resource changed."""
    await context.session.send_resource_updated(uri)
    return uri


@server.prompt()
def poem(about: str) -> str:
    """Asks for a poem."""
    return f"A poem about {about}, please."


@server.resource("note://fixed")
def fixed() -> str:
    """A note that never changes."""
    return "fixed"


@server.resource("note://other")
def other() -> str:
    """Another note."""
    return "other"


@server.resource("note://of/{name}")
def note(name: str) -> str:
    """A note of somebody's."""
    return f"a note of {name}"


@server.completion()
async def complete(reference, argument, _context):
    """Topics of poems, and names of those who have notes."""
    known = ("rain", "river", "sun") if isinstance(reference, PromptReference) else ("Ada", "Alan", "Grace")
    return Completion(values=[value for value in known if value.startswith(argument.value)])


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--sse", action="store_true", help="the transport of 2024-11-05")
    arguments.add_argument("--resumable", action="store_true", help="streams can be resumed")
    given = arguments.parse_args()
    listen = {"host": "0.0.0.0", "port": given.port}
    if given.resumable:
        server.run(transport="streamable-http", event_store=Events(), retry_interval=100, **listen)
    else:
        server.run(transport="sse" if given.sse else "streamable-http", **listen)
