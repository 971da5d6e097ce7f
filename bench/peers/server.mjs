// What a user of the TypeScript SDK would have: the tools of the daemon under test behind a bearer token, on node:http.
//
// usage: server.mjs ANSWERS.json
//
// ANSWERS.json is written by the benchmark: what the daemon answered, and the tokens that are good. The port is printed
// once it listens. The low-level Server answers from what was parsed once: registering tools anew for each request, as
// the high-level one of this SDK does where it has no sessions, would be slower.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";

import { toNodeHandler } from "@modelcontextprotocol/node";
import { createMcpHandler, OAuthError, OAuthErrorCode, requireBearerAuth, Server } from "@modelcontextprotocol/server";

const answers = JSON.parse(readFileSync(process.argv[2], "utf8"));
const tokens = new Set(answers.tokens);
const { tools } = answers.tools;
const { content, structuredContent } = answers.whoami;
const { instructions } = answers.discover;

const handler = createMcpHandler(() => {
  const server = new Server({ name: "bench", version: "1" }, { capabilities: { tools: {} }, instructions });
  server.setRequestHandler("tools/list", () => ({ tools }));
  server.setRequestHandler("tools/call", () => ({ content, structuredContent }));
  return server;
});

const admit = requireBearerAuth({
  verifier: {
    async verifyAccessToken(token) {
      if (!tokens.has(token)) throw new OAuthError(OAuthErrorCode.InvalidToken, "no such token");
      return { token, clientId: "bench", scopes: [], expiresAt: Math.floor(Date.now() / 1000) + 60 };
    },
  },
});

const behindBearer = toNodeHandler({
  async fetch(request, options) {
    const admitted = await admit(request);
    return admitted instanceof Response ? admitted : handler.fetch(request, { ...options, authInfo: admitted });
  },
});

const listener = createServer((request, response) => behindBearer(request, response));
listener.listen({ host: "127.0.0.1", port: 0, backlog: 1024 }, () => console.log(listener.address().port));
