//! LocalAPI: restarts, late registration, silence.

use std::time::{Duration, Instant};

use tailnas::tailnet::{Silence, WhoisError};
use tailnas_sim::fault::Fault;

use crate::world::{World, connection};

#[tokio::test]
async fn a_restart_of_tailscaled_is_not_noticed() {
    let world = World::new().await;
    let localapi = world.localapi();
    // Several connections are kept, and all of them are dead afterwards.
    let peers = tokio::join!(
        localapi.whois(connection("laptop")),
        localapi.whois(connection("bobs")),
        localapi.whois(connection("ci"))
    );
    assert!(peers.0.is_ok() && peers.1.is_ok() && peers.2.is_ok());
    for _ in 0..3 {
        world.tailscaled.restart().await.unwrap();
        for _ in 0..3 {
            let peer = localapi.whois(connection("laptop")).await.unwrap();
            assert_eq!(peer.user().unwrap().login(), "alice@example.com");
        }
    }
    world.tailscaled.stop().await;
    assert!(matches!(
        localapi.whois(connection("laptop")).await,
        Err(WhoisError::Unavailable(Silence::Unreachable(_)))
    ));
}

#[tokio::test]
async fn a_connection_that_is_registered_late_is_waited_for() {
    let world = World::new().await;
    let localapi = world.localapi();
    for (late, known) in [(0, true), (1, true), (2, true), (3, false)] {
        world.tailscaled.register_late(late);
        let before = world.tailscaled.requests().len();
        let answer = localapi.whois(connection("laptop")).await;
        assert_eq!(answer.is_ok(), known, "{late}");
        assert!(known || matches!(answer, Err(WhoisError::Unknown)));
        assert_eq!(world.tailscaled.requests().len() - before, (late + 1).min(3));
    }
    // Off loopback nothing is registered late.
    let before = world.tailscaled.requests().len();
    let stranger = localapi.whois("192.168.1.7:5000".parse().unwrap()).await;
    assert!(matches!(stranger, Err(WhoisError::Unknown)));
    assert_eq!(world.tailscaled.requests().len() - before, 1);
}

#[tokio::test]
async fn the_address_is_asked_about_as_tailscaled_writes_it() {
    let world = World::new().await;
    let localapi = world.localapi();
    for (addr, asked) in [
        ("127.0.0.2:41000", "127.0.0.2%3A41000"),
        ("[::ffff:127.0.0.2]:41000", "127.0.0.2%3A41000"),
        ("127.0.0.2:0", "127.0.0.2"),
        ("[fd7a:115c:a1e0::5]:1", "%5Bfd7a%3A115c%3Aa1e0%3A%3A5%5D%3A1"),
    ] {
        let _ = localapi.whois(addr.parse().unwrap()).await;
        let last = world.tailscaled.requests().pop().unwrap();
        assert_eq!(last, format!("GET /localapi/v0/whois?addr={asked}"));
    }
}

#[tokio::test]
async fn silence_and_noise_are_not_an_unknown_peer() {
    let world = World::new().await;
    let localapi = world.localapi();
    let json = |body: &[u8]| Fault::Body("application/json".to_owned(), body.to_vec());
    for fault in [
        Fault::Hang,
        Fault::Drop,
        Fault::Garbage,
        Fault::HalfFrame,
        Fault::Status(403, "whois access denied".to_owned()),
        Fault::Status(400, "invalid 'addr' parameter".to_owned()),
        Fault::Status(500, String::new()),
        Fault::Oversize(2 * 1024 * 1024),
        json(b""),
        json(b"[]"),
        json(&[b"{\"Node\":".as_slice(), &b"[".repeat(100_000)].concat()),
    ] {
        world.tailscaled.faults().always(fault.clone());
        let start = Instant::now();
        let answer = localapi.whois(connection("laptop")).await;
        assert!(matches!(answer, Err(WhoisError::Unavailable(_))), "{fault:?}: {answer:?}");
        assert!(start.elapsed() < Duration::from_millis(1200), "{fault:?}");
        world.tailscaled.faults().clear();
        assert!(localapi.whois(connection("laptop")).await.is_ok(), "after {fault:?}");
    }
}

#[tokio::test]
async fn our_own_node_is_known_without_the_list_of_peers() {
    let world = World::new().await;
    let status = world.localapi().status().await.unwrap();
    assert!(status.is_running());
    assert_eq!(status.dns_name(), "truenas-mcp.tail1234.ts.net");
    let own = world.localapi().whois(connection("own")).await.unwrap();
    assert_eq!(own.node_id(), status.self_id());
    assert!(world.tailscaled.requests().contains(&"GET /localapi/v0/status?peers=false".to_owned()));
}
