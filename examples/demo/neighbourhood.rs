//! Simulated tailnet, provider and NAS without a daemon, for one that systemd runs on this machine.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use sd_notify::NotifyState;
use serde_json::json;
use tailnas_sim::localapi::User;
use tailnas_sim::nas::Generation;
use tailnas_sim::tsidp::TokenSpec;
use tailnas_sim::world::{ALICE, CAPABILITY, World};
use tokio::signal::unix::{SignalKind, signal};

/// Where alice calls from when she comes over the tailnet; `tailscale serve` would tell it.
const PHONE: IpAddr = IpAddr::V4(Ipv4Addr::new(100, 64, 0, 7));

/// How many people there are besides, `NUMBER@example.com` at 100.64.1.NUMBER, who may read all that alice may.
const CROWD: u8 = 64;

/// Runs until it is told to stop. Puts the answers for `tailnas setup` into `dir`, and tokens for `url`.
pub async fn run(dir: &Path, url: &str, lifetime: Duration) -> io::Result<()> {
    let world = World::start(dir, 0, Generation::V25_10).await?;
    world.tailnet.add_user_node(PHONE, "phone", User::new(456, "alice@example.com", "Alice Doe"));
    world.tailnet.grant(PHONE, CAPABILITY, vec![json!({ "scopes": ALICE.scopes, "nas": ["*"] })]);
    for (file, login) in [("token", "alice@example.com"), ("token-bob", "bob@github")] {
        let token = world.tsidp.mint(TokenSpec { lifetime, ..TokenSpec::new(login, url) });
        world.write(file, &token)?;
    }
    for number in 1..=CROWD {
        let (address, login) = (Ipv4Addr::new(100, 64, 1, number).into(), format!("{number}@example.com"));
        let user = User::new(1000 + u64::from(number), &login, &login);
        world.tailnet.add_user_node(address, &format!("client-{number}"), user);
        world.tailnet.grant(address, CAPABILITY, vec![json!({ "scopes": ALICE.scopes, "nas": ["*"] })]);
        let token = world.tsidp.mint(TokenSpec { lifetime, ..TokenSpec::new(&login, url) });
        world.write(&format!("token-{number}"), &token)?;
    }
    let dir_text = dir.display();
    let answers = format!(
        "provider = {}\nnas = {}\nnas-name = homenas\nreader = {}\nreader-key-file = {dir_text}/reader.key\n\
         writer = {}\nwriter-key-file = {dir_text}/writer.key\n",
        world.tsidp.issuer(),
        world.nas.url().trim_end_matches("/api/current"),
        world.nas.reader_key().username,
        world.nas.writer_key().username,
    );
    fs::write(dir.join("answers"), answers)?;
    let mut terminate = signal(SignalKind::terminate())?;
    sd_notify::notify(&[NotifyState::Ready])?;
    terminate.recv().await;
    Ok(())
}
