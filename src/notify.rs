//! Notices that something waits for a person: how many, and where. Never who or what, for these go through services of
//! others and lie on locked screens. A notice that cannot be sent holds nothing up.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::config::{Config, Notify, NotifyKind};
use crate::lifecycle::Lifecycle;
use crate::net::http::{Client, HttpError, Request};
use crate::policy::plans::Plans;
use crate::secret::{Secret, SecretError};

/// The least time between two notices.
const PAUSE: Duration = Duration::from_secs(20);

const TITLE: &str = "tailnas";

/// Sends notices to everybody whom the configuration names.
pub struct Notifier {
    to: Vec<Recipient>,
    client: Client,
    /// Where it can be said yes or no.
    page: String,
}

struct Recipient {
    kind: NotifyKind,
    url: url::Url,
    token: Option<Secret>,
}

/// Why a notice did not arrive. It does not name the URL, which for some services is itself a secret.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    /// The request cannot be made, such as with a token that no header can hold.
    #[error("the request cannot be made: is the token one line of plain text?")]
    Request(#[from] http::Error),
    /// Nobody answered.
    #[error("there was no answer")]
    Http(#[from] HttpError),
    /// The answer is no.
    #[error("the answer was status {0}: are url and token right?")]
    Status(u16),
}

impl Notifier {
    /// A notifier for `config`.
    ///
    /// # Errors
    ///
    /// When a token cannot be read.
    pub fn new(config: &Config, client: Client) -> Result<Self, SecretError> {
        let recipient = |notify: &Notify| {
            let token = notify.token.as_ref().map(crate::secret::SecretSource::load).transpose()?;
            Ok(Recipient { kind: notify.kind, url: notify.url.clone(), token })
        };
        let to = config.notify.iter().map(recipient).collect::<Result<_, _>>()?;
        Ok(Self { to, client, page: format!("{}/console", config.server.url.origin()) })
    }

    /// Sends that `waiting` changes wait, to everybody, and says how that went with each, in the order of the
    /// configuration.
    pub async fn waiting(&self, waiting: usize) -> Vec<(NotifyKind, Result<(), NotSent>)> {
        let changes = if waiting == 1 { "1 change waits" } else { &format!("{waiting} changes wait") };
        self.send(&format!("{changes} for approval: {}", self.page), waiting).await
    }

    /// Sends a notice to try it out.
    pub async fn test(&self) -> Vec<(NotifyKind, Result<(), NotSent>)> {
        self.send(&format!("A test. Nothing waits: {}", self.page), 0).await
    }

    async fn send(&self, text: &str, waiting: usize) -> Vec<(NotifyKind, Result<(), NotSent>)> {
        let sent = self.to.iter().map(|to| async move { (to.kind, self.send_to(to, text, waiting).await) });
        futures_util::future::join_all(sent).await
    }

    async fn send_to(&self, to: &Recipient, text: &str, waiting: usize) -> Result<(), NotSent> {
        let answer = self.client.send(self.request(to, text, waiting)?).await?;
        if answer.status().is_success() { Ok(()) } else { Err(NotSent::Status(answer.status().as_u16())) }
    }

    /// As the service's own documentation has it.
    fn request(&self, to: &Recipient, text: &str, waiting: usize) -> Result<Request, http::Error> {
        let Recipient { kind, url, token } = to;
        let page = self.page.as_str();
        let mut target = url.to_string();
        let mut request = http::Request::builder().method("POST");
        let bearer = |token: &Secret| sensitive(&format!("Bearer {}", token.expose()));
        let body = match kind {
            NotifyKind::Ntfy => {
                request = request.header("title", TITLE).header("click", page).header("tags", "lock");
                None
            }
            NotifyKind::Gotify => {
                target = format!("{}/message", target.trim_end_matches('/'));
                let click = json!({ "client::notification": { "click": { "url": page } } });
                Some(json!({ "title": TITLE, "message": text, "priority": 7, "extras": click }))
            }
            NotifyKind::HomeAssistant => {
                Some(json!({ "title": TITLE, "message": text, "data": { "url": page, "clickAction": page } }))
            }
            NotifyKind::Webhook => {
                Some(json!({ "event": "waiting", "waiting": waiting, "text": text, "url": page }))
            }
        };
        if let Some(token) = token {
            request = match kind {
                NotifyKind::Gotify => {
                    request.header(HeaderName::from_static("x-gotify-key"), sensitive(token.expose())?)
                }
                _ => request.header(AUTHORIZATION, bearer(token)?),
            };
        }
        match body {
            None => request.header(CONTENT_TYPE, "text/plain; charset=utf-8").uri(target).body(text.into()),
            Some(body) => request
                .header(CONTENT_TYPE, "application/json")
                .uri(target)
                .body(Value::to_string(&body).into()),
        }
    }

    /// Sends a notice whenever one more plan waits for a person, and not more often than people can bear.
    pub async fn watch(self, plans: Plans, lifecycle: Lifecycle) {
        let mut news = plans.changes();
        let mut known = 0;
        loop {
            tokio::select! {
                () = lifecycle.ending() => return,
                more = news.changed() => if more.is_err() { return lifecycle.ending().await },
            }
            let waiting = plans.waiting_for_a_person();
            if waiting > known && !self.to.is_empty() {
                for (kind, result) in self.waiting(waiting).await {
                    if let Err(error) = result {
                        tracing::warn!(
                            kind = kind.as_str(),
                            "a notice was not sent: {}",
                            crate::telemetry::chain(&error)
                        );
                    }
                }
                tokio::select! {
                    () = lifecycle.ending() => return,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
            known = plans.waiting_for_a_person().min(waiting);
        }
    }
}

/// A value that no log of the HTTP library prints.
fn sensitive(text: &str) -> Result<HeaderValue, http::Error> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipient(kind: NotifyKind, url: &str) -> Recipient {
        Recipient { kind, url: url.parse().unwrap(), token: Some(Secret::new("t0ken".to_owned())) }
    }

    fn request(kind: NotifyKind) -> Request {
        let page = "https://nas-mcp.tail1234.ts.net/console".to_owned();
        let notifier = Notifier { to: Vec::new(), client: Client::new(None).unwrap(), page };
        notifier.request(&recipient(kind, "https://push.example/x"), "2 changes wait", 2).unwrap()
    }

    #[test]
    fn each_service_is_spoken_to_in_its_own_way() {
        for (kind, uri, header, value) in [
            (NotifyKind::Ntfy, "https://push.example/x", "click", "https://nas-mcp.tail1234.ts.net/console"),
            (NotifyKind::Ntfy, "https://push.example/x", "authorization", "Bearer t0ken"),
            (NotifyKind::Gotify, "https://push.example/x/message", "x-gotify-key", "t0ken"),
            (NotifyKind::HomeAssistant, "https://push.example/x", "authorization", "Bearer t0ken"),
            (NotifyKind::Webhook, "https://push.example/x", "content-type", "application/json"),
        ] {
            let request = request(kind);
            assert_eq!(request.uri().to_string(), uri, "{kind:?}");
            assert_eq!(request.headers()[header], value, "{kind:?}");
            let body = String::from_utf8(request.into_body()).unwrap();
            assert!(body.contains("2 changes wait") && !body.contains("t0ken"), "{kind:?}: {body}");
        }
    }

    #[tokio::test]
    async fn a_service_that_is_away_is_told_and_nothing_more() {
        let page = "https://nas-mcp.tail1234.ts.net/console".to_owned();
        let to = vec![recipient(NotifyKind::Ntfy, "http://127.0.0.1:9/x")];
        let notifier = Notifier { to, client: Client::new(None).unwrap(), page };
        let [(_, result)] = &notifier.waiting(1).await[..] else { panic!("one recipient, one result") };
        let said = crate::telemetry::chain(result.as_ref().unwrap_err());
        assert!(!said.contains("t0ken"), "{said}");
    }
}
