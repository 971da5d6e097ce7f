//! A person at the console, without a screen: what their browser sends when they open a page and press a button there.

use std::io;
use std::net::IpAddr;

use http::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::passkey::Passkey;
use crate::world::{Person, World};

/// A browser on somebody's node, and the passkey in it.
pub struct Browser {
    client: Client,
    origin: String,
    /// The passkey that it answers with.
    pub passkey: Passkey,
}

impl Browser {
    /// That of `person`, with a passkey that is not enrolled yet.
    pub fn of(world: &World, person: Person) -> io::Result<Self> {
        let origin = world.origin();
        let client = Client { token: None, from: IpAddr::V4(person.address), ..world.client(person) };
        Ok(Self { client, passkey: Passkey::new(&origin)?, origin })
    }

    /// Opens a page.
    pub async fn open(&self, path: &str) -> io::Result<Answer> {
        self.client.send(Method::GET, path, &[("sec-fetch-site", "none")], "").await
    }

    /// Sends a form of a page of the console.
    pub async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> io::Result<Answer> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.post(path, "application/x-www-form-urlencoded", body).await
    }

    /// Sends what a script of the console sends.
    pub async fn script(&self, path: &str, body: &Value) -> io::Result<Answer> {
        self.post(path, "application/json", body.to_string()).await
    }

    async fn post(&self, path: &str, kind: &str, body: String) -> io::Result<Answer> {
        let headers = [("content-type", kind), ("origin", &self.origin), ("sec-fetch-site", "same-origin")];
        self.client.send(Method::POST, path, &headers, body).await
    }

    /// The token of the form on `page` that goes to `action`. A page without such a form has an empty one.
    pub async fn form(&self, page: &str, action: &str) -> io::Result<String> {
        let page = self.open(page).await?;
        let html = String::from_utf8_lossy(&page.body).into_owned();
        let form = html.split_once(&format!("action=\"{action}\"")).map(|(_, rest)| rest);
        let token = form.and_then(|form| form.split_once("name=\"form\" value=\"")?.1.split('"').next());
        Ok(token.unwrap_or_default().to_owned())
    }

    /// Follows a link that root made, and enrols the passkey. Answers what the server said at the end.
    pub async fn enroll(&self, link: &str) -> io::Result<Answer> {
        let secret = link.split_once('#').map_or("", |(_, secret)| secret);
        let form = self.form("/console/enroll", "/console/enroll/begin").await?;
        let asked = json!({ "form": form, "secret": secret, "label": "a passkey" });
        let begun = self.script("/console/enroll/begin", &asked).await?;
        if !begun.status.is_success() {
            return Ok(begun);
        }
        let answer = self.passkey.create(&begun.json()["options"]);
        let finished = json!({ "ceremony": begun.json()["ceremony"], "answer": answer });
        self.script("/console/enroll/finish", &finished).await
    }

    /// Approves a plan with the passkey. Answers what the server said at the end.
    pub async fn approve(&mut self, plan: &str) -> io::Result<Answer> {
        let begun = self.begin_approval(plan).await?;
        if !begun.status.is_success() {
            return Ok(begun);
        }
        let answer = self.passkey.get(&begun.json()["options"])?;
        let finished = json!({ "ceremony": begun.json()["ceremony"], "answer": answer });
        self.script(&format!("/console/plans/{plan}/approve/finish"), &finished).await
    }

    /// Presses the button, up to where the passkey is asked for.
    pub async fn begin_approval(&self, plan: &str) -> io::Result<Answer> {
        let begin = format!("/console/plans/{plan}/approve/begin");
        let form = self.form(&format!("/console/plans/{plan}"), &begin).await?;
        self.script(&begin, &json!({ "form": form })).await
    }

    /// Refuses a plan, with a note.
    pub async fn refuse(&self, plan: &str, note: &str) -> io::Result<Answer> {
        let action = format!("/console/plans/{plan}/refuse");
        let form = self.form(&format!("/console/plans/{plan}"), &action).await?;
        self.submit(&action, &[("form", &form), ("note", note)]).await
    }
}
