//! Who can get at it, and is anything exposed?

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::access::Read;
use crate::domain::name::{DatasetPath, FilePath};
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;
use crate::nas::methods::{dataset, file, share};

use super::render::foreign;
use super::report::{Causes, Evidence, Question, Report, seen};
use super::seen::Seen;
use super::shares::{Kind, Share, shares};
use super::storage::no_such_dataset;
use super::{Entry, Log, Need, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<AccessExplain>()]
}

struct AccessExplain;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AccessArgs {
    /// Who can get at this dataset. Default: what the whole NAS exposes.
    #[serde(default)]
    dataset: Option<DatasetPath>,
}

/// How open it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// Somebody whom nobody knows may come in.
    Open,
    /// Only who shows who they are, or comes from certain hosts.
    Limited,
    /// It is not served at all.
    NotServed,
}

impl Question for Verdict {
    const CAUSES: &'static str = "What makes it open, the widest first";
}

/// Of so many SMB shares the list of who may do what is asked for.
const LISTS: usize = 30;

impl Tool for AccessExplain {
    const NAME: &'static str = "access_explain";
    const TITLE: &'static str = "Who can get at it";
    const DESCRIPTION: &'static str = "Who can get at a dataset, or what the NAS exposes, the most open first: shares, guests, hosts, share and file permissions at its top.";
    const SCOPE: Scope = Scope::SharesRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[("dataset", Log::Plain)];
    const NEEDS: &'static [Need] = needs![
        dataset::Datasets,
        share::SmbShares,
        share::NfsShares,
        share::Targets,
        share::Extents,
        share::TargetExtents,
        share::Initiators,
        share::SmbAcl,
        file::Acl
    ];
    type Args = AccessArgs;
    type Output = Report<Verdict>;

    fn target(args: &AccessArgs) -> Option<String> {
        args.dataset.as_ref().map(ToString::to_string)
    }

    async fn run(nas: &Session<'_, Read>, args: AccessArgs) -> Result<Report<Verdict>, ToolError> {
        let place = match &args.dataset {
            Some(path) => {
                let rows = nas.call(dataset::Datasets, dataset::one(path)).await?;
                let row = rows.into_iter().next().ok_or_else(|| no_such_dataset(path))?;
                Some(Place { dataset: path.clone(), mountpoint: row.mountpoint })
            }
            None => None,
        };
        let mut unseen = Seen::default();
        let mut shares = shares(nas, &mut unseen, None).await?;
        shares.retain(|share| place.as_ref().is_none_or(|place| place.is_given_by(share)));
        shares
            .sort_by_key(|share| (!is_open(share), share.warnings.is_empty(), share.enabled == Some(false)));
        let mut evidence = Vec::new();
        let mut causes = Causes::default();
        for (number, share) in shares.iter().enumerate() {
            evidence.push(told(share, place.as_ref()));
            for warning in share.warnings.iter().filter(|_| number < 20) {
                let weight = if is_open(share) { 90 } else { 40 };
                causes.may_be(weight, format!("{} {}: {warning}.", share.kind, share.name));
            }
            if share.kind == Kind::Smb && share.enabled != Some(false) && number < LISTS {
                let list =
                    nas.call(share::SmbAcl, (share::OfShare { share_name: share.raw_name.clone() },)).await;
                let list =
                    unseen.or_default(&format!("permissions of the share {}", share.name), list.map(Some))?;
                evidence.extend(list.map(|list| share_list(share, &list)));
            }
        }
        if shares.len() > LISTS {
            unseen.not.push(format!("permissions of more than {LISTS} shares; ask for one dataset"));
        }
        if let Some(path) = place.as_ref().and_then(Place::path) {
            let list = nas.call(file::Acl, (path.clone(), true, true)).await;
            let list = unseen.or_default("file permissions", list.map(Some))?;
            evidence.extend(list.map(|list| permissions(&path, &list)));
            unseen.not.push("permissions of what lies below the top of the dataset".to_owned());
        }
        unseen.not.push(
            "who reaches it through apps, virtual machines, SSH or the web interface, NVMe-oF and web shares, and what \
             firewalls keep out"
                .to_owned(),
        );
        Ok(report(&shares, place.as_ref(), evidence, causes, unseen))
    }
}

/// A dataset, and where it is mounted.
struct Place {
    dataset: DatasetPath,
    mountpoint: Option<String>,
}

impl Place {
    fn path(&self) -> Option<FilePath> {
        self.mountpoint.as_deref()?.parse().ok()
    }

    /// Whether a share gives this dataset, something in it, or something it lies in.
    fn is_given_by(&self, share: &Share) -> bool {
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        share.paths.iter().any(|path| {
            let volume = path.trim_start_matches("/dev/").strip_prefix("zvol/");
            match (volume, self.mountpoint.as_deref()) {
                (Some(volume), _) => within(volume, self.dataset.as_str()),
                (None, Some(mountpoint)) => within(path, mountpoint) || within(mountpoint, path),
                (None, None) => false,
            }
        })
    }
}

fn is_open(share: &Share) -> bool {
    share.open && share.enabled != Some(false)
}

fn told(share: &Share, place: Option<&Place>) -> Evidence {
    let mut what = Vec::new();
    what.push(if share.enabled == Some(false) { "not served".to_owned() } else { "served".to_owned() });
    if place.is_none() || share.paths.iter().any(|path| *path != share.name) {
        what.push(share.paths.join(", "));
    }
    match share.read_only {
        Some(true) => what.push("read-only".to_owned()),
        Some(false) => what.push("may be written to".to_owned()),
        None => {}
    }
    match &share.lets_in[..] {
        [] => what.push("from everywhere".to_owned()),
        hosts => what.push(format!("for {}", hosts.join(", "))),
    }
    if is_open(share) {
        what.push("OPEN to whoever reaches it".to_owned());
    }
    seen(format!("{} share {}", share.kind, share.name), what.join("; "))
}

/// So many entries of a list of permissions are shown.
const ENTRIES: usize = 20;

/// That there are more. Somebody who is not shown may be let in all the same.
fn left_out(entries: usize) -> Option<String> {
    (entries > ENTRIES).then(|| format!("and {} more entries, which are not shown", entries - ENTRIES))
}

fn share_list(share: &Share, list: &share::ShareAcl) -> Evidence {
    let entries = list.share_acl.iter().take(ENTRIES).map(|entry| {
        let who = match (&entry.ae_who_str, entry.ae_who_sid.as_deref()) {
            (_, Some("S-1-1-0")) => "everybody who is let in".to_owned(),
            (Some(name), _) => foreign(name, 100),
            (None, sid) => foreign(sid.unwrap_or("?"), 100),
        };
        let what = if entry.ae_type == "DENIED" { "denied " } else { "" };
        format!("{who}: {what}{}", foreign(&entry.ae_perm, 20).to_lowercase())
    });
    let entries: Vec<_> = entries.chain(left_out(list.share_acl.len())).collect();
    let what = if entries.is_empty() { "nobody".to_owned() } else { entries.join(", ") };
    seen(format!("permissions of the share {}", share.name), what)
}

fn permissions(path: &FilePath, list: &file::Permissions) -> Evidence {
    let name = |name: &Option<String>| foreign(name.as_deref().unwrap_or("?"), 60);
    let mut what = vec![format!("owner {}, group {}", name(&list.user), name(&list.group))];
    let entries = || list.acl.iter().filter(|entry| entry.default != Some(true));
    for entry in entries().take(ENTRIES) {
        let who = match (&entry.who, entry.id.filter(|id| *id >= 0)) {
            (Some(who), _) => format!("{} {}", foreign(&entry.tag, 20).to_lowercase(), foreign(who, 100)),
            (None, Some(id)) => format!("{} {id}", foreign(&entry.tag, 20).to_lowercase()),
            (None, None) => foreign(&entry.tag, 20).to_lowercase(),
        };
        let denied = if entry.kind.as_deref() == Some("DENY") { "denied " } else { "" };
        what.push(format!("{who}: {denied}{}", rights(entry)));
    }
    what.extend(left_out(entries().count()));
    if list.acltype == "DISABLED" {
        what.push("mode bits alone decide".to_owned());
    }
    seen(format!("permissions of {}", foreign(path.as_str(), 200)), what.join("; "))
}

/// `BASIC: "READ"` as `read`, `READ: true, WRITE: false` as `read`.
fn rights(entry: &file::AclEntry) -> String {
    let rights: Vec<_> = entry
        .perms
        .iter()
        .filter_map(|(name, value)| match value {
            Value::String(word) => Some(foreign(word, 30).to_lowercase()),
            Value::Bool(true) => Some(foreign(name, 30).to_lowercase()),
            _ => None,
        })
        .collect();
    if rights.is_empty() { "nothing".to_owned() } else { rights.join("+") }
}

fn report(
    shares: &[Share],
    place: Option<&Place>,
    evidence: Vec<Evidence>,
    causes: Causes,
    unseen: Seen,
) -> Report<Verdict> {
    let about = place.map_or_else(|| "The NAS".to_owned(), |place| format!("Dataset {}", place.dataset));
    let served: Vec<_> = shares.iter().filter(|share| share.enabled != Some(false)).collect();
    let open = served.iter().filter(|share| is_open(share)).count();
    let partly = unseen
        .not
        .iter()
        .any(|line| line.starts_with("SMB") || line.starts_with("NFS") || line.starts_with("iSCSI"));
    let (verdict, summary, next_step) = match (open, served.len()) {
        (0, 0) if partly => (
            Verdict::NotServed,
            format!("{about}: no share was seen that serves it, and not all shares could be seen."),
            "Give our account the role SHARING_READ on the NAS, and ask again.",
        ),
        (0, 0) => (Verdict::NotServed, format!("{about}: no share serves it."), "Nothing to do for shares."),
        (0, count) => (
            Verdict::Limited,
            format!("{about}: shares that give it: {count}, and each takes a password or a certain host."),
            "Look at the warnings, if there are any, and at who is in the groups named (groups_list).",
        ),
        (open, count) => (
            Verdict::Open,
            format!("{about}: {open} of {count} shares let in whoever reaches them."),
            "Limit the open ones to hosts or accounts, unless that is meant so.",
        ),
    };
    let causes = causes.in_order();
    let not_seen = unseen.not;
    Report { verdict, summary, evidence, total: 0, causes, not_seen, next_step: next_step.to_owned() }.cut(60)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn share(paths: &[&str]) -> Share {
        Share {
            kind: Kind::Smb,
            name: "x".to_owned(),
            raw_name: "x".to_owned(),
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            enabled: Some(true),
            read_only: None,
            lets_in: vec![],
            warnings: vec![],
            open: false,
        }
    }

    #[test]
    fn a_share_of_tank2_gives_nothing_of_tank() {
        let place = Place { dataset: "tank".parse().unwrap(), mountpoint: Some("/mnt/tank".to_owned()) };
        for (path, given) in [
            ("/mnt/tank", true),
            ("/mnt/tank/a", true),
            ("/mnt", true),
            ("/mnt/tank2", false),
            ("zvol/tank/vm", true),
            ("/dev/zvol/tank2/vm", false),
        ] {
            assert_eq!(place.is_given_by(&share(&[path])), given, "{path}");
        }
    }

    #[test]
    fn rights_are_words_in_either_kind_of_list() {
        let entry = |perms| -> file::AclEntry {
            serde_json::from_value(json!({"tag": "USER", "perms": perms})).unwrap()
        };
        assert_eq!(rights(&entry(json!({"BASIC": "FULL_CONTROL"}))), "full_control");
        assert_eq!(rights(&entry(json!({"READ": true, "WRITE": false, "EXECUTE": true}))), "execute+read");
        assert_eq!(rights(&entry(json!({"READ": false}))), "nothing");
    }

    #[test]
    fn entries_that_are_not_shown_are_told_of() {
        for (entries, told) in [(20, None), (23, Some("and 3 more entries, which are not shown"))] {
            let ace = json!({"ae_who_str": "x", "ae_perm": "READ", "ae_type": "ALLOWED"});
            let list = serde_json::from_value(json!({"share_acl": vec![ace; entries]})).unwrap();
            let of_share = share_list(&share(&["/mnt/tank"]), &list).to_string();
            let default = json!({"tag": "USER", "who": "y", "default": true});
            let entry = json!({"tag": "USER", "who": "x", "perms": {"READ": true}, "default": false});
            let acl = [vec![default; 30], vec![entry; entries]].concat();
            let list = serde_json::from_value(json!({"acltype": "POSIX1E", "acl": acl})).unwrap();
            let of_files = permissions(&"/mnt/tank".parse().unwrap(), &list).to_string();
            for text in [of_share, of_files] {
                assert_eq!(text.contains("more entries"), told.is_some(), "{text}");
                assert!(told.is_none_or(|told| text.contains(told)), "{text}");
            }
        }
    }

    #[test]
    fn what_is_switched_off_is_not_open() {
        let off = Share { enabled: Some(false), open: true, ..share(&["/mnt/tank"]) };
        let told = report(&[off], None, vec![], Causes::default(), Seen::default());
        assert_eq!(told.verdict, Verdict::NotServed);
        let open = Share { open: true, ..share(&["/mnt/tank"]) };
        assert_eq!(report(&[open], None, vec![], Causes::default(), Seen::default()).verdict, Verdict::Open);
    }
}
