"""An MCP server as FastMCP makes it, in both eras: what `offers` has, and what FastMCP does in its own way."""

import argparse

from fastmcp import Context, FastMCP
from fastmcp.utilities.types import Image
from offers import PAGE, Answer, complete, offer

server = FastMCP("fast", instructions="Ask it sums.", list_page_size=PAGE)
offer(server, Context, Image, "fast")
server.completion(complete)


@server.tool
async def log(context: Context) -> str:
    """Logs at three levels."""
    for level in ("info", "warning", "error"):
        await context.log(f"of level {level}", level=level, logger_name="fast")
    return "logged"


@server.tool
async def greet(context: Context) -> str:
    """Asks the user for a name, where the client has a session."""
    answer = await context.elicit("Who are you?", Answer)
    return f"Hello, {answer.data.name}"


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, required=True)
    port = arguments.parse_args().port
    server.run(transport="http", host="0.0.0.0", port=port, show_banner=False)
