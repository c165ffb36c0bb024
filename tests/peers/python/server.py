"""An MCP server as the Python SDK makes it, in both eras: what `offers` has, and what this SDK does in its own way."""

import argparse
import asyncio
from typing import Annotated, get_args

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.types import (
    EmptyResult,
    ListPromptsResult,
    ListResourcesResult,
    ListToolsResult,
    LoggingLevel,
    PaginatedRequestParams,
    SetLevelRequestParams,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)
from offers import PAGE, Answer, complete, is_modern, offer

server = MCPServer("python", instructions="Ask it sums.")
offer(server, Context, Image, "note")
server.completion()(complete)


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


@server.tool()
async def touch(uri: str, context: Context) -> str:
    """Says that a resource changed."""
    if is_modern(context):
        await context.notify_resource_updated(uri)
    else:
        await context.session.send_resource_updated(uri)
    return uri


def pages(list_all, result, items):
    """Lists a few items at a time, which this SDK leaves to the server below."""

    async def list_page(_context, params):
        listed = await list_all()
        start = int(params.cursor or 0)
        more = start + PAGE < len(listed)
        return result(**{items: listed[start : start + PAGE]}, next_cursor=str(start + PAGE) if more else None)

    return list_page


# Only the server below has subscriptions, levels and pages.
for method, params, handler in (
    ("resources/subscribe", SubscribeRequestParams, subscribe),
    ("resources/unsubscribe", UnsubscribeRequestParams, subscribe),
    ("logging/setLevel", SetLevelRequestParams, set_level),
    ("tools/list", PaginatedRequestParams, pages(server.list_tools, ListToolsResult, "tools")),
    ("prompts/list", PaginatedRequestParams, pages(server.list_prompts, ListPromptsResult, "prompts")),
    ("resources/list", PaginatedRequestParams, pages(server.list_resources, ListResourcesResult, "resources")),
):
    server._lowlevel_server.add_request_handler(method, params, handler)


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
