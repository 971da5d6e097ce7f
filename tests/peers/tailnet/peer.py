"""The daemon on a tailnet of real tailscaled: five nodes in network namespaces, a control server of ours, and one machine
that is on the same wire and not on the tailnet. The NAS and the provider are the simulator's.

Takes root. Given a folder with the programs (control, tailscaled, tailscale, tailnas, demo) and one to work in.
"""

import json
import os
import signal
import subprocess
import sys
import time

PROGRAMS, WORK = sys.argv[1], sys.argv[2]
TAG = f"tn{os.getpid()}"
DOMAIN = "tail1234.ts.net"
SERVER = "nas-mcp"
NAME = f"{SERVER}.{DOMAIN}"
URL = f"https://{NAME}/mcp"
CAPABILITY = "tailnas.dev/cap/mcp"
ROSTER = {
    SERVER: {"tags": ["tag:tailnas"]},
    # As the simulated provider knows them.
    "alice": {"user": 456, "login": "alice@example.com", "display": "Alice Doe"},
    "bob": {"user": 457, "login": "bob@github", "display": "Bob Roe"},
    "ci": {"tags": ["tag:ci"]},
    # A node of alice's own that somebody shared in from another tailnet: there is no such thing, and it shows that
    # it is the sharing that is refused.
    "guest": {"user": 456, "login": "alice@example.com", "display": "Alice Doe", "sharer": 999},
}
STRANGER = "stranger"
READS = [{"scopes": ["system:read", "storage:read"], "nas": ["*"]}]

failed = 0
running = []


def check(claim, holds, otherwise=""):
    global failed
    print(f"  {'ok  ' if holds else 'FAIL'} {claim}{'' if holds else f': {otherwise}'}", flush=True)
    failed += not holds


def ip(*args):
    subprocess.run(["ip", *args], check=True)


def inside(host, *command):
    return ["ip", "netns", "exec", f"{TAG}-{host}", *command]


def run(host, *command, **options):
    return subprocess.run(inside(host, *command), capture_output=True, text=True, timeout=60, **options)


def start(host, name, *command, env=None):
    log = open(f"{WORK}/{name}.log", "a", encoding="utf-8")
    # ip becomes the command, so that the pid is its own.
    process = subprocess.Popen(
        inside(host, *command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if name == "control" else log,
        stderr=log,
        env={**os.environ, **(env or {})},
        text=True,
    )
    running.append(process)
    return process


def stop(process, how=signal.SIGTERM):
    if process.poll() is None:
        process.send_signal(how)
    process.wait(timeout=30)


def wait_for(what, holds, seconds=60):
    """Gives what `holds` gives once that is something, and how long it took."""
    began = time.monotonic()
    while True:
        found = holds()
        took = time.monotonic() - began
        if found:
            return found, took
        if took > seconds:
            raise RuntimeError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.1)


def wire():
    """A bridge in the control server's namespace, and a machine on it for each host."""
    hosts = ["control", *ROSTER, STRANGER]
    for number, host in enumerate(hosts, start=1):
        ip("netns", "add", f"{TAG}-{host}")
        ip("-n", f"{TAG}-{host}", "link", "set", "lo", "up")
        if host == "control":
            ip("-n", f"{TAG}-control", "link", "add", "br0", "type", "bridge")
            ip("-n", f"{TAG}-control", "addr", "add", f"10.77.0.{number}/24", "dev", "br0")
            ip("-n", f"{TAG}-control", "link", "set", "br0", "up")
            continue
        ip("link", "add", "eth0", "netns", f"{TAG}-{host}", "type", "veth",
           "peer", "name", f"p{number}", "netns", f"{TAG}-control")
        ip("-n", f"{TAG}-control", "link", "set", f"p{number}", "master", "br0", "up")
        ip("-n", f"{TAG}-{host}", "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
        ip("-n", f"{TAG}-{host}", "link", "set", "eth0", "up")
        ip("-n", f"{TAG}-{host}", "route", "add", "default", "via", "10.77.0.1")
    return {host: f"10.77.0.{number}" for number, host in enumerate(hosts, start=1)}


def unwire():
    for host in ["control", *ROSTER, STRANGER]:
        subprocess.run(["ip", "netns", "del", f"{TAG}-{host}"], stderr=subprocess.DEVNULL, check=False)


def admin(method, path, body=None):
    command = ["curl", "-sS", "--fail-with-body", "-X", method, "--unix-socket", f"{WORK}/admin.sock", f"http://control{path}"]
    if body is not None:
        command += ["-d", json.dumps(body)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def grant(host, rules):
    admin("PUT", f"/grants/{host}", {CAPABILITY: rules} if rules is not None else {})


def tailscaled(host):
    folder = f"{WORK}/{host}"
    os.makedirs(f"{folder}/certs", exist_ok=True)
    open(f"{folder}/resolv.conf", "a", encoding="utf-8").close()
    # Whatever it does to the resolver, it does to a file of its own.
    script = (f"mount --bind {folder}/resolv.conf /etc/resolv.conf && mount --bind {WORK}/hosts /etc/hosts"
              ' && exec "$@"')
    return start(
        host, f"tailscaled-{host}", "sh", "-c", script, "sh", f"{PROGRAMS}/tailscaled",
        f"--state={folder}/state", f"--statedir={folder}", f"--socket={folder}/tailscaled.sock",
        "--tun=tailscale0", "--port=41641", "--no-logs-no-support",
        env={"SSL_CERT_FILE": f"{WORK}/cert.pem"},
    )


def tailscale(host, *args):
    done = run(host, f"{PROGRAMS}/tailscale", f"--socket={WORK}/{host}/tailscaled.sock", *args)
    if done.returncode:
        raise RuntimeError(f"tailscale {' '.join(args)} on {host}: {done.stdout}{done.stderr}")
    return done.stdout


def whois(address):
    done = run(SERVER, "curl", "-s", "--unix-socket", f"{WORK}/{SERVER}/tailscaled.sock",
               f"http://local-tailscaled.sock/localapi/v0/whois?addr={address}")
    return json.loads(done.stdout) if done.stdout.startswith("{") else None


def post(host, token, message, *more):
    """Status and body of a request, or curl's own exit code and nothing."""
    done = run(
        host, "curl", "-sS", "--max-time", "20", "--cacert", f"{WORK}/cert.pem", "--noproxy", "*",
        "--resolve", f"{NAME}:443:{addresses[SERVER]}", "-w", "\n%{http_code}", URL,
        "-H", "Content-Type: application/json", "-H", "Accept: application/json, text/event-stream",
        "-H", f"Authorization: Bearer {token}", "-d", json.dumps(message), *more,
    )
    if done.returncode:
        return -done.returncode, done.stderr
    body, status = done.stdout.rsplit("\n", 1)
    return int(status), json.loads(body) if body.startswith("{") else body


def call(host, tool, *more, token=None, arguments=None):
    params = {"name": tool, "arguments": arguments or {}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return post(host, token or tokens[host], message, *more)


def said(answer):
    status, body = answer
    if status != 200 or "result" not in body:
        return str(body)
    return body["result"]["content"][0]["text"]


def works(answer):
    return answer[0] == 200 and "result" in answer[1] and not answer[1]["result"].get("isError")


def daemon(listen):
    with open(f"{WORK}/world/config.toml", encoding="utf-8") as file:
        lines = file.read().splitlines()
    config = []
    for line in lines:
        if line.startswith("url = \"http://127"):
            line = f'url = "{URL}"'
        elif line.startswith("listen = [\"unix:"):
            line = f'listen = ["{listen}"]'
        elif line.startswith("socket = "):
            line = f'socket = "{WORK}/{SERVER}/tailscaled.sock"'
        config.append(line)
    with open(f"{WORK}/config.toml", "w", encoding="utf-8") as file:
        file.write("\n".join(config) + "\n")
    return start(SERVER, "tailnas", f"{PROGRAMS}/tailnas", "serve", "--config", f"{WORK}/config.toml")


def once_called(host, seconds=60):
    """Waits until a call of somebody who may is answered, and the NAS is there."""
    return wait_for(f"an answer to {host}", lambda: (a := call(host, "pools_list")) and works(a) and a, seconds)


def who_may_what(way):
    """What must hold whatever the way in is."""
    print(f"{way}:")
    answer, _ = once_called("alice")
    check("alice calls a tool that asks the NAS", "tank" in said(answer), said(answer))
    me = said(call("alice", "whoami"))
    check("and is who her node says", "alice@example.com" in me, me)
    check("with what her grant gives", "storage:read" in me, me)
    refused = call("bob", "system_info")
    check("bob lacks a scope, and is told which", "system:read" in said(refused), said(refused))
    check("bob's own scope works", works(call("bob", "pools_list")), "")
    status, _ = call("bob", "pools_list", token=tokens["alice"])
    check("alice's token from bob's node: 401", status == 401, status)
    status, _ = call("ci", "pools_list", token=tokens["alice"])
    check("alice's token from a tagged node: 403", status == 403, status)
    status, _ = call("guest", "pools_list", token=tokens["alice"])
    check("alice's token from a node shared in: 403", status == 403, status)
    status, _ = call("alice", "pools_list", token="0" * 32)
    check("a token that nobody issued: 401", status == 401, status)


def changed_while_running():
    print("changed in the tailnet's policy while it runs:")
    grant("alice", None)
    def gone():
        answer = call("alice", "pools_list")
        return not works(answer) and answer
    refused, took = wait_for("alice's grant to be gone", gone, 20)
    check(f"a grant taken away refuses, {took:.1f} s later", "storage:read" in said(refused), said(refused))
    grant("alice", READS)
    _, took = once_called("alice", 20)
    check(f"given back, it works again, {took:.1f} s later", True)
    grant("alice", ["storage:read"])
    refused, _ = wait_for("a malformed grant to be seen", gone, 20)
    check("a grant of a form that is none refuses", refused[0] == 200, refused)
    grant("alice", READS)
    once_called("alice", 20)
    grant("guest", READS)
    admin("PUT", "/hosts/guest", {**ROSTER["guest"], "sharer": 0})
    tokens["guest"] = tokens["alice"]
    answer, took = once_called("guest", 20)
    check(f"a node that is shared in no more is let in, {took:.1f} s later", works(answer), answer)
    admin("PUT", "/hosts/guest", {"tags": ["tag:ci"]})
    answer, took = wait_for("the node to be tagged", lambda: (a := call("guest", "whoami"))[0] != 200 and a, 20)
    check(f"and tagged, it is nobody, {took:.1f} s later", answer[0] == 403, answer)
    admin("PUT", "/hosts/guest", ROSTER["guest"])


def tailscaled_restarts(process, way):
    print(f"tailscaled ends and comes back, {way}:")
    stop(process, signal.SIGKILL)
    status, _ = call("alice", "whoami", "--max-time", "3")
    check("without it nobody gets here", status < 0, status)
    process = tailscaled(SERVER)
    _, took = once_called("alice", 90)
    check(f"with it, alice is answered, {took:.1f} s later, by the same daemon", serving.poll() is None, "it ended")
    return process


def through_serve(listen):
    global serving
    serving = daemon(f"unix:{listen}")
    wait_for("the daemon's socket", lambda: os.path.exists(listen), 20)
    tailscale(SERVER, "serve", "--bg", "--yes", f"unix:{listen}")
    who_may_what("through `tailscale serve`, to our unix socket")
    forged = ["-H", f"X-Forwarded-For: {addresses['bob']}", "-H", "Tailscale-User-Login: bob@github"]
    me = said(call("alice", "whoami", *forged))
    check("who forges the headers that serve sets is still himself", "alice@example.com" in me and "bob" not in me, me)
    stranger = run(STRANGER, "curl", "-sS", "--max-time", "5", "-k", f"https://{addresses[SERVER]}/mcp")
    check("who is not on the tailnet finds nobody", stranger.returncode != 0, stranger.stdout)
    status = run(SERVER, "curl", "-s", "--unix-socket", listen, "-o", f"{WORK}/local", "-w", "%{http_code}",
                 "-H", "Content-Type: application/json", "-H", f"X-Forwarded-Host: {NAME}",
                 "-H", f"X-Forwarded-For: {addresses[SERVER]}", "-H", f"Authorization: Bearer {tokens['alice']}",
                 "-d", "{}", "http://localhost/mcp").stdout
    check("root on the machine itself is not let in either", status == "403", status)


def directly():
    global serving
    stop(serving)
    tailscale(SERVER, "serve", "reset")
    serving = daemon(f"{addresses[SERVER]}:443")
    who_may_what("directly, with tailscaled's certificate")
    ip("-n", f"{TAG}-{STRANGER}", "route", "add", f"{addresses[SERVER]}/32", "via", wired[SERVER])
    stranger = run(STRANGER, "curl", "-sS", "--max-time", "5", "-k", f"https://{addresses[SERVER]}/mcp")
    # 35: the TLS handshake was broken off. The packets arrive, Linux being as it is; the daemon closes.
    check("who is on the same wire and not on the tailnet is closed", stranger.returncode == 35, stranger.stderr)


def doctor():
    print("tailnas doctor, on this tailnet:")
    done = run(SERVER, f"{PROGRAMS}/tailnas", "doctor", "--config", f"{WORK}/config.toml")
    print("\n".join(f"     {line}" for line in (done.stdout + done.stderr).splitlines()))
    check("finds nothing wrong", done.returncode == 0, done.returncode)


def own_machine(*command):
    """A command that finds tailscaled where it is installed, and our name in /etc/hosts, without either being so."""
    script = (
        f"mount -t tmpfs none /run && mkdir /run/tailscale && ln -s {WORK}/{SERVER}/tailscaled.sock /run/tailscale/"
        f' && mount --bind {WORK}/hosts /etc/hosts && exec "$@"'
    )
    return ["sh", "-c", script, "sh", *command]


def older_tsidp():
    """The provider as the tailscale module has it, from before it had introspection: alice logs in, and we cannot use it."""
    print("the tsidp of the tailscale module, which has no introspection:")
    with open(f"{WORK}/hosts", "w", encoding="utf-8") as file:
        file.write(f"127.0.0.1 localhost\n{addresses[SERVER]} {NAME}\n")
    # Where it keeps its key.
    os.makedirs(f"{WORK}/tsidp")
    local, port = 8445, 8444
    start(SERVER, "tsidp", *own_machine(f"{PROGRAMS}/tsidp", "-use-local-tailscaled", f"-port={port}", f"-local-port={local}"),
          env={"TAILSCALE_USE_WIP_CODE": "1", "HOME": WORK, "XDG_CONFIG_HOME": WORK, "SSL_CERT_FILE": f"{WORK}/cert.pem"})
    at = f"http://localhost:{local}"
    def curl(host, *args):
        return run(host, "curl", "-sS", "--max-time", "20", "--noproxy", "*", "--cacert", f"{WORK}/cert.pem",
                   "--resolve", f"{NAME}:{port}:{addresses[SERVER]}", *args).stdout
    wait_for("tsidp", lambda: "issuer" in curl(SERVER, f"{at}/.well-known/openid-configuration"), 30)
    known = json.loads(curl("alice", f"https://{NAME}:{port}/.well-known/openid-configuration"))
    check("it has no introspection endpoint", "introspection_endpoint" not in known, known)
    back = "http://127.0.0.1:33418/callback"
    sent = curl("alice", "-o", "/dev/null", "-w", "%{redirect_url}",
                f"https://{NAME}:{port}/authorize/localhost?client_id=peer&redirect_uri={back}&state=s&scope=openid")
    check("alice's node is enough to log in, and she is sent back with a code", f"{back}?code=" in sent, sent)
    code = sent.split("code=")[-1].split("&")[0]
    token = json.loads(curl(SERVER, f"{at}/token", "-d", f"grant_type=authorization_code&code={code}", "--data-urlencode",
                            f"redirect_uri={back}"))["access_token"]
    real = json.loads(curl(SERVER, f"{at}/userinfo", "-H", f"Authorization: Bearer {token}"))
    # The two addresses of the double's neighbourhood: a person calls from the first.
    issuer = next(line.split('"')[1] for line in open(f"{WORK}/config.toml", encoding="utf-8") if line.startswith("issuer"))
    double = json.loads(curl(SERVER, f"{issuer}/userinfo", "-H", f"Authorization: Bearer {tokens['alice']}"))
    check("it says of her what the double says", real == {**double, "picture": real.get("picture")}, (real, double))
    with open(f"{WORK}/config.toml", encoding="utf-8") as file:
        config = file.read().replace(f'issuer = "{issuer}"', f'issuer = "https://{NAME}:{port}"\nca_file = "{WORK}/cert.pem"')
    with open(f"{WORK}/older.toml", "w", encoding="utf-8") as file:
        file.write(config)
    done = run(SERVER, *own_machine(f"{PROGRAMS}/tailnas", "doctor", "--config", f"{WORK}/older.toml"))
    told = [line for line in (done.stdout + done.stderr).splitlines() if "introspection" in line]
    print("\n".join(f"     {line}" for line in told))
    check("and the doctor says that it cannot be our provider", done.returncode != 0 and told, done.stdout + done.stderr)


def certificate():
    # Without openssl's own configuration, which would make it the certificate of an authority.
    with open(f"{WORK}/openssl.cnf", "w", encoding="utf-8") as file:
        file.write("[req]\ndistinguished_name = name\n[name]\n")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", f"{WORK}/key.pem", "-out", f"{WORK}/cert.pem", "-days", "365", "-subj", f"/CN={NAME}",
         "-config", f"{WORK}/openssl.cnf", "-addext", "basicConstraints=critical,CA:FALSE",
         "-addext", f"subjectAltName=DNS:{NAME}"],
        check=True, capture_output=True,
    )
    # Where tailscaled keeps what Let's Encrypt gave it, which cannot be reached from here.
    os.makedirs(f"{WORK}/{SERVER}/certs", exist_ok=True)
    for ending, kind in [("crt", "cert"), ("key", "key")]:
        with open(f"{WORK}/{kind}.pem", encoding="utf-8") as source:
            with open(f"{WORK}/{SERVER}/certs/{NAME}.{ending}", "w", encoding="utf-8") as to:
                to.write(source.read())


def main():
    global addresses, tokens, wired
    with open(f"{WORK}/roster.json", "w", encoding="utf-8") as file:
        json.dump(ROSTER, file)
    certificate()
    # /etc/hosts of the server, once its address is known.
    open(f"{WORK}/hosts", "w", encoding="utf-8").close()
    wired = wire()
    control = start("control", "control", f"{PROGRAMS}/control", "-address", wired["control"], "-domain", DOMAIN,
                    "-to", SERVER, "-admin", f"{WORK}/admin.sock", "-roster", f"{WORK}/roster.json")
    at = control.stdout.readline().strip()
    nodes = {host: tailscaled(host) for host in ROSTER}
    for host in ROSTER:
        socket = f"{WORK}/{host}/tailscaled.sock"
        wait_for(f"tailscaled on {host}", lambda: os.path.exists(socket))
        tailscale(host, "up", f"--login-server={at}", f"--hostname={host}", "--accept-dns=false",
                  "--netfilter-mode=off", "--timeout=60s")
    addresses = {host: prefixes[0].split("/")[0] for host, prefixes in json.loads(admin("GET", "/nodes")).items()}
    version = tailscale(SERVER, "version").splitlines()[0]
    print(f"{len(addresses)} nodes of tailscaled {version}: {addresses}")
    grant("alice", READS)
    grant("bob", [{"scopes": ["storage:read"], "nas": ["*"]}])
    for host in ["ci", "guest"]:
        grant(host, READS)

    world = f"{WORK}/world"
    os.makedirs(world)
    start(SERVER, "world", f"{PROGRAMS}/demo", "neighbourhood", world, URL)
    wait_for("NAS and provider", lambda: os.path.exists(f"{world}/answers"), 30)
    tokens = {}
    for host, file in [("alice", "token"), ("bob", "token-bob")]:
        with open(f"{world}/{file}", encoding="utf-8") as file:
            tokens[host] = file.read().strip()
    known, _ = wait_for("WhoIs to know alice", lambda: whois(addresses["alice"]))
    check("WhoIs has her user, and the grant as her capability",
          known["UserProfile"]["ID"] == 456 and known["CapMap"][CAPABILITY] == READS, known)

    through_serve(f"{WORK}/tailnas.sock")
    changed_while_running()
    nodes[SERVER] = tailscaled_restarts(nodes[SERVER], "behind serve")
    directly()
    doctor()
    older_tsidp()
    nodes[SERVER] = tailscaled_restarts(nodes[SERVER], "with its address and our certificate")
    stop(serving)
    done = run(SERVER, f"{PROGRAMS}/tailnas", "audit", "verify", "--dir", f"{world}/audit")
    check("the audit log verifies", done.returncode == 0, done.stdout + done.stderr)
    print(f"{'all well' if not failed else f'{failed} FAILED'}")


try:
    main()
except (RuntimeError, subprocess.SubprocessError, OSError, KeyError, ValueError) as error:
    print(f"  FAIL it broke off: {error!r}")
    failed += 1
finally:
    for each in reversed(running):
        try:
            stop(each)
        except subprocess.TimeoutExpired:
            each.kill()
            each.wait()
    unwire()
sys.exit(failed != 0)
