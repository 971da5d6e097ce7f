//! What ZFS itself knows a filesystem or volume by, whatever it is called.

use serde::{Deserialize, Serialize};

use super::Method;
use crate::domain::access::Read;
use crate::domain::name::DatasetPath;
use crate::nas::version::{Candidate, Version};

/// Identities of filesystems and volumes.
#[derive(Clone, Copy, Debug)]
pub struct Resources;

/// Which ones.
#[derive(Clone, Debug, Serialize)]
pub struct Wanted {
    /// These.
    pub paths: Vec<DatasetPath>,
    /// `null`: none of their properties.
    properties: Option<Vec<String>>,
    /// What lies below them too, at any depth.
    get_children: bool,
}

/// The identity of one.
#[must_use]
pub fn one(path: &DatasetPath) -> (Wanted,) {
    (Wanted { paths: vec![path.clone()], properties: None, get_children: false },)
}

/// The identities of one and of all that lies below it, in no order.
#[must_use]
pub fn and_below(path: &DatasetPath) -> (Wanted,) {
    (Wanted { get_children: true, ..one(path).0 },)
}

/// What no other filesystem or volume has, nor one that is made again under the same name.
#[derive(Clone, Debug, Deserialize)]
pub struct Resource {
    /// Its path.
    pub name: String,
    /// A random number, for ever its own.
    pub guid: u64,
    /// The transaction that made it.
    pub createtxg: u64,
}

impl Method for Resources {
    type Access = Read;
    type Params = (Wanted,);
    type Reply = Vec<Resource>;
    const CANDIDATES: &'static [Candidate] =
        &[Candidate::since(Version::new(25, 10, 0), "zfs.resource.query")];
    const ROLE: Option<&'static str> = Some("ZFS_RESOURCE_READ");

    #[expect(clippy::expect_used, reason = "the name is right there")]
    fn example() -> Self::Params {
        and_below(&"tank/photos".parse().expect("a dataset"))
    }
}
