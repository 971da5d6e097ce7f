//! What the demo says once it runs.

use std::time::Duration;

use serde_json::json;
use tailnas_sim::daemon::Daemon;
use tailnas_sim::world::{ALICE, PEOPLE, World};

/// The text for the person who started it.
pub fn text(world: &World, daemon: &Daemon, lifetime: Duration) -> String {
    let url = world.mcp_url();
    let token = world.token(ALICE, lifetime).unwrap_or_default();
    let people: Vec<_> = PEOPLE
        .iter()
        .map(|person| {
            let who = person.login.unwrap_or("a tagged node, which is nobody");
            format!(
                "  {:<10} {:<6} {who}; {}",
                person.address.to_string(),
                person.name,
                person.scopes.join(" ")
            )
        })
        .collect();
    format!(
        r#"tailnas is ready after {ready} ms. Tailnet, provider and NAS are simulated; the daemon is the real one.

  MCP URL    {url}
  console    {origin}/console
  provider   {issuer}
  NAS        {nas}
  audit log  {audit}
  its words  {log}
  health     http://{health}/readyz and /metrics

People, by the address a request comes from:
{people}

A call as alice (token good for {hours} h; real ones last five minutes):

  curl -s {url} -H 'Authorization: Bearer {token}' \
    -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \
    -d '{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"whoami","arguments":{{}}}}}}'

The same token from bob's address is refused: add `--interface 127.0.0.2` to the line above.

Connect a client. This one logs in at the simulated provider by itself, as alice:

  mcp-remote    npx mcp-remote {url} --allow-http
                (Claude Desktop starts this from claude_desktop_config.json)

These as their vendors document them; nobody has run them against it yet:

  Claude Code   claude mcp add --transport http tailnas {url}
                then /mcp, "Authenticate"
  VS Code       .vscode/mcp.json   {{"servers":{{"tailnas":{{"type":"http","url":"{url}"}}}}}}

Enrol a passkey, to approve what interrupts others or can lose data:

  cargo run -q -- passkey enroll alice@example.com --config {config}

Look at the log:

  cargo run -- audit verify --dir {audit}
  cargo run -- audit tail --dir {audit}

Ctrl-C ends it; nothing is left behind."#,
        people = people.join("\n"),
        health = world.metrics_address(),
        ready = daemon.ready_after.as_millis(),
        origin = world.origin(),
        issuer = world.tsidp.issuer(),
        nas = world.nas.url(),
        config = world.config().display(),
        audit = world.audit_dir().display(),
        log = world.audit_dir().with_file_name("daemon.log").display(),
        hours = lifetime.as_secs() / 3600,
    )
}

/// The same for programs.
pub fn ready_file(world: &World, daemon: &Daemon, lifetime: Duration) -> String {
    let users: Vec<_> = PEOPLE
        .iter()
        .map(|person| {
            json!({
                "name": person.name,
                "address": person.address,
                "token": world.token(*person, lifetime),
                "scopes": person.scopes,
            })
        })
        .collect();
    let ready = json!({
        "pid": daemon.pid(),
        "mcp_url": world.mcp_url(),
        "console": format!("{}/console", world.origin()),
        "config": world.config(),
        "issuer": world.tsidp.issuer(),
        "nas_url": world.nas.url(),
        "audit_dir": world.audit_dir(),
        "users": users,
    });
    format!("{ready:#}\n")
}
