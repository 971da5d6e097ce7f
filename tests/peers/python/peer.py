"""The Python MCP SDK's own client against the demo, in both eras of the protocol.

Given nothing but the file that `cargo demo -- --ready-file F` writes: a URL and tokens.
"""

import asyncio
import json
import sys

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

ARGUMENTS = {
    "snapshot_create": {"dataset": "tank/photos", "name": None},
    "app_config": {"app": "plex"},
    "app_get": {"app": "plex"},
    "app_logs": {"app": "plex", "lines": 5},
    "app_upgrade_summary": {"app": "plex"},
    "catalog_get": {"app": "syncthing"},
    "catalog_search": {"text": "jelly"},
    "metrics": {"kind": "cpu"},
    "vm_devices": {"id": 1},
}
STORAGE = ["datasets_list", "disks_list", "pool_capacity", "pools_list", "scrub_status", "snapshots_list"]
EXPECTED = {
    "alice": sorted([
        *STORAGE, "alerts_list", "audit_query", "backup_coverage", "backup_list", "boot_env_list", "certificates_list",
        "directory_status", "groups_list", "jobs_list", "network_config", "services_list", "shares_list", "app_config",
        "app_currency", "app_get", "app_logs", "app_ports", "app_stats", "app_upgrade_summary", "apps_list", "catalog_get",
        "catalog_search", "containers_list", "images_list", "metrics", "vm_devices", "vms_list",
        "snapshot_create", "system_health", "system_info", "update_check", "users_list", "whoami",
    ]),
    "bob": sorted([*STORAGE, "whoami"]),
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


async def tools_of(ready, user, mode):
    http = http_client(user)
    transport = streamable_http_client(ready["mcp_url"], http_client=http)
    async with http, Client(transport, mode=mode) as client:
        era = client.session.protocol_version
        listed = await client.list_tools()
        names = [tool.name for tool in listed.tools]
        print(f"{user['name']}, asked for {mode}, speaks {era}: {', '.join(names)}")
        check("the tools the grants give, sorted", names == EXPECTED[user["name"]])
        for tool in listed.tools:
            arguments = dict(ARGUMENTS.get(tool.name, {}))
            if tool.name == "snapshot_create":
                arguments["name"] = f"by-python-{mode.replace('-', '')}"
            for _ in range(50):  # ready comes before the NAS does
                steps = []

                async def progress(done, total, message):
                    steps.append((done, total, message))

                answer = await client.call_tool(tool.name, arguments, progress_callback=progress)
                text = answer.content[0].text
                # Not there yet, or faster than one caller may ask.
                if not (answer.is_error and ("away" in text or "too many calls" in text)):
                    break
                await asyncio.sleep(0.1)
            said = answer.content[0].text.splitlines()[0] if answer.content else "nothing"
            check(f"{tool.name}: {said[:90]}", not answer.is_error)
            # The SDK has checked the data against the tool's output schema.
            check(f"{tool.name}: data and text", bool(answer.structured_content) and bool(said))
            read_only = tool.annotations.read_only_hint
            check(f"{tool.name}: says truly whether it only reads", read_only == (tool.name != "snapshot_create"))
            if tool.name == "pools_list":
                check(f"{tool.name}: told how far it is", len(steps) > 0)
        if user["name"] == "bob":
            refused = await client.call_tool("snapshot_create", {"dataset": "tank/photos", "name": "bob"})
            check("what bob's list does not hold he cannot call", refused.is_error)
            check("and he is told which grant is missing", "storage:write" in refused.content[0].text)
        try:
            await client.call_tool("no_such_tool", {})
            check("an unknown tool is an error", False)
        except MCPError as error:
            check("an unknown tool is an error", error.error.code == -32602)


async def status_of(ready, token, source):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    transport = httpx2.AsyncHTTPTransport(local_address=source)
    async with httpx2.AsyncClient(transport=transport) as client:
        return (await client.post(ready["mcp_url"], json=body, headers=headers)).status_code


async def main(path):
    with open(path, encoding="utf-8") as file:
        ready = json.load(file)
    users = {user["name"]: user for user in ready["users"]}
    for mode in ["legacy", "2026-07-28", "auto"]:
        for name in ["alice", "bob"]:
            await tools_of(ready, users[name], mode)
    check("alice's token from bob's address: 401", await status_of(ready, users["alice"]["token"], "127.0.0.2") == 401)
    check("a tagged node: 403", await status_of(ready, users["alice"]["token"], "127.0.0.3") == 403)
    check("a token nobody issued: 401", await status_of(ready, "0" * 32, "127.0.0.1") == 401)
    print(f"{'all well' if not failed else f'{failed} FAILED'}")
    return failed != 0


sys.exit(asyncio.run(main(sys.argv[1])))
