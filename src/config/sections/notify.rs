//! `[[notify]]`

use crate::config::keys;
use crate::config::problem::Complaint;
use crate::config::reader::{Read, Section};
use crate::config::values::web_url;
use crate::config::{Notify, NotifyKind};

pub(in crate::config) fn read(root: &mut Section<'_>) -> Read<Vec<Notify>> {
    root.tables("notify", &keys::NOTIFY, |notify| {
        let kind = notify.required("kind", kind);
        let url = notify.required("url", web_url);
        let token = notify.optional_secret("token");
        Ok(Notify { kind: kind?, url: url?, token: token? })
    })
}

fn kind(text: &str) -> Result<NotifyKind, Complaint> {
    match text {
        "ntfy" => Ok(NotifyKind::Ntfy),
        "gotify" => Ok(NotifyKind::Gotify),
        "homeassistant" => Ok(NotifyKind::HomeAssistant),
        "webhook" => Ok(NotifyKind::Webhook),
        _ => Err(Complaint::new("should be \"ntfy\", \"gotify\", \"homeassistant\" or \"webhook\"")),
    }
}
