//! The log against disks that keep their word, and against those that do not.

mod crash;
mod docs;
mod journal;
mod model;
mod rotation;
mod signed;
mod tamper;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};

use std::path::Path;

use super::writer::Writer;
use super::*;
use crate::clock::Tell;
use crate::domain::id::RequestId;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::domain::who::{AuthNote, McpNote, PeerNote, Who};
use crate::lifecycle::Lifecycle;
use crate::policy::permit::Approval;

/// A clock that stands still until it is turned.
#[derive(Clone, Default)]
struct Turned(Arc<AtomicU64>);

impl Turned {
    fn turn(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Tell for Turned {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + self.mono()
    }

    fn mono(&self) -> Duration {
        Duration::from_secs(1_000_000 + self.0.load(Ordering::Relaxed))
    }
}

fn clock() -> Clock {
    Clock::from_tell(Turned::default())
}

fn heartbeat() -> Heartbeat {
    Lifecycle::new(clock()).0.heartbeat("audit", Duration::from_secs(5))
}

fn key() -> Secret {
    Secret::new("0123456789abcdef0123456789abcdef".into())
}

/// The same key each time.
fn signer() -> Signer {
    const KEY: &str = "PRIVATE+KEY+tailnas/test+97c30981+AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
    Signer::parse(&Secret::new(KEY.into())).unwrap()
}

fn settings(dir: &Path) -> Settings {
    Settings {
        dir: dir.to_owned(),
        hasher_key: key(),
        signer: signer(),
        copy: None,
        rotate_at: u64::MAX,
        reads_go_on: false,
    }
}

fn taken_up(model: &model::Model) -> Result<(Writer, Opened), Failed> {
    let taken_up = recovery::take_up(Box::new(model.clone()), clock(), &Arc::new(signer()), &[]);
    taken_up.map(|(writer, opened, _)| (writer, opened))
}

fn terms(tool: &'static str) -> Terms {
    Terms {
        request: RequestId::at(DateTime::UNIX_EPOCH),
        who: Who {
            peer: Some(PeerNote {
                ip: [100, 64, 0, 7].into(),
                port: 40123,
                node_id: "nCNTRL".into(),
                node_name: "desk.example.ts.net".into(),
                user: Some("alice@example.com".into()),
                tags: Vec::new(),
            }),
            auth: Some(AuthNote {
                iss: "https://idp.example.ts.net".into(),
                sub: "12345".into(),
                username: None,
                client_id: Some("client".into()),
                scope: "openid".into(),
                jti: None,
                exp: 1_800_000_000,
                tok: "ab".repeat(32),
                age_ms: 0,
            }),
            via: None,
            mcp: Some(McpNote { method: "tools/call".into(), ..McpNote::default() }),
        },
        tool,
        risk: Risk::Reversible,
        scope: Some(Scope::StorageWrite),
        nas: Some("home".parse().unwrap()),
        target: Some("tank/photos".into()),
        args: serde_json::json!({ "dataset": "tank/photos", "name": "before" }),
        args_h: "cd".repeat(32),
        rule: "tailnet".into(),
        approval: Approval::ClientAsserted,
        plan: None,
    }
}

/// A short one, where every byte costs the test time.
fn intent(tool: &'static str) -> Vec<u8> {
    let (args_h, args) = (String::new(), serde_json::Value::Null);
    let terms = Terms { who: Who::default(), args, args_h, scope: None, nas: None, ..terms(tool) };
    render(&Event::Intent(Box::new(Act::new(&terms, true)))).unwrap()
}

fn outcome(parent: u64) -> Vec<u8> {
    let brief = Brief { req: RequestId::at(DateTime::UNIX_EPOCH), tool: "t".into(), nas: None, target: None };
    render(&brief.outcome(parent, Outcome::ok())).unwrap()
}
