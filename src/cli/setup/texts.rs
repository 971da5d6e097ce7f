//! What setup writes and says at length.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Trouble, no_policy_file};
use crate::config::{self, Config, Pin, Trust};
use crate::nas::provision::Account;
use crate::nas::version::Version;
use crate::oauth::{NoAnswer, Outage};

const HTTPS: u16 = 443;

/// A configuration to be.
pub(super) struct Draft {
    pub(super) url: String,
    pub(super) socket: PathBuf,
    pub(super) issuer: String,
    pub(super) nas_name: String,
    pub(super) nas: String,
    pub(super) trust: Trust,
    pub(super) reader: String,
    pub(super) writer: Option<String>,
    pub(super) maintenance: Option<String>,
}

impl Draft {
    /// What it means, by the same reader that the daemon has.
    pub(super) fn parse(&self, file: &Path) -> Result<Config, Trouble> {
        config::parse(file, &self.text(), no_policy_file).map_err(|problems| {
            Trouble::new(format!("the answers make no configuration: {problems}"), "Give other answers.")
        })
    }

    pub(super) fn text(&self) -> String {
        let quoted = |text: &str| json!(text).to_string();
        let trust = match &self.trust {
            Trust::Pinned(pins) => {
                format!("pins = {}\n", json!(pins.iter().map(Pin::to_string).collect::<Vec<_>>()))
            }
            // A file of a CA is nothing that setup asks for.
            Trust::System | Trust::CaFile(_) => String::new(),
        };
        let account = |name: &str, username: &Option<String>| {
            username.as_ref().map_or_else(String::new, |username| {
                let username = quoted(username);
                format!("\n[nas.{name}]\nusername = {username}\nkey = \"credential:nas-{name}-key\"\n")
            })
        };
        format!(
            "# Written by `tailnas setup`, which keeps it from now on as it is: change what you like.\n\
             # docs/CONFIG.md, or man tailnas.toml, explains every key; `tailnas check` finds mistakes.\n\
             [server]\nurl = {url}\nlisten = [\"systemd\"]\n\n\
             [tailnet]\nsocket = {socket}\n\n\
             [provider]\nissuer = {issuer}\n\n\
             [[nas]]\nname = {name}\nurl = {nas}\n{trust}\n\
             [nas.reader]\nusername = {reader}\nkey = \"credential:nas-reader-key\"\n{writer}{maintenance}\n\
             [audit]\ndir = \"/var/log/tailnas\"\nhmac_key = \"credential:audit-hmac-key\"\n\
             signing_key = \"credential:audit-signing-key\"\n",
            url = quoted(&self.url),
            socket = quoted(&self.socket.to_string_lossy()),
            issuer = quoted(&self.issuer),
            name = quoted(&self.nas_name),
            nas = quoted(&self.nas),
            reader = quoted(&self.reader),
            writer = account("writer", &self.writer),
            maintenance = account("maintenance", &self.maintenance),
        )
    }
}

/// The address of a NAS as somebody types it, as a URL.
pub(super) fn nas_url(typed: &str) -> String {
    let bare = typed.trim_start_matches("https://").trim_end_matches('/');
    if bare.contains("://") { bare.to_owned() } else { format!("wss://{bare}") }
}

/// How to find out whose certificate it is.
pub(super) fn compare(shown: &Pin, port: u16) -> String {
    format!(
        "The NAS shows a certificate with this SHA-256:\n\n  {shown}\n\nCompare it with what the NAS itself says. In \
         its own shell (System > Shell):\n\n  openssl s_client -connect localhost:{port} </dev/null 2>/dev/null | openssl \
         x509 -outform DER | sha256sum\n\n"
    )
}

/// What to do about a provider that needs what nobody is asked for here; `None` where that is not so. Setup writes
/// the configuration for TSIDP alone, with a certificate that this system accepts.
pub(super) fn mend_provider(no_answer: &NoAnswer, file: &Path) -> Option<String> {
    let by_hand = |keys: &str| {
        format!(
            "write {} by hand, from deploy/tailnas.toml, with {keys} in it. Setup keeps what it finds there",
            file.display()
        )
    };
    match no_answer.outage() {
        Outage::Unreachable if no_answer.to_string().contains("certificate") => Some(format!(
            "Its certificate is not accepted: have this system trust the CA that signed it (update-ca-certificates); \
             or {}.",
            by_hand("provider.ca_file")
        )),
        Outage::Status(400 | 401 | 403) | Outage::Unrecognised => Some(format!(
            "It does not accept us. TSIDP must see this node's own tailnet address. For any other provider, {}.",
            by_hand("provider.kind and provider.client")
        )),
        _ => None,
    }
}

/// What makes an account with a key, in the shell of the NAS.
pub(super) fn by_hand(account: &Account<'_>) -> String {
    // The two numbers are known only there.
    let privilege = account.privilege(&json!("GID")).to_string().replace("\"GID\"", "'\"$gid\"'");
    let user = account.user(&json!("GROUP")).to_string().replace("\"GROUP\"", "'\"$group\"'");
    let (group, name) = (account.group(), account.username());
    format!(
        "group=$(midclt call group.create '{group}')\n\
         gid=$(midclt call group.get_instance \"$group\" | jq .gid)\n\
         midclt call privilege.create '{privilege}' >/dev/null\n\
         midclt call user.create '{user}' >/dev/null\n\
         midclt call api_key.create '{key}' | jq -r .key\n",
        key = account.key(name),
    )
}

/// A generation that has the roles of all before 26.
pub(super) const BEFORE_26: Version = Version::new(25, 10, 0);

/// The function of [`script`] that makes one account: `$1` with the roles `$2`. It looks for each of the four things
/// before it makes anything, and finds fault with what `nas::provision` finds fault with.
const MAKES_ONE: &str = r#"# The $1 whose $2 is $3, or nothing.
there() {
    answer=$(midclt call "$1.query" '[["'"$2"'","=","'"$3"'"]]') || exit
    printf '%s\n' "$answer" | jq -c '.[0] // empty'
}

# The account $1 with the roles $2 and no others: a group, its privilege, a user of that group alone who has no password,
# and an API key, which is printed.
account() {
    group=$(there group group "$1")
    privilege=$(there privilege name "$1")
    user=$(there user username "$1")
    odd=$(jq -nr --argjson group "${group:-null}" --argjson privilege "${privilege:-null}" \
        --argjson user "${user:-null}" --argjson roles "$2" '
        if $group and ($group.builtin or $group.users - [$user.id] != []
            or ($privilege == null and ($group.roles // []) != [])) then "group"
        elif $privilege and ([$privilege.local_groups[].gid] != [$group.gid] or $privilege.ds_groups != []
            or ($privilege.roles | sort) != ($roles | sort) or $privilege.web_shell) then "privilege"
        elif $user and ($user.group.id != $group.id or $user.groups != [] or $user.builtin
            or ($user.password_disabled | not) or $user.sudo_commands + $user.sudo_commands_nopasswd != []) then "user"
        else empty end')
    if [ -n "$odd" ]; then
        echo "There is a $odd $1 that is not what this would make, so nothing was made for $1: it may be somebody" >&2
        echo "else's. Look at it under Credentials, delete or rename it if it may go, and run this again." >&2
        exit 1
    fi
    if [ -z "$group" ]; then
        midclt call group.create '@GROUP@' >/dev/null
        group=$(there group group "$1")
    fi
    if [ -z "$privilege" ]; then
        gid=$(printf '%s\n' "$group" | jq .gid)
        midclt call privilege.create '@PRIVILEGE@' >/dev/null
    fi
    if [ -z "$user" ]; then
        id=$(printf '%s\n' "$group" | jq .id)
        midclt call user.create '@USER@' >/dev/null
    fi
    if [ -n "$(there api_key name "$1")" ]; then
        echo "$1 is there, with an API key $1, which the NAS does not show again. For a new one, delete that under" >&2
        echo "Credentials > Users > API Keys, and run this again." >&2
    else
        echo "The API key of $1, shown this once:" >&2
        midclt call api_key.create '@KEY@' | jq -r .key
    fi
}
"#;

/// What makes all accounts, as a script that can be looked at before it is run. Which generation it is for is found out
/// where it runs: some roles are called otherwise since 26, and none takes a role that it does not know.
pub(super) fn script(
    looks: &Account<'_>,
    [changes_before_26, changes]: [&Account<'_>; 2],
    maintenance: &Account<'_>,
) -> Option<String> {
    // What setup sends, with the shell's variables in the place of what is known only there.
    let roles = BTreeSet::from(["ROLES"]);
    let any = Account::new("NAME", &roles)?;
    let in_shell = |json: serde_json::Value| {
        json.to_string()
            .replace(r#""NAME""#, r#""'"$1"'""#)
            .replace(r#"["ROLES"]"#, r#"'"$2"'"#)
            .replace(r#""GID""#, r#"'"$gid"'"#)
            .replace(r#""ID""#, r#"'"$id"'"#)
    };
    let makes_one = MAKES_ONE
        .replace("@GROUP@", &in_shell(any.group()))
        .replace("@PRIVILEGE@", &in_shell(any.privilege(&json!("GID"))))
        .replace("@USER@", &in_shell(any.user(&json!("ID"))))
        .replace("@KEY@", &in_shell(any.key(any.username())));
    Some(format!(
        "#!/bin/sh\n\
         # Makes the accounts of tailnas on a TrueNAS, 25.04 or later: for its own shell, as root. `tailnas setup` does the\n\
         # same when it is told an administrator. It may be run again: what is there as it would be made stays.\n\
         # Written by: tailnas setup --by-hand\n\
         set -eu\n\n\
         {makes_one}\n\
         # The account that looks.\n{}\n\n\
         # The account that changes things, with the roles that the tools of this version need for it. Leave it out, and\n\
         # nothing can be changed; leave roles out, and the tools that need them say so.\n\
         case $(midclt call system.version) in\n\
         *-25.*) roles='{}' ;;\n\
         *) roles='{}' ;;\n\
         esac\n\
         account {} \"$roles\"\n\n\
         # Only when it is asked for: the account that restarts the NAS, a full administrator, for TrueNAS lets nobody less\n\
         # do that. sh truenas-accounts.sh maintenance\n\
         [ \"${{1:-}}\" = maintenance ] || exit 0\n{}\n",
        format_args!("account {} '{}'", looks.username(), looks.roles()),
        changes_before_26.roles(),
        changes.roles(),
        changes.username(),
        format_args!("account {} '{}'", maintenance.username(), maintenance.roles()),
    ))
}

/// Before somebody is asked for an administrator.
pub(super) fn accounts(names: &[&str]) -> String {
    format!(
        "tailnas has accounts of its own on the NAS: {}. An administrator can make them now, with a password that is used \
         once, over the connection that was just checked, and is kept nowhere.\n",
        names.join(" and ")
    )
}

/// Before somebody is asked for a key.
pub(super) fn make_it(username: &str, account: Option<&Account<'_>>) -> String {
    let by_hand = account.map(|account| {
        let lines = by_hand(account).replace('\n', "\n  ");
        format!(
            " Where there is none yet, this makes both, in the shell of the NAS as root; the last line prints the key \
             once:\n\n  {}\n",
            lines.trim_end()
        )
    });
    format!("An account {username} with an API key.{}\n", by_hand.unwrap_or_default())
}

/// A key that nobody but systemd can try; `clear` is where it lies in clear as well.
pub(super) fn sealed(username: &str, clear: Option<&Path>) -> String {
    let clear = clear.map_or_else(String::new, |file| {
        format!("\n  → It lies in clear too, which makes that pointless: shred -u {}", file.display())
    });
    format!("· The key of {username} lies encrypted, and was not tried: systemd alone opens it.{clear}\n")
}

/// Roles that an account does not have.
pub(super) fn lacks(username: &str, roles: &str) -> String {
    format!(
        "· {username} does not have all roles that the tools need. It lacks: {roles}\n  \
         → Credentials > Groups > Privileges on the NAS; or leave it so, and those tools will say what they lack\n"
    )
}

/// What systemd is told so that clients come straight to the tailnet address.
pub(super) fn sockets(addresses: &[IpAddr]) -> String {
    let mut streams = String::new();
    for ip in addresses {
        let _ = writeln!(streams, "ListenStream={}", SocketAddr::new(*ip, HTTPS));
    }
    format!(
        "# Written by `tailnas setup`. FreeBind: the tailnet's interface may get its address later than this starts.\n\
         [Socket]\nListenStream=\n{streams}FreeBind=yes\n"
    )
}

/// When nobody answered at the URL, which need not mean that others cannot reach it.
pub(super) fn unanswered(url: &str, why: &str) -> String {
    format!(
        "· {url} did not answer from this machine: {why}\n  \
         → Try it from another node that the policy lets in; 405 is right: curl -i {url}\n"
    )
}

/// What the sandbox does not let us reach.
pub(super) fn outside(addresses: &str) -> String {
    format!(
        "· These addresses are on the internet, which the sandbox of the service closes: {addresses}\n  \
         → systemctl edit tailnas, and write:\n      [Service]\n      IPAddressAllow={addresses}\n  \
         then: systemctl restart tailnas\n"
    )
}

/// What is left to do elsewhere.
pub(super) fn farewell(config: &Config, grants: &str) -> String {
    let url = config.server.url.as_str();
    format!(
        r#"
Nobody may do anything yet. Put this into the tailnet's policy (https://login.tailscale.com/admin/acls):

{grants}
Then connect a client:

  Claude Code     claude mcp add --transport http tailnas {url}
                  then /mcp, "Authenticate"
  VS Code         .vscode/mcp.json
                  {{"servers":{{"tailnas":{{"type":"http","url":"{url}"}}}}}}
  Cursor          ~/.cursor/mcp.json
                  {{"mcpServers":{{"tailnas":{{"url":"{url}"}}}}}}
  Claude Desktop  claude_desktop_config.json
                  {{"mcpServers":{{"tailnas":{{"command":"npx","args":["mcp-remote","{url}"]}}}}}}

`tailnas grants explain LOGIN` says who may call what; `tailnas doctor` what is wrong.

  {url}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_becomes_a_url() {
        for (typed, url) in [
            ("nas.example", "wss://nas.example"),
            ("192.0.2.1", "wss://192.0.2.1"),
            ("https://nas.example/", "wss://nas.example"),
            ("wss://nas.example:444", "wss://nas.example:444"),
            ("ws://nas.example", "ws://nas.example"),
        ] {
            assert_eq!(nas_url(typed), url);
        }
    }

    #[test]
    fn no_answer_can_write_another_key_into_the_configuration() {
        let draft = Draft {
            url: "https://nas-mcp.tail1234.ts.net/mcp".to_owned(),
            socket: "/run/tailscale/tailscaled.sock".into(),
            issuer: "https://idp.tail1234.ts.net".to_owned(),
            nas_name: "nas".to_owned(),
            nas: "wss://nas.example".to_owned(),
            trust: Trust::System,
            reader: "x\"\n[metrics]\nlisten = \"127.0.0.1:1".to_owned(),
            writer: None,
            maintenance: None,
        };
        let metrics = draft.parse(Path::new("c")).map(|config| config.metrics);
        assert!(!matches!(metrics, Ok(Some(_))), "{metrics:?}");
        let harmless = Draft { reader: "tailnas-reader".to_owned(), writer: Some("w".to_owned()), ..draft };
        let config = harmless.parse(Path::new("c")).unwrap();
        assert_eq!(config.nas[0].reader.username, "tailnas-reader");
        assert_eq!(config.nas[0].writer.as_ref().unwrap().username, "w");
    }
}
