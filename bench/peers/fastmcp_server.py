"""What a user of FastMCP would have: the tools of the daemon under test, behind a bearer token.

usage: fastmcp_server.py ANSWERS.json bearer|introspection

ANSWERS.json is written by the benchmark: what the daemon answered, the tokens that are good, and the provider's
introspection endpoint. The port is printed once it listens. With `introspection` FastMCP asks the provider about each
token, and remembers for as long as the daemon does.
"""

import asyncio
import json
import socket
import sys

import httpx2
import uvicorn
from fastmcp import FastMCP
from fastmcp.server.auth.providers.introspection import IntrospectionTokenVerifier
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
from fastmcp.tools import Tool
from fastmcp.tools.base import ToolResult

with open(sys.argv[1], encoding="utf-8") as file:
    answers = json.load(file)
auth_by = sys.argv[2]

WHOAMI = ToolResult(
    content=answers["whoami"]["content"][0]["text"],
    structured_content=answers["whoami"]["structuredContent"],
)


class Listed(Tool):
    """A tool as the daemon describes it. Whatever it is asked, it says what the daemon said to `whoami`."""

    async def run(self, arguments):
        return WHOAMI


def verifier():
    if auth_by == "bearer":
        return StaticTokenVerifier({token: {"client_id": "bench", "scopes": []} for token in answers["tokens"]})
    return IntrospectionTokenVerifier(
        introspection_url=answers["introspection"],
        # The provider knows who asks by the address.
        client_id="bench",
        client_secret="bench",
        cache_ttl_seconds=answers["introspection_cache_seconds"],
        http_client=httpx2.AsyncClient(),
    )


mcp = FastMCP("bench", auth=verifier(), instructions=answers["discover"]["instructions"])
for tool in answers["tools"]["tools"]:
    mcp.add_tool(
        Listed(
            name=tool["name"],
            title=tool["title"],
            description=tool["description"],
            parameters=tool["inputSchema"],
            output_schema=tool.get("outputSchema"),
            annotations=tool["annotations"],
        )
    )

# By name: asyncio switches Nagle's algorithm off only where it sees that this is TCP, and answers would wait 40 ms.
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
listener.bind(("127.0.0.1", 0))
listener.listen(1024)
app = mcp.http_app(path="/mcp", stateless_http=True, json_response=True)
server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, backlog=1024))


async def main():
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        if serving.done():
            break
        await asyncio.sleep(0.001)
    else:
        print(listener.getsockname()[1], flush=True)
    await serving


asyncio.run(main())
