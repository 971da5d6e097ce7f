//! Peer and token together: who is admitted, as whom, and to what.

use serde_json::{Value, json};
use tailnas::caller::{Caller, Denied, DenyKind, Gate};
use tailnas::config::{Grant, Grantee};
use tailnas::domain::scope::{Scope, ScopeSet};
use tailnas::oauth::Freshness;
use tailnas_sim::localapi::{SelfNode, User};
use tailnas_sim::tsidp::TokenSpec;

use crate::world::{ALICE, BOB, CAPABILITY, RESOURCE, World, address, bearer, connection};

async fn admit(gate: &Gate, node: &str, token: &str) -> Result<Caller, Denied> {
    gate.admit(connection(node), &bearer(token), Freshness::Cached).await
}

/// The answer in a word, with the class of it.
fn word(answer: Result<Caller, Denied>) -> String {
    match answer {
        Ok(_) => "admitted".to_owned(),
        Err(denied) => {
            let status = match denied.kind() {
                DenyKind::Forbidden => 403,
                DenyKind::Unauthorized => 401,
                DenyKind::TooMany { .. } => 429,
                DenyKind::Unavailable { .. } => 503,
            };
            format!("{status} {}", denied.reason())
        }
    }
}

fn spelled(caller: &Caller) -> String {
    let nas = "home".parse().unwrap();
    let allowed = Scope::ALL.iter().filter_map(|scope| {
        caller.grants().allows(*scope, &nas).map(|rule| format!("{scope} by {}", rule.as_str()))
    });
    allowed.collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn a_user_on_a_node_of_hers_with_a_token_of_hers_is_admitted() {
    let world = World::new().await;
    let gate = world.gate(Vec::new());
    let (token, _) = world.token("alice@example.com");
    let caller = admit(&gate, "laptop", &token).await.unwrap();
    assert_eq!(spelled(&caller), "", "nobody granted anything");
    let who = caller.who();
    let (peer, auth) = (who.peer.unwrap(), who.auth.unwrap());
    assert_eq!((peer.user.as_deref(), peer.port), (Some("alice@example.com"), 41000));
    assert_eq!(peer.node_name, "laptop.tail1234.ts.net");
    assert_eq!((&*auth.sub, &*auth.scope, auth.age_ms), ("456", "openid email profile", 0));
    assert_eq!(auth.iss, world.tsidp.issuer());
    let printed = format!("{caller:?} {auth:?}");
    assert!(!printed.contains(&token), "no token in what can be printed");
}

#[tokio::test]
async fn a_grant_of_the_tailnet_counts_while_it_is_there() {
    let world = World::new().await;
    let gate = world.gate(Vec::new());
    let (token, _) = world.token("alice@example.com");
    let grant = |values: Value| {
        world.tailnet.grant(address("laptop"), CAPABILITY, values.as_array().unwrap().clone());
    };
    grant(json!([{ "scopes": ["storage:read", "storage:destroyed"], "nas": ["*"] }]));
    assert_eq!(spelled(&admit(&gate, "laptop", &token).await.unwrap()), "storage:read by tailnet");
    world.tailnet.revoke(address("laptop"), CAPABILITY);
    assert_eq!(spelled(&admit(&gate, "laptop", &token).await.unwrap()), "", "with the very next request");
    grant(json!([{ "scopes": ["storage:read"] }, { "scopes": "storage:write" }]));
    assert_eq!(spelled(&admit(&gate, "laptop", &token).await.unwrap()), "", "malformed grants nothing");
    assert_eq!(world.tsidp.introspections(), 1);
}

#[tokio::test]
async fn the_policy_file_adds_to_the_tailnet_and_the_token_narrows_both() {
    let world = World::new().await;
    world.tailnet.grant(address("laptop"), CAPABILITY, vec![json!({ "scopes": ["storage:read"] })]);
    let give = |to, scope, nas: Option<&str>| Grant {
        to,
        scopes: ScopeSet::from_iter([scope]),
        nas: nas.map(|name| [name.parse().unwrap()].into()),
    };
    let gate = world.gate(vec![
        give(Grantee::Login("alice@example.com".to_owned()), Scope::AppsRead, Some("home")),
        give(Grantee::Group("group:storage-admins".to_owned()), Scope::StorageWrite, None),
        give(Grantee::Login("alice@example.com".to_owned()), Scope::VmsRead, Some("attic")),
        give(Grantee::Login("Alice@example.com".to_owned()), Scope::UsersRead, None),
        give(Grantee::Login("bob@example.com".to_owned()), Scope::SystemAdmin, None),
        give(Grantee::Group("group:storage".to_owned()), Scope::StorageDestroy, None),
    ]);
    let (token, _) = world.token("alice@example.com");
    assert_eq!(
        spelled(&admit(&gate, "laptop", &token).await.unwrap()),
        "storage:read by tailnet, storage:write by policy, apps:read by policy"
    );
    let mut narrow = TokenSpec::new("alice@example.com", RESOURCE);
    narrow.scopes = ["openid", "storage:write", "system:admin"].map(str::to_owned).to_vec();
    let narrow = world.tsidp.mint(narrow);
    assert_eq!(spelled(&admit(&gate, "laptop", &narrow).await.unwrap()), "storage:write by policy");
}

#[tokio::test]
async fn a_peer_that_is_nobodys_place_to_be_is_refused_before_its_token_is_looked_at() {
    let world = World::new().await;
    let gate = world.gate(Vec::new());
    let (token, _) = world.token("alice@example.com");
    world.tailnet.set_sharer(address("bobs"), 99);
    for (node, answer) in [
        ("nobody", "403 peer_unknown"),
        ("ci", "403 tagged"),
        ("bobs", "403 shared_in"),
        ("own", "403 tagged"),
    ] {
        assert_eq!(word(admit(&gate, node, &token).await), answer, "{node}");
    }
    // Our own node as it is where nobody tagged it: Alice's, like every process on the machine.
    world.tailnet.set_self(SelfNode {
        host: "truenas-mcp".to_owned(),
        addresses: vec![address("own")],
        tags: Vec::new(),
        user: ALICE,
    });
    assert_eq!(word(admit(&gate, "own", &token).await), "403 own_node");
    assert_eq!(world.tsidp.introspections(), 0);
    world.tailscaled.stop().await;
    assert_eq!(word(admit(&gate, "laptop", &token).await), "503 tailscaled_down");
}

#[tokio::test]
async fn a_node_that_does_not_know_itself_admits_nobody() {
    let world = World::new().await;
    let (token, _) = world.token("alice@example.com");
    let nobody = json!({ "BackendState": "NeedsLogin", "Self": null, "TailscaleIPs": null });
    let gate = world.gate(Vec::new());
    // The first answer is WhoIs and the second is status.
    let faults = world.tailscaled.faults();
    faults.once(tailnas_sim::fault::Fault::Slow(std::time::Duration::ZERO));
    faults.once(tailnas_sim::fault::Fault::Body(
        "application/json".to_owned(),
        nobody.to_string().into_bytes(),
    ));
    assert_eq!(word(admit(&gate, "laptop", &token).await), "503 tailscaled_down");
    assert_eq!(word(admit(&gate, "laptop", &token).await), "admitted");
}

/// C22 to C25: the id decides, and a name does not.
#[tokio::test]
async fn a_token_counts_on_its_own_users_nodes_only() {
    let world = World::new().await;
    let gate = world.gate(Vec::new());
    let (alices, _) = world.token("alice@example.com");
    let (bobs, _) = world.token("bob@example.com");
    assert_eq!(word(admit(&gate, "bobs", &bobs).await), "admitted");
    assert_eq!(word(admit(&gate, "laptop", &bobs).await), "401 binding");
    assert_eq!(word(admit(&gate, "bobs", &alices).await), "401 binding");
    let denied = admit(&gate, "bobs", &alices).await.unwrap_err();
    assert_eq!(denied.who().peer.as_ref().unwrap().user.as_deref(), Some("bob@example.com"));
    assert_eq!(denied.who().auth.as_ref().unwrap().sub, "456");
    let now = world.tsidp.now().timestamp();
    for (row, sub, answer) in [
        ("C22", "457", "401 binding"),
        ("C22", "4560", "401 binding"),
        ("C22", "0456", "401 binding"),
        ("C22", "+456", "401 binding"),
        ("C22", " 456", "401 binding"),
        ("C22", "456.0", "401 binding"),
        ("C23", "456", "admitted"),
        ("C23", "userid:456", "admitted"),
        ("C23", "userid:457", "401 binding"),
        ("C23", "userid:userid:456", "401 binding"),
        ("C23", "UserID:456", "401 binding"),
        ("C23", "userid:", "401 binding"),
        ("C25", "alice@example.com", "401 binding"),
    ] {
        let token = format!("t{}", hex::encode(sub));
        world.tsidp.set_claims(
            &token,
            json!({
                "active": true, "iss": world.tsidp.issuer(), "aud": [RESOURCE], "exp": now + 300,
                "token_type": "Bearer", "sub": sub, "username": "alice@example.com",
            }),
        );
        assert_eq!(word(admit(&gate, "laptop", &token).await), answer, "{row} {sub:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_token_decides_the_kind_of_the_answer() {
    let world = World::new().await;
    let gate = world.gate(Vec::new());
    assert_eq!(word(admit(&gate, "laptop", "unknown").await), "401 inactive");
    let mut elsewhere = TokenSpec::new("alice@example.com", "https://grafana.tail1234.ts.net");
    elsewhere.client_id = "grafana".to_owned();
    let elsewhere = world.tsidp.mint(elsewhere);
    assert_eq!(word(admit(&gate, "laptop", &elsewhere).await), "401 audience");
    world.tsidp.stop().await;
    let (token, _) = world.token("alice@example.com");
    assert_eq!(word(admit(&gate, "laptop", &token).await), "503 provider_down");
}

#[tokio::test]
async fn before_a_change_everything_is_asked_again() {
    let world = World::new().await;
    let gate = world.gate(Vec::new());
    let (token, _) = world.token("alice@example.com");
    world.tailnet.grant(address("laptop"), CAPABILITY, vec![json!({ "scopes": ["storage:write"] })]);
    let caller = admit(&gate, "laptop", &token).await.unwrap();
    let again = async || gate.readmit(&caller).await.map(|fresh| spelled(fresh.caller()));
    let reason = async || again().await.unwrap_err().reason();
    assert_eq!(again().await.unwrap(), "storage:write by tailnet");
    assert_eq!(world.tsidp.introspections(), 2);

    world.tailnet.revoke(address("laptop"), CAPABILITY);
    assert_eq!(again().await.unwrap(), "", "the grants are those of the moment");

    // The address is now another node's, of the same user.
    world.tailnet.remove(address("laptop"));
    assert_eq!(reason().await, "peer_unknown");
    world.tailnet.add_user_node(address("laptop"), "phone", User::new(ALICE, "alice@example.com", "Alice"));
    assert_eq!(reason().await, "changed");
    world.tailnet.remove(address("laptop"));
    world.tailnet.add_user_node(address("laptop"), "laptop", User::new(BOB, "bob@example.com", "Bob"));
    assert_eq!(reason().await, "binding");

    let caller = admit(&gate, "bobs", &world.token("bob@example.com").0).await.unwrap();
    assert!(gate.readmit(&caller).await.is_ok());
    world.tsidp.stop().await;
    assert_eq!(gate.readmit(&caller).await.unwrap_err().reason(), "provider_down", "E10");
}
