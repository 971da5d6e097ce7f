//! `[audit]`

use crate::config::Audit;
use crate::config::keys;
use crate::config::problem::Complaint;
use crate::config::reader::{Read, Section};
use crate::config::values::{absolute_path, size};

/// Room for about 80,000 records.
const ROTATE_AT: u64 = 64 * 1024 * 1024;

pub(in crate::config) fn read(root: &mut Section<'_>) -> Read<Audit> {
    root.table("audit", &keys::AUDIT, |audit| {
        let dir = audit.folder("dir", None);
        let hmac_key = audit.secret("hmac_key");
        let signing_key = audit.secret("signing_key");
        let copy = audit.optional("copy", absolute_path);
        let rotate_at = audit.optional("rotate_at", size);
        let reads_go_on = audit.optional("reads_when_suspended", |text| match text {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err(Complaint::new("should be \"yes\" or \"no\"")),
        });
        Ok(Audit {
            dir: dir?,
            hmac_key: hmac_key?,
            signing_key: signing_key?,
            copy: copy?,
            reads_go_on: reads_go_on?.unwrap_or(false),
            rotate_at: rotate_at?.unwrap_or(ROTATE_AT),
        })
    })
}
