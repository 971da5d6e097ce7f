//! The configuration and the policy file it names; a line of `---` parts the two.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tailnas::config::{self, Grantee, Listen};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, policy) = text.split_once("\n---\n").unwrap_or((text, ""));
    match config::parse(Path::new("config.toml"), text, |_| Ok(policy.to_owned())) {
        Ok(config) => {
            assert!(!config.server.listen.is_empty());
            for listen in &config.server.listen {
                if let Listen::Tailnet(address) = listen {
                    assert!(!address.ip().is_loopback() && !address.ip().is_unspecified(), "{address}");
                }
            }
            for grant in &config.grants {
                assert!(grant.scopes.iter().next().is_some(), "a grant of nothing");
                match &grant.to {
                    Grantee::Login(name) => assert!(!name.is_empty()),
                    Grantee::Group(name) => assert!(name.starts_with("group:"), "{name}"),
                }
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            // Each is told to a person.
            assert!(!problems.to_string().is_empty());
        }
    }
});
