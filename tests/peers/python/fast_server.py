"""An MCP server as FastMCP makes it, in both eras: one tool of each kind that matters to a gateway."""

import argparse
import asyncio

from fastmcp import Context, FastMCP
from fastmcp.utilities.types import Image
from mcp.types import Completion, PromptReference
from pydantic import BaseModel

server = FastMCP("fast", instructions="Ask it sums.")


class Total(BaseModel):
    total: int


class Answer(BaseModel):
    name: str


@server.tool
def echo(message: str) -> str:
    """Repeats a message."""
    return message


@server.tool
def add(a: int, b: int) -> Total:
    """Adds two integers, with a structured result."""
    return Total(total=a + b)


@server.tool
def picture() -> Image:
    """A picture of eight bytes."""
    return Image(data=b"\x89PNG\r\n\x1a\n", format="png")


@server.tool
def fail(message: str) -> str:
    """Fails."""
    raise ValueError(message)


@server.tool
async def count(to: int, context: Context) -> str:
    """Counts, and tells how far it is."""
    for number in range(1, to + 1):
        await context.report_progress(number, to)
    return f"counted to {to}"


@server.tool
async def log(context: Context) -> str:
    """Logs at three levels."""
    for level in ("info", "warning", "error"):
        await context.log(f"of level {level}", level=level, logger_name="fast")
    return "logged"


cancellations = 0


@server.tool
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


@server.tool
async def cancelled() -> str:
    """How many calls were cancelled."""
    return str(cancellations)


@server.tool
async def greet(context: Context) -> str:
    """Asks the user for a name, where the client has a session."""
    answer = await context.elicit("Who are you?", Answer)
    return f"Hello, {answer.data.name}"


@server.prompt
def poem(about: str) -> str:
    """Asks for a poem."""
    return f"A poem about {about}, please."


@server.resource("fast://fixed")
def fixed() -> str:
    """A note that never changes."""
    return "fixed"


@server.resource("fast://of/{name}")
def note(name: str) -> str:
    """A note of somebody's."""
    return f"a note of {name}"


@server.completion
async def complete(reference, argument, _context):
    """Topics of poems, and names of those who have notes."""
    known = ("rain", "river", "sun") if isinstance(reference, PromptReference) else ("Ada", "Alan", "Grace")
    return Completion(values=[value for value in known if value.startswith(argument.value)])


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, required=True)
    port = arguments.parse_args().port
    server.run(transport="http", host="0.0.0.0", port=port, show_banner=False)
