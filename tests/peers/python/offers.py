"""What both Python servers offer, each as its own SDK makes it: one tool of each kind that matters to a gateway."""

import asyncio

from mcp.server.session import ServerMessageMetadata
from mcp.shared.exceptions import UrlElicitationRequiredError
from mcp.types import (
    Completion,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestURLParams,
    ElicitResult,
    ListRootsRequest,
    ListRootsResult,
    PromptReference,
    SamplingMessage,
    TextContent,
)
from mcp_types import InputRequiredResult
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel

# Items on one page of a list.
PAGE = 2
# How long a call takes that is to be cancelled, in seconds.
LONG = 30
# Where a user is sent, why, and as what.
VISIT = {"message": "Please sign in.", "url": "https://example.com/visit?who=Ada&then=%2Fhome"}
VISIT_ID = "visit-1"


class Total(BaseModel):
    total: int


class Answer(BaseModel):
    name: str


def is_modern(context):
    """Whether the client has no session."""
    return context.session.protocol_version in MODERN_PROTOCOL_VERSIONS


async def ask(context, request, kind):
    """What the client answers to this; or what the call is to result in, for the client to answer that."""
    if is_modern(context):
        answer = (context.input_responses or {}).get("asked")
        return answer or InputRequiredResult(input_requests={"asked": request})
    related = ServerMessageMetadata(related_request_id=context.request_id)
    return await context.session.send_request(request, kind, metadata=related)


def offer(server, Context, Image, scheme):
    """Adds it all to a server, whose resources have this scheme."""
    cancellations = 0

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
    async def wait(context: Context) -> str:
        """Tells that it has begun, and waits."""
        nonlocal cancellations
        await context.report_progress(1)
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            cancellations += 1
            raise
        return "Nobody cancelled it."

    @server.tool()
    async def cancelled() -> str:
        """How many calls were cancelled."""
        return str(cancellations)

    @server.tool()
    async def ping(context: Context) -> str:
        """Pings the client, where that has a session."""
        await context.session.send_ping()
        return "It is there."

    @server.tool()
    async def sample(prompt: str, context: Context):
        """Asks the client's model."""
        message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
        request = CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=10))
        answer = await ask(context, request, CreateMessageResult)
        return answer if isinstance(answer, InputRequiredResult) else f"The model says: {answer.content.text}"

    @server.tool()
    async def roots(context: Context):
        """Asks for the client's roots."""
        answer = await ask(context, ListRootsRequest(), ListRootsResult)
        if isinstance(answer, InputRequiredResult):
            return answer
        return f"Its roots: {[str(root.uri) for root in answer.roots]}"

    @server.tool()
    async def visit(context: Context):
        """Sends the user to a page, and tells when the user is done there, where the client has a session."""
        own = None if is_modern(context) else VISIT_ID
        request = ElicitRequest(params=ElicitRequestURLParams(elicitation_id=own, **VISIT))
        answer = await ask(context, request, ElicitResult)
        if isinstance(answer, InputRequiredResult):
            return answer
        if own is not None:
            await context.session.send_elicit_complete(own, context.request_id)
        return f"The user's word: {answer.action}"

    @server.tool()
    async def gate() -> str:
        """Wants a page visited before it is called at all."""
        raise UrlElicitationRequiredError([ElicitRequestURLParams(elicitation_id=VISIT_ID, **VISIT)])

    @server.prompt()
    def poem(about: str) -> str:
        """Asks for a poem."""
        return f"A poem about {about}, please."

    @server.prompt()
    def joke() -> str:
        """Asks for a joke."""
        return "A joke, please."

    @server.prompt()
    def riddle() -> str:
        """Asks for a riddle."""
        return "A riddle, please."

    @server.resource(f"{scheme}://fixed")
    def fixed() -> str:
        """A note that never changes."""
        return "fixed"

    @server.resource(f"{scheme}://other")
    def other() -> str:
        """Another note."""
        return "other"

    @server.resource(f"{scheme}://third")
    def third() -> str:
        """A third note."""
        return "third"

    @server.resource(f"{scheme}://of/{{name}}")
    def note(name: str) -> str:
        """A note of somebody's."""
        return f"a note of {name}"


async def complete(reference, argument, _context):
    """Topics of poems, and names of those who have notes."""
    known = ("rain", "river", "sun") if isinstance(reference, PromptReference) else ("Ada", "Alan", "Grace")
    return Completion(values=[value for value in known if value.startswith(argument.value)])
