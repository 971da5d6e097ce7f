// The console as people meet it, in a real browser. Arguments: what the demo wrote with --ready-file, the tailnas program,
// and a folder for screenshots.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { connect, createServer } from "node:net";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [readyFile, tailnas, shots] = process.argv.slice(2);
const ready = JSON.parse(readFileSync(readyFile, "utf8"));
const home = ready.console;
const origin = new URL(home).origin;
const port = Number(new URL(home).port);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const alice = ready.users.find((user) => user.name === "alice");
const bob = ready.users.find((user) => user.name === "bob");

let failed = 0;
const check = (claim, holds, detail = "") => {
  console.log(`${holds ? "ok  " : "FAIL"} ${claim}${holds || detail === "" ? "" : `: ${detail}`}`);
  if (!holds) failed += 1;
};

// Who somebody is follows from the address they come from. A browser cannot choose its own, so bob's goes through this.
const forward = async (from) => {
  const server = createServer((inner) => {
    const outer = connect({ host: "127.0.0.1", port, localAddress: from });
    for (const [one, other] of [[inner, outer], [outer, inner]]) one.pipe(other).on("error", () => other.destroy());
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return server;
};

// A request as a program makes it, from an address and with headers that no browser would let a page set.
const raw = (method, path, { from = alice.address, headers = {}, body = "" } = {}) =>
  new Promise((done, fail) => {
    const asked = request({ host: "127.0.0.1", port, localAddress: from, method, path,
      headers: { host: new URL(home).host, ...headers } }, (answer) => {
      let text = "";
      answer.on("data", (part) => (text += part)).on("end", () => done({ status: answer.statusCode, headers: answer.headers, text }));
    });
    asked.on("error", fail).end(body);
  });

const call = async (tool, args, user = alice) => {
  const answer = await raw("POST", "/mcp", {
    from: user.address,
    headers: { authorization: `Bearer ${user.token}`, "content-type": "application/json",
      accept: "application/json, text/event-stream" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: tool, arguments: args } }),
  });
  const text = answer.text.startsWith("{") ? answer.text : answer.text.split("\n").findLast((line) => line.startsWith("data: {"))?.slice(6);
  return JSON.parse(text ?? "null")?.result;
};

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});

const open = async (options = {}) => {
  const context = await browser.newContext({ viewport: { width: 1000, height: 900 }, ...options });
  const page = await context.newPage();
  page.errors = [];
  page.on("console", (message) => message.type() === "error" && page.errors.push(message.text()));
  page.on("pageerror", (error) => page.errors.push(String(error)));
  page.foreign = [];
  page.on("request", (asked) => {
    if (!asked.url().startsWith(origin) && !asked.url().startsWith("data:")) page.foreign.push(asked.url());
  });
  return page;
};

// An authenticator that verifies its user, such as a phone; one that says it could not, where `verifies` is false.
const authenticator = async (page, verifies = true) => {
  const client = await page.context().newCDPSession(page);
  await client.send("WebAuthn.enable");
  const { authenticatorId } = await client.send("WebAuthn.addVirtualAuthenticator", { options: {
    protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: verifies,
    automaticPresenceSimulation: true,
  } });
  return { client, authenticatorId };
};

const enroll = (login) =>
  execFileSync(tailnas, ["passkey", "enroll", login, "--config", ready.config], { encoding: "utf8" }).split("\n")[0];

const shot = (page, name) => page.screenshot({ path: `${shots}/${name}.png`, fullPage: true });

const serious = async (page) => {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run());
  const bad = violations.filter((found) => ["serious", "critical"].includes(found.impact));
  return bad.map((found) => `${found.id}: ${found.nodes.map((node) => node.html).slice(0, 3).join(" ")}`).join("; ");
};

// The daemon is ready before its NAS is.
for (let left = 50; left > 0 && (await call("system_info", {}))?.isError !== false; left -= 1) {
  await new Promise((done) => setTimeout(done, 100));
}

const page = await open();
const phone = await authenticator(page);

console.log("Looking");
for (const [path, name] of [["", "now"], ["/connect", "connect"], ["/why", "why"], ["/audit", "audit"], ["/passkeys", "passkeys"]]) {
  await page.goto(home + path);
  await shot(page, name);
  check(`${name}: nothing serious for people who cannot see it`, (await serious(page)) === "", await serious(page));
}
check("the script of axe is the only one that is not ours", page.foreign.length === 0, page.foreign.join(" "));
await page.goto(`${home}/connect`);
const shown = await page.locator("main").innerText();
for (const words of [ready.mcp_url, "claude mcp add", "mcp-remote", '"servers"', '"mcpServers"']) {
  check(`connect shows ${words}`, shown.includes(words));
}

console.log("Enrolling");
const link = enroll("alice@example.com");
await page.goto(link);
await shot(page, "enroll");
check("enroll: nothing serious", (await serious(page)) === "", await serious(page));
await page.fill("#label", "virtual phone");
await page.click("button.act");
await page.waitForURL(`${home}/passkeys`);
check("the passkey is listed by its name", (await page.locator("main").innerText()).includes("virtual phone"));
await shot(page, "passkeys-one");
await page.goto(link);
await page.click("button.act");
await page.waitForFunction(() => document.querySelector("[role=status]").textContent.includes("used up"));
check("the link is good once", true);

const weak = await open();
await authenticator(weak, false);
await weak.goto(enroll("alice@example.com"));
await weak.click("button.act");
await weak.waitForFunction(() => !/asks for/.test(document.querySelector("[role=status]").textContent));
check("an authenticator that does not verify its user enrols nothing", !(await weak.url()).endsWith("/passkeys"));
await weak.context().close();

const bobs = await forward(bob.address);
const bobsPage = await open();
const rule = `MAP ${new URL(home).host} 127.0.0.1:${bobs.address().port}`;
const bobsBrowser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", `--host-resolver-rules=${rule}`],
});
await bobsPage.context().close();
const other = await (await bobsBrowser.newContext()).newPage();
await authenticator(other);
await other.goto(enroll("alice@example.com"));
check("bob is bob", (await other.locator(".me").innerText()).includes("bob@github"));
await other.click("button.act");
await other.waitForFunction(() => document.querySelector("[role=status]").textContent.includes("somebody else"));
check("alice's link is nothing to bob", true);
await other.goto(home);
check("bob sees what his grant gives, and what is missing", (await other.locator("main").innerText()).includes("needs system:read"));
await shot(other, "now-bob");

console.log("Deciding");
// What a change answers with names its plan; the page shows it.
const propose = async (tool, args) => {
  const planned = await call(tool, { ...args, reason: "The person said so. <b>Approve this</b> at once." });
  const id = JSON.stringify(planned).match(/console\/plans\/([0-9A-Z]{26})/)?.[1] ?? JSON.stringify(planned).match(/\b([0-9A-HJKMNP-TV-Z]{26})\b/)?.[1];
  check(`${tool} answers with a plan`, id !== undefined, JSON.stringify(planned));
  return id;
};
const state = async (id) => JSON.stringify(await call("plan_show", { plan: id }));
const snapshots = async (dataset) => JSON.stringify(await call("snapshots_list", { within: dataset }));

const first = await propose("snapshot_create", { dataset: "tank/photos", name: "by-the-browser" });
await page.goto(home);
check("the plan waits on the first page", (await page.locator(`a[href="/console/plans/${first}"]`).count()) === 1);
await shot(page, "now-waiting");
await page.goto(`${home}/plans/${first}`);
await shot(page, "plan");
check("plan: nothing serious", (await serious(page)) === "", await serious(page));
const card = await page.locator("main").innerText();
for (const words of ["alice@example.com", "laptop", "Undo", "The person said so. <b>Approve this</b> at once."]) {
  check(`the card says ${words}`, card.includes(words), card);
}
check("what the model says is apart from what is known", (await page.locator("blockquote").innerText()).startsWith("The person said so."));
const [yes, no] = await Promise.all(["#approve button", "#refuse button"].map((button) => page.locator(button).boundingBox()));
check("Refuse is as large as Approve", Math.abs(yes.width - no.width) < 2 && Math.abs(yes.height - no.height) < 2, JSON.stringify([yes, no]));

await other.goto(`${home}/plans/${first}`);
check("bob does not see alice's plan", (await other.locator("h1").innerText()) === "There is no such plan here");
const act = (path, body, from = alice.address) => raw("POST", `/console/plans/${path}`, { from, headers: { origin, "content-type": "application/json" }, body: JSON.stringify(body) });
const formOf = async (path, name, from) => (await raw("GET", path, { from })).text.match(new RegExp(`id="${name}"[^]*?name="form" value="([0-9a-f]+)"`))?.[1];
const stolen = await formOf(`/console/plans/${first}`, "approve");
check("bob cannot begin to approve it, with alice's form", (await act(`${first}/approve/begin`, { form: stolen }, bob.address)).status === 410);
check("no answer of a passkey, no approval", (await act(`${first}/approve/finish`, { ceremony: "0".repeat(64), answer: {} })).status === 403);
check("it still waits", (await state(first)).includes("waiting"));

// By keyboard alone: the first button after the card.
await page.goto(`${home}/plans/${first}`);
for (let left = 60; left > 0; left -= 1) {
  await page.keyboard.press("Tab");
  if (await page.evaluate(() => document.activeElement.textContent === "Approve and run")) break;
}
await page.keyboard.press("Enter");
await page.waitForFunction(() => /\bdone\b/.test(document.querySelector("main .card").textContent), null, { timeout: 15000 });
await shot(page, "plan-done");
check("approved by keyboard and passkey, it ran by itself", (await snapshots("tank/photos")).includes("by-the-browser"), await snapshots("tank/photos"));
check("the model hears of it", (await state(first)).includes("done"));

// A passkey that answered for one plan has said nothing about another.
const [one, two] = [await propose("snapshot_create", { dataset: "tank/photos", name: "one" }), await propose("snapshot_create", { dataset: "tank/photos", name: "two" })];
await page.goto(`${home}/plans/${one}`);
await page.route(`**/plans/${one}/approve/finish`, (route) => route.continue({ url: `${home}/plans/${two}/approve/finish` }));
await page.click("#approve button");
await page.waitForFunction(() => !/asks for/.test(document.querySelector("#approve [role=status]").textContent));
check("an answer for one plan does not approve another", (await state(two)).includes("waiting") && (await state(one)).includes("waiting"));
await page.unroute(`**/plans/${one}/approve/finish`);

await page.goto(`${home}/plans/${two}`);
await page.fill("#note", "Not this week, please.");
await page.reload();
check("a refresh loses nothing typed", (await page.inputValue("#note")) === "Not this week, please.");
const token2 = await page.locator("#refuse input[name=form]").inputValue();
await page.click("#refuse button");
await page.waitForLoadState();
await shot(page, "plan-refused");
check("refused, and the model hears the note", (await state(two)).includes("Not this week, please."));
const replay = (id) => raw("POST", `/console/plans/${id}/refuse`, { headers: { origin, "content-type": "application/x-www-form-urlencoded" }, body: `form=${token2}&note=` });
check("the form sent again", (await replay(two)).status === 403);
check("the form sent for another plan", (await replay(one)).status === 403);
// A note that was not taken is not lost either, and one that was is gone.
check("what was sent is not kept", (await page.evaluate(() => Object.keys(sessionStorage).length)) === 0);
await page.goto(`${home}/plans/${one}`);
await page.fill("#note", "Not this one either.");
await page.evaluate(() => { document.querySelector("#refuse input[name=form]").value = "0".repeat(64); });
await page.click("#refuse button");
await page.waitForURL(/\/refuse$/);
check("a form that is no longer good says so", (await page.locator("main").innerText()).includes("Nothing was changed"));
await page.goto(`${home}/plans/${one}`);
check("and loses nothing typed", (await page.inputValue("#note")) === "Not this one either.");
await page.fill("#note", "");
check("what was refused did not happen", !(await snapshots("tank/photos")).includes('"two"') && !(await snapshots("tank/photos")).includes("@two"));

// What loses data: seen, refused to everybody else, approved, taken back, done again, and done for good.
console.log("Destroying");
const datasets = async () => JSON.stringify(await call("datasets_list", { within: "tank2" }));
const decide = async (id) => {
  await page.goto(`${home}/plans/${id}`);
  await page.click("#approve button");
  await page.waitForFunction(() => /\bdone\b/.test(document.querySelector("main .card").textContent), null, { timeout: 15000 });
};
const gone = await propose("dataset_delete", { dataset: "tank2/scratch" });
check("over MCP it cannot be agreed to", JSON.stringify(await call("dataset_delete", { dataset: "tank2/scratch", plan: gone })).includes("a person approves it on the page"));
await page.goto(`${home}/plans/${gone}`);
const what = await page.locator("main").innerText();
for (const words of ["destructive", "Delete tank2/scratch: 92", "1 snapshot", "set aside as tank2/scratch.quarantine"]) check(`the card says ${words}`, what.includes(words), what);
await shot(page, "plan-destructive");
for (const [name, options] of [["plan-phone", { viewport: { width: 360, height: 740 } }], ["plan-phone-dark", { viewport: { width: 360, height: 740 }, colorScheme: "dark" }]]) {
  const small = await open(options);
  await small.goto(`${home}/plans/${gone}`);
  const wide = await small.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  check(`${name}: fits`, wide <= 0, `${wide} px too wide`);
  check(`${name}: nothing serious`, (await serious(small)) === "", await serious(small));
  await shot(small, name);
  await small.context().close();
}
check("plan-destructive: nothing serious", (await serious(page)) === "", await serious(page));
await other.goto(`${home}/plans/${gone}`);
check("bob does not see it", (await other.locator("h1").innerText()) === "There is no such plan here");
await decide(gone);
check("approved, it is set aside", (await datasets()).includes("tank2/scratch.quarantine"), await datasets());
await page.goto(home);
await shot(page, "now-undo");
await page.click("text=Take it back");
await page.waitForURL(/\/plans\//);
check("the button plans what takes it back", (await page.locator("h1").innerText()).includes("Bring tank2/scratch.quarantine back"), await page.locator("h1").innerText());
await decide(page.url().split("/").pop());
check("and it is back", !(await datasets()).includes("quarantine"), await datasets());
await decide(await propose("dataset_delete", { dataset: "tank2/scratch" }));
const purge = await propose("dataset_purge", { dataset: "tank2/scratch.quarantine" });
await page.goto(`${home}/plans/${purge}`);
check("no undo, in so many words", (await page.locator("main").innerText()).includes("no undo: its snapshots are destroyed with it"));
await shot(page, "plan-purge");
await decide(purge);
check("approved, it is gone for good", !(await datasets()).includes("scratch"), await datasets());
await shot(page, "plan-purged");

// What takes longer is followed on its page, which stays as it is while that happens.
const scrub = await propose("scrub_start", { pool: "backup" });
await page.goto(`${home}/plans/${scrub}`);
await page.click("#approve button");
await page.waitForSelector("#state[data-follow]");
await page.evaluate(() => { window.same = true; document.querySelector("details").open = true; });
await page.focus("summary");
check("what runs can be left unfollowed", await page.locator("#following button").isVisible());
check("what runs: nothing serious", (await serious(page)) === "", await serious(page));
await shot(page, "plan-running");
await page.waitForFunction(() => /is done/.test(document.querySelector("#state").textContent), null, { timeout: 30000 });
check("how it ended is shown, without the page being loaded again", await page.evaluate(() => window.same === true && document.querySelector("details").open && document.activeElement.matches("summary")));
check("and who listens hears of it", (await page.getAttribute("#state", "aria-live")) === "polite");
check("nothing is followed any more", (await page.locator("#following").count()) === 0);
await shot(page, "plan-ran");

await page.goto(home);
await page.fill("#why", "something is odd");
await page.click("form[action='/console/freeze'] button");
await page.waitForLoadState();
await shot(page, "frozen");
check("frozen: nothing serious", (await serious(page)) === "", await serious(page));
check("frozen, nothing is planned", JSON.stringify(await call("snapshot_create", { dataset: "tank/photos", name: "three" })).includes("frozen"));
await page.goto(`${home}/plans/${one}`);
check("frozen, nothing can be approved", await page.locator("#approve button").isDisabled());
check("and the page says why", (await page.locator("main").innerText()).includes("Changes are frozen."));
check("frozen, it still waits", (await state(one)).includes("waiting"));
await page.goto(home);
await page.click("form[data-passkey] button");
await page.waitForFunction(() => document.querySelector("#frozen") === null);
check("thawed by passkey", true);
await page.goto(`${home}/audit?kind=changes`);
const log = await page.locator("main").innerText();
check("every yes is on record", log.split("approve ").length === 7, log);
for (const word of ["enroll", "approve", "refuse", "freeze", "thaw"]) check(`on record: ${word}`, log.includes(word), log);
await shot(page, "audit-changes");
await page.goto(`${home}/audit?kind=daemon`);
const own = await page.locator("tbody").innerText();
check("what the daemon did itself is found, and nothing else", /\bstart\b/.test(own) && /\bcheckpoint\b/.test(own) && !/\b(read|intent|outcome|person|denied)\b/.test(own), own);
await shot(page, "audit-daemon");

console.log("Pages of others");
const form = async (headers, body, from) => raw("POST", "/console/enroll/begin", { from, headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });
check("a cross-site POST", (await form({ origin: "https://evil.example", "sec-fetch-site": "cross-site" }, {})).status === 403);
check("a POST that says no origin", (await form({}, {})).status === 403);
check("a POST of another site of the tailnet", (await form({ origin, "sec-fetch-site": "same-site" }, {})).status === 403);
check("a form that nobody was given", (await form({ origin, "sec-fetch-site": "same-origin" }, { form: "0".repeat(64), secret: "x" })).status === 403);
const token = (await raw("GET", "/console/enroll")).text.match(/name="form" value="([0-9a-f]+)"/)[1];
check("a form of alice's in bob's hands", (await form({ origin }, { form: token, secret: "x" }, bob.address)).status === 403);
check("a framed page", (await raw("GET", "/console", { headers: { "sec-fetch-dest": "iframe", "sec-fetch-site": "cross-site" } })).status === 403);
const ci = await raw("GET", "/console", { from: "127.0.0.3" });
check("a tagged node is refused, on a page", ci.status === 403 && ci.text.includes("not admitted") && ci.headers["content-type"].startsWith("text/html"), ci.text);
check("a form that lacks something is refused, on a page", await raw("POST", "/console/freeze", { headers: { origin, "content-type": "application/x-www-form-urlencoded" } }).then((answer) => answer.status >= 400 && answer.text.includes("Nothing was changed")));
check("another name for this server", (await raw("GET", "/console", { headers: { host: `evil.example:${port}` } })).status === 421);
const evil = await open();
const framer = createServer((socket) => socket.end(`HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<iframe src="${home}"></iframe>`));
await new Promise((done) => framer.listen(0, "127.0.0.1", done));
await evil.goto(`http://127.0.0.1:${framer.address().port}/`);
await evil.waitForTimeout(500);
check("the browser shows nothing of us in a frame", !(await Promise.all(evil.frames().map((frame) => frame.content()))).some((html) => html.includes("Waiting for approval")));
framer.close();
await evil.context().close();

console.log("On a phone, in the dark, by keyboard");
for (const [name, options] of [["phone", { viewport: { width: 360, height: 740 } }], ["phone-dark", { viewport: { width: 360, height: 740 }, colorScheme: "dark" }], ["dark", { colorScheme: "dark" }]]) {
  const small = await open(options);
  for (const path of ["", "/connect", "/why", "/audit", "/passkeys"]) {
    await small.goto(home + path);
    const wide = await small.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    check(`${name} ${path || "/"}: fits`, wide <= 0, `${wide} px too wide`);
    check(`${name} ${path || "/"}: nothing serious`, (await serious(small)) === "", await serious(small));
    await shot(small, `${name}${path.replace("/", "-")}`);
  }
  await small.context().close();
}
await page.goto(home);
await page.keyboard.press("Tab");
check("the first Tab leads past the head", (await page.evaluate(() => document.activeElement.className)) === "skip");

check("no page had an error of its own", page.errors.filter((error) => !/403|409|410/.test(error)).length === 0, page.errors.join("; "));
void phone;
bobs.close();
await bobsBrowser.close();
await browser.close();
console.log(failed === 0 ? "All of it was so." : `${failed} of these claims did not hold.`);
process.exit(failed === 0 ? 0 : 1);
