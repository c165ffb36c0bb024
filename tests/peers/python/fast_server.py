"""An MCP server as FastMCP makes it, in both eras: one tool of each kind that matters to a gateway."""

import argparse

from fastmcp import Context, FastMCP
from fastmcp.utilities.types import Image
from pydantic import BaseModel

server = FastMCP("fast", instructions="Ask it sums.")


class Total(BaseModel):
    total: int


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


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, required=True)
    port = arguments.parse_args().port
    server.run(transport="http", host="0.0.0.0", port=port, show_banner=False)
