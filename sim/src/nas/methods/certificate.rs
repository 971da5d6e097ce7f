//! `certificate.*`

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::params::QUERY;
use crate::nas::wire::Failure;
use crate::nas::{CANARY, Generation};

pub(super) const METHODS: &[Method] =
    &[method("certificate.query", Access::Role("CERTIFICATE_READ"), QUERY, query)];

fn query(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let (now, generation) = (context.state.now(), context.generation());
    context.query(vec![
        row(1, "truenas_default", "localhost", (-300, 97), now, generation),
        row(2, "old-wildcard", "*.example.com", (-95, -5), now, generation),
    ])
}

fn row(
    id: i64,
    name: &str,
    common: &str,
    days: (i64, i64),
    now: DateTime<Utc>,
    generation: Generation,
) -> Value {
    let (from, until) = (now + TimeDelta::days(days.0), now + TimeDelta::days(days.1));
    let words = |at: DateTime<Utc>| at.format("%a %b %e %H:%M:%S %Y").to_string();
    let mut row = json!({
        "id": id,
        "type": 8,
        "name": name,
        "certificate": CANARY,
        "privatekey": CANARY,
        "CSR": null,
        "acme_uri": null,
        "domains_authenticators": null,
        "renew_days": null,
        "acme": null,
        "add_to_trusted_store": false,
        "root_path": "/etc/certificates",
        "certificate_path": format!("/etc/certificates/{name}.crt"),
        "privatekey_path": format!("/etc/certificates/{name}.key"),
        "csr_path": format!("/etc/certificates/{name}.csr"),
        "cert_type": "CERTIFICATE",
        "cert_type_existing": true,
        "cert_type_CSR": false,
        "chain_list": [CANARY],
        "key_length": 2048,
        "key_type": "RSA",
        "country": "CH",
        "state": null,
        "city": null,
        "organization": null,
        "organizational_unit": null,
        "common": common,
        "san": [format!("DNS:{common}")],
        "email": null,
        "DN": format!("/CN={common}"),
        "digest_algorithm": "SHA256",
        "lifetime": (until - from).num_days(),
        "from": words(from),
        "until": words(until),
        "serial": 1,
        "chain": false,
        "fingerprint": "00:11",
        "expired": until < now,
        "parsed": true,
        "extensions": {},
    });
    if generation == Generation::V25_04 {
        row["subject_name_hash"] = json!("1234");
        row["issuer"] = json!("external");
    } else {
        row["subject_name_hash"] = json!(1234);
        row["cert_type_CA"] = json!(false);
    }
    row
}
