// The suite sends no token and can be told none: this adds alice's, and nothing else. A name of this proxy in Host and
// Origin becomes the daemon's; any other goes through as it is, since the suite tries whether the daemon refuses it.
//
// One node may make only so many requests a second, and the suite makes more: they are passed on one every 50 ms.
//
// Given the file that `cargo demo -- --ready-file F` writes. Prints the URL for the suite, once the daemon has a NAS.

import { readFile } from "node:fs/promises";
import { createServer, request } from "node:http";

const ready = JSON.parse(await readFile(process.argv[2], "utf8"));
const daemon = new URL(ready.mcp_url);
const { token } = ready.users.find((user) => user.name === "alice");
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const EVERY = 50;
let next = 0;

const server = createServer(async (asked, answer) => {
  const now = Date.now();
  next = Math.max(next, now) + EVERY;
  await pause(next - EVERY - now);
  const own = `127.0.0.1:${server.address().port}`;
  const headers = [];
  for (let i = 0; i < asked.rawHeaders.length; i += 2) {
    const [name, value] = [asked.rawHeaders[i], asked.rawHeaders[i + 1]];
    const named = ["host", "origin"].includes(name.toLowerCase());
    headers.push(name, named ? value.replace(own, daemon.host) : value);
  }
  headers.push("Authorization", `Bearer ${token}`);
  const options = { host: daemon.hostname, port: daemon.port, path: asked.url, method: asked.method, headers };
  const passed = request(options, (got) => {
    answer.writeHead(got.statusCode, got.rawHeaders);
    answer.flushHeaders();
    got.pipe(answer);
  });
  passed.on("error", () => answer.destroy());
  // Whoever ends a stream ends the daemon's, too.
  answer.on("close", () => passed.destroy());
  asked.pipe(passed);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const url = `http://127.0.0.1:${server.address().port}${daemon.pathname}`;

// Ready comes before the NAS does.
for (let attempt = 0; ; attempt += 1) {
  const body = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "pools_list", arguments: {} } };
  const headers = { "Content-Type": "application/json", Accept: "application/json, text/event-stream" };
  const answer = await (await fetch(url, { method: "POST", headers, body: JSON.stringify(body) })).json();
  if (answer.result && !answer.result.isError) break;
  if (attempt === 100) throw new Error(`the daemon has no NAS: ${JSON.stringify(answer)}`);
  await pause(100);
}
console.log(url);
