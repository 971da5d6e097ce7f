"""The Python MCP SDK's own client against the demo, in both eras of the protocol, and through the whole OAuth flow.

Given the file that `cargo demo -- --ready-file F` writes (a URL and tokens), what `tailnas tools --json` prints, to hold
the answers against, and the process of the demo, which restarts the daemon (SIGUSR2) and ends tokens (SIGUSR1).
"""

import asyncio
import json
import os
import signal
import sys
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client, MCPError
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import OAuthClientMetadata

# What the demo's NAS has, for the arguments that a tool demands.
REQUIRED = {
    "app": "plex",
    "compose": "services:\n  web:\n    image: nginx:1.29\n",
    "dataset": "tank/photos",
    "id": 1,
    "kind": "cpu",
    "path": "/mnt/tank/photos",
    "pool": "tank",
    "text": "jelly",
}
# Arguments beyond those, or others.
ARGUMENTS = {
    "app_logs": {"lines": 5},
    "catalog_get": {"app": "syncthing"},
}

failed = 0


def check(claim, holds):
    global failed
    print(f"  {'ok  ' if holds else 'FAIL'} {claim}")
    failed += not holds


def http_client(user, source=None):
    client = create_mcp_http_client(headers={"Authorization": f"Bearer {user['token']}"})
    transport = httpx2.AsyncHTTPTransport(local_address=source or user["address"])
    client._transport = transport
    client._mounts = {}
    return client


def usable_by(user, catalogue):
    """The tools that a user's scopes open, in the order of their names. Plans, and taking back what was changed, are for
    whoever may change something."""
    changes = any(tool["risk"] != "read" and tool["scope"] in user["scopes"] for tool in catalogue)
    open_to_all = [tool for tool in catalogue if tool["scope"] is None]
    about_changes = {tool["name"] for tool in open_to_all if tool["name"].startswith("plan") or tool["risk"] != "read"}
    scoped = {tool["name"] for tool in catalogue if tool["scope"] in user["scopes"]}
    return sorted(scoped | {tool["name"] for tool in open_to_all} - (set() if changes else about_changes))


def arguments_of(tool, mode, plan):
    known = REQUIRED | {"plan": plan}
    arguments = {name: known[name] for name in tool.input_schema.get("required", []) if name in known}
    arguments |= ARGUMENTS.get(tool.name, {})
    if tool.name == "snapshot_create":
        arguments["name"] = f"by-python-{mode.split('-')[0]}"
    return arguments


async def patiently(call):
    """Calls until the NAS is there (ready comes before it is) and the caller's budget has room."""
    for _ in range(50):
        answer = await call()
        text = answer.content[0].text if answer.content else ""
        if not (answer.is_error and ("away" in text or "too many calls" in text)):
            return answer
        await asyncio.sleep(0.1)
    return answer


async def tools_of(ready, catalogue, user, mode):
    http = http_client(user)
    transport = streamable_http_client(ready["mcp_url"], http_client=http)
    async with http, Client(transport, mode=mode) as client:
        era = client.session.protocol_version
        listed = await client.list_tools()
        names = [tool.name for tool in listed.tools]
        print(f"{user['name']}, asked for {mode}, speaks {era}: {', '.join(names)}")
        check("the tools the grants give, sorted", names == usable_by(user, catalogue))
        # Taking a plan back changes nothing of the NAS, and is not reading.
        reads = {tool["name"] for tool in catalogue if tool["risk"] == "read"} - {"plan_cancel"}
        hinted = {tool.name for tool in listed.tools if tool.annotations.read_only_hint}
        check("they say truly which of them only read", hinted == reads & set(names))
        plan = None
        if "plan_show" in names:
            change = {"dataset": "tank/photos", "name": f"only-planned-{mode.split('-')[0]}"}
            planned = await patiently(lambda: client.call_tool("snapshot_create", change))
            plan = planned.structured_content["plan"]
            check("a change that nobody confirmed is a plan", planned.structured_content["state"] == "waiting")
        # One change is enough here; the others wait for a person.
        for tool in (tool for tool in listed.tools if tool.annotations.read_only_hint or tool.name in ("snapshot_create", "plan_cancel")):
            arguments = arguments_of(tool, mode, plan)
            steps = []

            async def progress(done, total, message):
                steps.append((done, total, message))

            answer = await patiently(lambda: client.call_tool(tool.name, arguments, progress_callback=progress))
            said = answer.content[0].text.splitlines()[0] if answer.content else "nothing"
            check(f"{tool.name}: {said[:90]}", not answer.is_error)
            # The SDK has checked the data against the tool's output schema, where it has one.
            check(f"{tool.name}: data and text", bool(answer.structured_content) and bool(said))
            if tool.name == "pools_list":
                check(f"{tool.name}: told how far it is", len(steps) > 0)
            if tool.name == "snapshot_create":
                confirmed = arguments | answer.structured_content["confirm_with"]
                answer = await patiently(lambda: client.call_tool(tool.name, confirmed))
                check(f"{tool.name}, confirmed: {answer.content[0].text.splitlines()[0]}", not answer.is_error)
        if user["name"] == "bob":
            change = {"dataset": "tank/photos", "name": "bob"}
            refused = await patiently(lambda: client.call_tool("snapshot_create", change))
            check("what bob's list does not hold he cannot call", refused.is_error)
            check("and he is told which grant is missing", "storage:write" in refused.content[0].text)
        try:
            await patiently(lambda: client.call_tool("no_such_tool", {}))
            check("an unknown tool is an error", False)
        except MCPError as error:
            check("an unknown tool is an error", error.error.code == -32602)


async def status_of(ready, token, source):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    transport = httpx2.AsyncHTTPTransport(local_address=source)
    async with httpx2.AsyncClient(transport=transport) as client:
        return (await client.post(ready["mcp_url"], json=body, headers=headers)).status_code


class Keeper:
    """What a program that uses the SDK keeps for it. The browser is a GET: the provider knows alice by her address."""

    tokens = None
    client = None
    logins = 0
    back = "http://127.0.0.1:33418/callback"

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info

    async def redirect(self, url):
        self.logins += 1
        async with httpx2.AsyncClient() as browser:
            sent = await browser.get(url)
        self.sent_back = parse_qs(urlsplit(sent.headers["location"]).query)

    async def callback(self):
        return AuthorizationCodeResult(code=self.sent_back["code"][0], state=self.sent_back["state"][0])


async def restart(ready_file, demo):
    def pid():
        try:
            with open(ready_file, encoding="utf-8") as file:
                return json.load(file)["pid"]
        except json.JSONDecodeError:
            return before

    before = None
    before = pid()
    os.kill(demo, signal.SIGUSR2)
    for _ in range(300):
        if pid() != before:
            return
        await asyncio.sleep(0.1)
    raise RuntimeError("the daemon did not come back")


async def through_restart_and_refresh(ready_file, url, demo, mode):
    """A daemon that is started again, and a token that is good no more: neither may trouble a client."""
    keeper = Keeper()
    metadata = OAuthClientMetadata(
        client_name="peer", redirect_uris=[keeper.back], token_endpoint_auth_method="client_secret_post"
    )
    auth = OAuthClientProvider(url, metadata, keeper, keeper.redirect, keeper.callback)
    http = create_mcp_http_client(auth=auth)
    async with http, Client(streamable_http_client(url, http_client=http), mode=mode) as client:
        async def calls(what):
            answer = await patiently(lambda: client.call_tool("pools_list", {}))
            check(f"{mode}, logged in: calls {what}", not answer.is_error)

        await calls("a tool")
        first = keeper.tokens.access_token
        await restart(ready_file, demo)
        await calls("a daemon that was restarted")
        check(f"{mode}: has the same token still", keeper.tokens.access_token == first)
        # This SDK goes by its own clock alone.
        auth.context.token_expiry_time = 1
        await calls("when its token has run out by its clock")
        second = keeper.tokens.access_token
        check(f"{mode}: has refreshed it", second != first and keeper.logins == 1)
        os.kill(demo, signal.SIGUSR1)
        # So that nobody remembers the token as good.
        await restart(ready_file, demo)
        await calls("when its token is good no more, and it did not know")
        check(f"{mode}: has got another", keeper.tokens.access_token != second)
        check(f"{mode}: by a second login, since a 401 makes it log in again and not refresh", keeper.logins == 2)


async def main(ready_file, catalogue_file, demo):
    with open(ready_file, encoding="utf-8") as file:
        ready = json.load(file)
    with open(catalogue_file, encoding="utf-8") as file:
        catalogue = json.load(file)["tools"]
    users = {user["name"]: user for user in ready["users"]}
    for mode in ["legacy", "2026-07-28", "auto"]:
        for name in ["alice", "bob"]:
            await tools_of(ready, catalogue, users[name], mode)
    for mode in ["legacy", "2026-07-28"]:
        await through_restart_and_refresh(ready_file, ready["mcp_url"], int(demo), mode)
    check("alice's token from bob's address: 401", await status_of(ready, users["alice"]["token"], "127.0.0.2") == 401)
    check("a tagged node: 403", await status_of(ready, users["alice"]["token"], "127.0.0.3") == 403)
    check("a token nobody issued: 401", await status_of(ready, "0" * 32, "127.0.0.1") == 401)
    print(f"{'all well' if not failed else f'{failed} FAILED'}")
    return failed != 0


sys.exit(asyncio.run(main(*sys.argv[1:])))
