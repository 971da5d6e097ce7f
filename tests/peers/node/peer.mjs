// Clients of other people against the demo: the TypeScript SDK (both of its lines, both eras), Inspector's command line,
// mcp-remote, each with the whole OAuth flow too, through a restart of the daemon and the end of its token, and the
// requests that editors are known to send.
//
// Given the file that `cargo demo -- --ready-file F` writes (a URL and tokens), what `tailnas tools --json` prints, to
// hold the answers against, and the process of the demo, which restarts the daemon (SIGUSR2) and ends tokens (SIGUSR1).

import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Client, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { UnauthorizedError as UnauthorizedV1 } from "@modelcontextprotocol/sdk/client/auth.js";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [readyFile, catalogueFile, demo] = process.argv.slice(2);
const ready = JSON.parse(await readFile(readyFile, "utf8"));
const catalogue = JSON.parse(await readFile(catalogueFile, "utf8")).tools;
const alice = ready.users.find((user) => user.name === "alice");
const expected = catalogue
  .filter((tool) => tool.scope === null || tool.scope === undefined || alice.scopes.includes(tool.scope))
  .map((tool) => tool.name)
  .sort();
const work = await mkdtemp(join(tmpdir(), "peers-"));
const bin = new URL("node_modules/.bin/", import.meta.url).pathname;
let failed = 0;

function check(claim, holds, otherwise = "") {
  console.log(`  ${holds ? "ok  " : "FAIL"} ${claim}${holds ? "" : `: ${otherwise}`}`);
  if (!holds) failed += 1;
}

const same = (left, right) => JSON.stringify(left) === JSON.stringify(right);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Ready comes before the NAS does: a read is asked again until it is there.
async function patiently(call) {
  for (let attempt = 0; ; attempt += 1) {
    const answer = await call();
    const text = answer.content?.[0]?.text ?? "";
    if (!(answer.isError && /away|too many calls/.test(text)) || attempt === 50) return answer;
    await pause(100);
  }
}

async function used(name, client) {
  const { tools } = await client.listTools();
  check(`${name}: lists the tools of alice's grants`, same(tools.map((tool) => tool.name), expected), tools.length);
  const pools = await patiently(() => client.callTool({ name: "pools_list", arguments: {} }));
  const said = pools.content?.[0]?.text ?? "";
  check(`${name}: calls one that asks the NAS`, !pools.isError && said.includes("tank"), said);
  check(`${name}: gets it as data, too`, pools.structuredContent?.pools?.length > 0, JSON.stringify(pools));
  const unknown = await client.callTool({ name: "no_such_tool", arguments: {} }).then(() => undefined, (error) => error);
  check(`${name}: is told that a tool does not exist`, unknown?.code === -32602, unknown);
}

const bearer = { Authorization: `Bearer ${alice.token}` };

async function sdkTwo(name, versionNegotiation) {
  const client = new Client({ name: "peer", version: "1" }, { versionNegotiation });
  await client.connect(new StreamableHTTPClientTransport(new URL(ready.mcp_url), { requestInit: { headers: bearer } }));
  await used(name, client);
  await client.close();
}

async function sdkOne() {
  const client = new ClientV1({ name: "peer", version: "1" });
  await client.connect(new TransportV1(new URL(ready.mcp_url), { requestInit: { headers: bearer } }));
  await used("TypeScript SDK 1", client);
  await client.close();
}

async function restarted() {
  const { pid } = JSON.parse(await readFile(readyFile, "utf8"));
  process.kill(Number(demo), "SIGUSR2");
  for (let attempt = 0; attempt < 300; attempt += 1) {
    const now = await readFile(readyFile, "utf8").then(JSON.parse).catch(() => ({ pid }));
    if (now.pid !== pid) return;
    await pause(100);
  }
  throw new Error("the daemon did not come back");
}

// A daemon that is started again, and a token that is good no more: neither may trouble a client. `token` says which
// token it has, and `logins` how often a person had to log in.
async function outlives(name, client, token, logins) {
  const calls = async (what) => {
    const pools = await patiently(() => client.callTool({ name: "pools_list", arguments: {} })).catch((error) => error);
    check(`${name}: calls ${what}`, pools.content?.[0]?.text?.includes("tank"), `${pools.message ?? JSON.stringify(pools)}`);
  };
  const first = await token();
  await restarted();
  await calls("a daemon that was restarted");
  check(`${name}: has the same token still`, (await token()) === first);
  process.kill(Number(demo), "SIGUSR1");
  // So that nobody remembers the token as good.
  await restarted();
  await calls("when its token is good no more");
  check(`${name}: has got another`, (await token()) !== first);
  check(`${name}: without another login`, logins() === 1, logins());
}

// What a program that uses an SDK keeps for it. The browser is a fetch: the provider knows alice by her address.
class Keeper {
  logins = 0;
  redirectUrl = "http://127.0.0.1:33418/callback";
  clientMetadata = {
    client_name: "peer",
    redirect_uris: [this.redirectUrl],
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
    token_endpoint_auth_method: "client_secret_post",
  };
  clientInformation() { return this.client; }
  saveClientInformation(client) { this.client = client; }
  tokens() { return this.kept; }
  saveTokens(tokens) { this.kept = tokens; }
  saveCodeVerifier(verifier) { this.verifier = verifier; }
  codeVerifier() { return this.verifier; }
  async redirectToAuthorization(url) {
    this.logins += 1;
    const sent = await fetch(url, { redirect: "manual" });
    this.code = new URL(sent.headers.get("location")).searchParams.get("code");
  }
}

async function login(name, client, Transport, Unauthorized) {
  const authProvider = new Keeper();
  const transport = () => new Transport(new URL(ready.mcp_url), { authProvider });
  const first = transport();
  const refused = await client.connect(first).then(() => undefined, (error) => error);
  check(`${name}: is sent to log in`, refused instanceof Unauthorized, refused);
  await first.finishAuth(authProvider.code);
  await client.connect(transport());
  await used(`${name}, logged in`, client);
  await outlives(name, client, () => authProvider.kept.access_token, () => authProvider.logins);
  await client.close();
}

function run(command, args, env = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let err = "";
    child.stdout.on("data", (data) => (out += data));
    child.stderr.on("data", (data) => (err += data));
    child.on("close", (code) => resolve({ code, out, err }));
  });
}

async function inspector() {
  const common = ["--cli", ready.mcp_url, "--transport", "http", "--format", "json"];
  const env = { HOME: work };
  const ask = (...args) =>
    run(join(bin, "mcp-inspector"), [...common, "--header", `Authorization: Bearer ${alice.token}`, ...args], env);
  const listed = await ask("--method", "tools/list");
  const names = listed.code === 0 ? JSON.parse(listed.out).result.tools.map((tool) => tool.name) : [];
  check("Inspector: lists", same(names, expected), listed.err);
  const called = await ask("--method", "tools/call", "--tool-name", "whoami");
  check("Inspector: calls", called.code === 0 && called.out.includes(alice.name), called.err);
  const stranger = await run(
    join(bin, "mcp-inspector"),
    [...common, "--header", "Authorization: Bearer nobody", "--method", "tools/list"],
    env,
  );
  check("Inspector: is turned away with a wrong token", stranger.code === 3, `exit ${stranger.code} ${stranger.err}`);
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

// mcp-remote opens a browser for the person. Here the browser is a fetch: the provider knows alice by her address.
async function mcpRemote(protocol) {
  const name = `mcp-remote --protocol ${protocol}`;
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [join(bin, "mcp-remote"), ready.mcp_url, String(await freePort()), "--allow-http", "--protocol", protocol],
    env: { ...process.env, MCP_REMOTE_CONFIG_DIR: join(work, protocol), BROWSER: "/bin/true" },
    stderr: "pipe",
  });
  let said = "";
  const visited = new Set();
  transport.stderr.on("data", async (data) => {
    said += data;
    const url = said.match(/https?:\/\/\S+\/authorize\?\S+/g)?.at(-1);
    if (!url || visited.has(url)) return;
    visited.add(url);
    const sent = await fetch(url, { redirect: "manual" });
    const back = sent.headers.get("location");
    // The address is printed before the callback listens.
    for (let attempt = 0; attempt < 50; attempt += 1) {
      if (await fetch(back).then((answer) => answer.ok, () => false)) return;
      await pause(100);
    }
  });
  const client = new Client({ name: "peer", version: "1" });
  try {
    await client.connect(transport, { timeout: 60_000 });
    check(`${name}: registers, logs in and comes back with a token`, visited.size === 1, said);
    await used(name, client);
    const token = async () => {
      const files = await readdir(join(work, protocol), { recursive: true });
      const file = files.find((file) => file.endsWith("_tokens.json"));
      return JSON.parse(await readFile(join(work, protocol, file), "utf8")).access_token;
    };
    await outlives(name, client, token, () => visited.size);
  } catch (error) {
    check(`${name}: connects`, false, `${error}\n${said}`);
  } finally {
    await client.close();
  }
}

// What VS Code sends (src/vs/base/common/oauth.ts of its sources): metadata by the challenge, a registration without a
// secret and with four redirects, PKCE with the resource of the metadata, then `initialize` without a version header.
async function editor() {
  const name = "an editor's requests";
  const json = { "Content-Type": "application/json", Accept: "application/json, text/event-stream" };
  const initialize = JSON.stringify({
    jsonrpc: "2.0",
    id: 1,
    method: "initialize",
    params: {
      protocolVersion: "2025-11-25",
      capabilities: { roots: { listChanged: true }, sampling: {}, elicitation: {} },
      clientInfo: { name: "Visual Studio Code", version: "1.107.0" },
    },
  });
  const post = (body, headers) => fetch(ready.mcp_url, { method: "POST", headers: { ...json, ...headers }, body });

  const challenged = await post(initialize, {});
  const metadataUrl = challenged.headers.get("www-authenticate")?.match(/resource_metadata="([^"]+)"/)?.[1];
  check(`${name}: 401 that names the metadata`, challenged.status === 401 && metadataUrl, challenged.status);
  const metadata = await (await fetch(metadataUrl)).json();
  check(`${name}: the resource is the URL`, metadata.resource === ready.mcp_url, metadata.resource);
  const issuer = metadata.authorization_servers[0];
  const provider = await (await fetch(`${issuer}/.well-known/oauth-authorization-server`)).json();
  const redirect = "http://127.0.0.1:33418/";
  const registered = await fetch(provider.registration_endpoint, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify({
      client_name: "Visual Studio Code",
      client_uri: "https://code.visualstudio.com",
      grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
      response_types: ["code"],
      redirect_uris: [
        "https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect", "http://127.0.0.1/", redirect,
      ],
      token_endpoint_auth_method: "none",
      application_type: "native",
    }),
  });
  const application = await registered.json();
  check(`${name}: is registered`, registered.status === 201, JSON.stringify(application));

  const verifier = randomBytes(32).toString("base64url");
  const query = new URLSearchParams({
    client_id: application.client_id,
    response_type: "code",
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
    scope: metadata.scopes_supported.join(" "),
    redirect_uri: redirect,
    resource: metadata.resource,
    state: "a-state",
  });
  const sent = await fetch(`${provider.authorization_endpoint}?${query}`, { redirect: "manual" });
  const code = new URL(sent.headers.get("location")).searchParams.get("code");
  const token = (form) =>
    fetch(provider.token_endpoint, {
      method: "POST",
      headers: { Accept: "application/json" },
      body: new URLSearchParams({
        client_id: application.client_id, client_secret: application.client_secret ?? "", resource: metadata.resource,
        ...form,
      }),
    }).then((answer) => answer.json());
  const first = await token({ grant_type: "authorization_code", code, redirect_uri: redirect, code_verifier: verifier });
  check(`${name}: gets a token`, first.access_token, JSON.stringify(first));
  const refreshed = await token({ grant_type: "refresh_token", refresh_token: first.refresh_token });
  check(`${name}: and another for its refresh token`, refreshed.access_token, JSON.stringify(refreshed));

  for (const [which, { access_token }] of [["first", first], ["refreshed", refreshed]]) {
    const answer = await post(initialize, { Authorization: `Bearer ${access_token}` });
    const text = await answer.text();
    check(`${name}: initialize with the ${which} token, no version header`, answer.status === 200, text);
    const version = JSON.parse(text).result?.protocolVersion;
    check(`${name}: speaks the version asked for`, version === "2025-11-25", version);
    const list = await post(JSON.stringify({ jsonrpc: "2.0", id: 2, method: "tools/list", params: {} }), {
      Authorization: `Bearer ${access_token}`,
      "MCP-Protocol-Version": "2025-11-25",
    });
    check(`${name}: lists`, (await list.json()).result?.tools?.length === expected.length, list.status);
  }
}

try {
  await sdkTwo("TypeScript SDK 2, legacy", undefined);
  await sdkTwo("TypeScript SDK 2, 2026-07-28", { mode: { pin: "2026-07-28" } });
  await sdkTwo("TypeScript SDK 2, auto", { mode: "auto" });
  await sdkOne();
  for (const [era, versionNegotiation] of [["legacy", undefined], ["2026-07-28", { mode: { pin: "2026-07-28" } }]]) {
    const client = new Client({ name: "peer", version: "1" }, { versionNegotiation });
    await login(`TypeScript SDK 2, ${era}`, client, StreamableHTTPClientTransport, UnauthorizedError);
  }
  await login("TypeScript SDK 1", new ClientV1({ name: "peer", version: "1" }), TransportV1, UnauthorizedV1);
  await inspector();
  await mcpRemote("legacy");
  await mcpRemote("auto");
  await editor();
} finally {
  await rm(work, { recursive: true, force: true });
}
console.log(failed ? `${failed} FAILED` : "all well");
process.exit(failed ? 1 : 0);
