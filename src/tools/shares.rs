//! What the NAS gives to the network, and to whom.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;

use crate::nas::methods::query::Query;
use crate::nas::methods::share;

use super::limit::Limit;
use super::render::{foreign, shown_of};
use super::seen::Seen;
use super::{Entry, Items, Log, Need, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<List>()]
}

struct List;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListArgs {
    /// Only of this kind. Default: all.
    #[serde(default)]
    kind: Option<Kind>,
    /// Only those with warnings. Default: no.
    #[serde(default)]
    warnings: bool,
    /// At most this many.
    #[serde(default)]
    limit: Limit<100, 500>,
}

/// Kind of share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Smb,
    Nfs,
    Iscsi,
}

/// Shares, those with warnings first.
#[derive(Serialize, JsonSchema)]
struct ListOutput {
    /// The shares shown.
    shares: Vec<Share>,
    /// How many there are in all.
    total: usize,
    /// What could not be seen, and why.
    not_seen: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Share {
    /// Kind.
    pub(super) kind: Kind,
    /// What clients call it.
    pub(super) name: String,
    /// Directories, volumes or files that it gives.
    pub(super) paths: Vec<String>,
    /// Whether it is served.
    pub(super) enabled: Option<bool>,
    /// Whether clients can only read.
    pub(super) read_only: Option<bool>,
    /// Networks, hosts or initiators that it lets in, `!` before those it keeps out; empty for everybody.
    pub(super) lets_in: Vec<String>,
    /// What makes it more open than it may be meant to be.
    pub(super) warnings: Vec<String>,
    /// Whether somebody whom nobody knows may come in: the reach of the network is all that keeps them out.
    #[serde(skip)]
    #[schemars(skip)]
    pub(super) open: bool,
    /// The name as the NAS knows it.
    #[serde(skip)]
    #[schemars(skip)]
    pub(super) raw_name: String,
}

impl Tool for List {
    const NAME: &'static str = "shares_list";
    const TITLE: &'static str = "Shares";
    const DESCRIPTION: &'static str = "SMB and NFS shares and iSCSI targets: to which hosts, read-only or not, what is more open than it may be meant. Not file permissions.";
    const SCOPE: Scope = Scope::SharesRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] =
        &[("kind", Log::Plain), ("warnings", Log::Plain), ("limit", Log::Plain)];
    const NEEDS: &'static [Need] = needs![
        share::SmbShares,
        share::NfsShares,
        share::Extents,
        share::TargetExtents,
        share::Initiators,
        share::Targets
    ];
    type Args = ListArgs;
    type Output = ListOutput;

    async fn run(nas: &Session<'_, Read>, args: ListArgs) -> Result<ListOutput, ToolError> {
        let mut seen = Seen::default();
        let mut shares = shares(nas, &mut seen, args.kind).await?;
        if args.kind.is_none() {
            seen.not.push(
                "NVMe-oF subsystems and web shares, of generations that have them: not looked at".to_owned(),
            );
        }
        shares.retain(|share| !args.warnings || !share.warnings.is_empty());
        shares.sort_by(|one, other| {
            let key = |share: &Share| (share.warnings.is_empty(), share.kind);
            key(one).cmp(&key(other)).then_with(|| one.name.cmp(&other.name))
        });
        let total = shares.len();
        shares.truncate(args.limit.get());
        Ok(ListOutput { shares, total, not_seen: seen.not })
    }
}

/// Every share of this kind, or of any.
pub(super) async fn shares(
    nas: &Session<'_, Read>,
    seen: &mut Seen,
    only: Option<Kind>,
) -> Result<Vec<Share>, ToolError> {
    let wanted = |kind| only.is_none_or(|only| only == kind);
    let mut shares = Vec::new();
    if wanted(Kind::Smb) {
        let rows = seen.or_default("SMB shares", nas.call(share::SmbShares, Query::all()).await)?;
        shares.extend(rows.iter().map(smb));
    }
    if wanted(Kind::Nfs) {
        let rows = seen.or_default("NFS shares", nas.call(share::NfsShares, Query::all()).await)?;
        shares.extend(rows.iter().map(nfs));
    }
    if wanted(Kind::Iscsi) {
        let iscsi = Iscsi {
            extents: seen.or_default("iSCSI extents", nas.call(share::Extents, Query::all()).await)?,
            links: seen
                .or_default("what iSCSI targets give", nas.call(share::TargetExtents, Query::all()).await)?,
            initiators: nas.call(share::Initiators, Query::all()).await,
        };
        let targets = seen.or_default("iSCSI targets", nas.call(share::Targets, Query::all()).await)?;
        shares.extend(targets.iter().map(|target| iscsi.share(target)));
        seen.or_default("iSCSI initiators", iscsi.initiators.map(drop))?;
    }
    Ok(shares)
}

fn names(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| foreign(text, 100)).collect()
}

/// Warnings hold for a share that is served; one that is switched off exposes nothing.
fn warn(enabled: Option<bool>, warnings: &[(bool, &str)]) -> Vec<String> {
    let true_ones = warnings.iter().filter(|(holds, _)| *holds && enabled != Some(false));
    true_ones.map(|(_, warning)| (*warning).to_owned()).collect()
}

const ANYBODY: &str = "no limit of hosts: whoever reaches the NAS may try";

fn smb(share: &share::SmbShare) -> Share {
    let access = share.access();
    let denied = access.hostsdeny.iter().map(|host| format!("!{}", foreign(host, 100)));
    Share {
        kind: Kind::Smb,
        name: foreign(&share.name, 100),
        raw_name: share.name.clone(),
        paths: share.path.iter().map(|path| foreign(path, 300)).collect(),
        enabled: share.enabled,
        read_only: share.read_only(),
        lets_in: names(&access.hostsallow).into_iter().chain(denied).collect(),
        open: access.guestok == Some(true),
        warnings: warn(
            share.enabled,
            &[
                (access.guestok == Some(true), "guests come in without a password"),
                (access.hostsallow.is_empty(), ANYBODY),
            ],
        ),
    }
}

fn nfs(share: &share::NfsShare) -> Share {
    let root = |user: &Option<String>| user.as_deref() == Some("root");
    Share {
        kind: Kind::Nfs,
        name: foreign(&share.path, 300),
        raw_name: share.path.clone(),
        paths: vec![foreign(&share.path, 300)],
        enabled: share.enabled,
        read_only: share.ro,
        lets_in: [names(&share.networks), names(&share.hosts)].concat(),
        open: share.networks.is_empty() && share.hosts.is_empty(),
        warnings: warn(
            share.enabled,
            &[
                (share.networks.is_empty() && share.hosts.is_empty(), ANYBODY),
                (root(&share.maproot_user), "root of a client is root on the NAS (maproot)"),
                (root(&share.mapall_user), "everybody on a client is root on the NAS (mapall)"),
            ],
        ),
    }
}

/// What targets refer to by number.
struct Iscsi {
    extents: Vec<share::Extent>,
    links: Vec<share::TargetExtent>,
    initiators: Result<Vec<share::InitiatorGroup>, crate::nas::NasError>,
}

/// Whom a group of a target lets in.
struct WayIn<'i> {
    /// It is limited to no initiators.
    anybody: bool,
    initiators: &'i [String],
    /// They must know a password.
    password: bool,
}

impl Iscsi {
    fn share(&self, target: &share::Target) -> Share {
        let links = self.links.iter().filter(|link| link.target == target.id);
        let extents: Vec<_> =
            links.filter_map(|link| self.extents.iter().find(|extent| extent.id == link.extent)).collect();
        // Whoever one of its groups lets in is in: a target is as open as the most open of them.
        let networks = &target.auth_networks;
        let anywhere = networks.is_empty();
        let groups: Vec<_> = target.groups.iter().map(|group| self.way_in(group)).collect();
        let open = anywhere && groups.iter().any(|way| way.anybody && !way.password);
        let anybody = anywhere && groups.iter().any(|way| way.anybody);
        let no_secret = groups.iter().any(|way| !way.password);
        let mut lets_in = names(networks);
        // Where one group asks for no initiator, those of the others keep nobody out.
        if !groups.iter().any(|way| way.anybody) {
            lets_in.extend(groups.iter().flat_map(|way| names(way.initiators)));
            lets_in.dedup();
        }
        let enabled =
            (!extents.is_empty()).then(|| extents.iter().any(|extent| extent.enabled != Some(false)));
        Share {
            kind: Kind::Iscsi,
            name: foreign(&target.name, 100),
            raw_name: target.name.clone(),
            paths: extents
                .iter()
                .filter_map(|extent| extent.path.as_deref().or(extent.disk.as_deref()))
                .map(|path| foreign(path, 300))
                .collect(),
            enabled,
            read_only: (!extents.is_empty()).then(|| extents.iter().all(|extent| extent.ro == Some(true))),
            lets_in,
            open,
            warnings: warn(
                enabled,
                &[
                    (
                        open,
                        "no limit of networks or initiators and no password (CHAP): whoever reaches the NAS may come in",
                    ),
                    (
                        anybody && !open,
                        "no limit of networks or initiators: whoever reaches the NAS may try the password (CHAP)",
                    ),
                    (no_secret && !open, "no password (CHAP) is asked of those it is limited to"),
                ],
            ),
        }
    }

    /// Whom a group of a target lets in.
    fn way_in(&self, group: &share::TargetGroup) -> WayIn<'_> {
        let password = matches!(group.authmethod.as_deref(), Some("CHAP" | "CHAP_MUTUAL"));
        let known = match (group.initiator, &self.initiators) {
            (None, _) => Some(&[][..]),
            (Some(id), Ok(groups)) => Some(
                groups.iter().find(|known| known.id == id).map_or(&[][..], |known| &known.initiators[..]),
            ),
            // What could not be seen is told as such, and not called open.
            (Some(_), Err(_)) => None,
        };
        WayIn { anybody: known.is_some_and(<[_]>::is_empty), initiators: known.unwrap_or_default(), password }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smb => "SMB",
            Self::Nfs => "NFS",
            Self::Iscsi => "iSCSI",
        })
    }
}

impl Items for ListOutput {
    fn items(&self) -> usize {
        self.shares.len()
    }
}

impl fmt::Display for ListOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shares.is_empty() {
            writeln!(f, "There are no such shares.")?;
        }
        for share in &self.shares {
            write!(f, "- {} {}", share.kind, share.name)?;
            if share.paths.iter().any(|path| *path != share.name) {
                write!(f, ": {}", share.paths.join(", "))?;
            }
            if share.enabled == Some(false) {
                write!(f, ", switched off")?;
            }
            match share.read_only {
                Some(true) => write!(f, ", read-only")?,
                Some(false) => write!(f, ", may be written to")?,
                None => {}
            }
            match &share.lets_in[..] {
                [] => writeln!(f)?,
                hosts => writeln!(f, ", for {}", hosts.join(", "))?,
            }
            for warning in &share.warnings {
                writeln!(f, "  WARNING: {warning}")?;
            }
        }
        f.write_str(&shown_of(
            self.shares.len(),
            self.total,
            "Name a kind, ask for warnings alone, or raise limit.",
        ))?;
        self.not_seen.iter().try_for_each(|missing| writeln!(f, "Could not be seen: {missing}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn smb_of(json: serde_json::Value) -> Share {
        smb(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn both_forms_of_an_smb_share_read_the_same() {
        let old = smb_of(json!({
            "name": "a", "path": "/mnt/tank/a", "enabled": true, "ro": true, "guestok": true,
            "hostsallow": ["192.168.1.0/24"], "hostsdeny": ["ALL"],
        }));
        let new = smb_of(json!({
            "name": "a", "path": "/mnt/tank/a", "enabled": true, "readonly": true,
            "options": {"guestok": true, "hostsallow": ["192.168.1.0/24"], "hostsdeny": ["ALL"]},
        }));
        assert_eq!(serde_json::to_value(&old).unwrap(), serde_json::to_value(&new).unwrap());
        assert_eq!(old.warnings, ["guests come in without a password"]);
        assert_eq!(old.lets_in, ["192.168.1.0/24", "!ALL"]);
    }

    #[test]
    fn what_is_switched_off_exposes_nothing() {
        assert!(smb_of(json!({"name": "a", "enabled": false, "guestok": true})).warnings.is_empty());
        assert_eq!(smb_of(json!({"name": "a", "enabled": true})).warnings, [ANYBODY]);
    }

    #[test]
    fn an_nfs_share_for_everybodys_root_is_told_twice() {
        let share: share::NfsShare =
            serde_json::from_value(json!({"path": "/mnt/tank", "enabled": true, "maproot_user": "root"}))
                .unwrap();
        assert_eq!(nfs(&share).warnings.len(), 2);
        let share: share::NfsShare =
            serde_json::from_value(json!({"path": "/mnt/tank", "hosts": ["nas2"], "maproot_user": "nobody"}))
                .unwrap();
        assert!(nfs(&share).warnings.is_empty());
    }

    #[test]
    fn a_target_is_as_open_as_the_most_open_of_its_groups() {
        const OPEN: &str = "whoever reaches the NAS may come in";
        const TRY: &str = "whoever reaches the NAS may try";
        const LIMITED: &str = "no password (CHAP) is asked of those it is limited to";
        let known = json!([{"id": 1, "initiators": []}, {"id": 2, "initiators": ["iqn.x"]}]);
        let known = |seen: bool| Iscsi {
            extents: vec![],
            links: vec![],
            initiators: if seen {
                Ok(serde_json::from_value(known.clone()).unwrap())
            } else {
                Err(crate::nas::NasError::NoWriter)
            },
        };
        let (all, some, none) = (json!(1), json!(2), json!(null));
        for (seen, networks, groups, open, warning, lets_in) in [
            (true, &[][..], &[(&all, "NONE")][..], true, Some(OPEN), &[][..]),
            (true, &[], &[(&none, "NONE")], true, Some(OPEN), &[]),
            (true, &[], &[(&all, "CHAP")], false, Some(TRY), &[]),
            (true, &[], &[(&some, "CHAP")], false, None, &["iqn.x"]),
            (true, &[], &[(&some, "NONE")], false, Some(LIMITED), &["iqn.x"]),
            (true, &["10.0.0.0/8"], &[(&all, "CHAP")], false, None, &["10.0.0.0/8"]),
            (true, &["10.0.0.0/8"], &[(&all, "NONE")], false, Some(LIMITED), &["10.0.0.0/8"]),
            // An open group is a way in beside whatever limits another, and a password of one is none of the other.
            (true, &[], &[(&some, "CHAP"), (&all, "NONE")], true, Some(OPEN), &[]),
            (true, &[], &[(&all, "NONE"), (&some, "CHAP_MUTUAL")], true, Some(OPEN), &[]),
            (true, &[], &[(&all, "CHAP"), (&some, "NONE")], false, Some(TRY), &[]),
            (true, &[], &[(&some, "CHAP"), (&some, "CHAP")], false, None, &["iqn.x"]),
            // What could not be seen is not called open; that there is no limit can be seen without.
            (false, &[], &[(&some, "CHAP")], false, None, &[]),
            (false, &[], &[(&none, "NONE")], true, Some(OPEN), &[]),
            (true, &[], &[], false, None, &[]),
        ] {
            let rows: Vec<_> = groups
                .iter()
                .map(|(initiator, method)| json!({"initiator": initiator, "authmethod": method}))
                .collect();
            let target = json!({"id": 1, "name": "vm", "auth_networks": networks, "groups": rows});
            let share = known(seen).share(&serde_json::from_value(target).unwrap());
            let what = format!("{networks:?} {groups:?}: {:?}", share.warnings);
            assert_eq!(share.open, open, "{what}");
            assert_eq!(share.warnings.is_empty(), warning.is_none(), "{what}");
            assert!(warning.is_none_or(|warning| share.warnings[0].contains(warning)), "{what}");
            assert_eq!(share.lets_in, lets_in, "{what}");
        }
    }
}
