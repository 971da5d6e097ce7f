//! Two whole exchanges with a real server's library, without and with the server's certificate, and what a dishonest
//! server could say.

use super::*;

const KEY: &str = "7-uz8DhKHFhRIUQIvjzabPYtpy5wf1DJ3ZBLlDgNVhRAFT7Y6pJGUlm0n3apwxWEU4";
const SERVER_FIRST: &str = "r=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==,s=YWJjZGVmZ2hpamtsbW5vcA==,i=50000";
const END_POINT: [u8; 32] = [0x11; 32];

/// Ours first, ours last, theirs last.
const UNBOUND: [&str; 3] = [
    "n,,n=truenas_admin:7,r=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "c=biws,r=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==,p=+WmuJixRuWaeuz/zPG5Yrhiv431ZH93ExlS4PtoPvKZ9EhyeCsBda0D/+Cf16ba42ZHIaXMmpHVk1YZYDi81nw==",
    "v=c9pF/mMPctKWwDnYUAtlYuAZNutldUsb/Wo+HGzXJG5jRCn/hDhdcDNWUHxxTpjowgx74w27UiVEQX5zn82sHw==",
];
const BOUND: [&str; 3] = [
    "p=tls-server-end-point,,n=truenas_admin:7,r=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsERERERERERERERERERERERERERERERERERERERERERE=,r=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==,p=1Wr31+UCwH3l4ZACaHKQ6GHblEGcYJyo7ce+35uleOAVv09wClVJFVfBFmm+cnvVBY8tS7KkZd1TtE+Wc5CviA==",
    "v=+b6CAVfurJDUEYAZZ6sL+UJ40WaV6jOjCo4u6FTd7p1PPBuAsmkFf3h41gvJPyxwIy2+fhwFc1NHxtOwLj2jhQ==",
];

fn begin(end_point: Option<&[u8]>) -> Exchange {
    let nonce = std::array::from_fn(|index| u8::try_from(index).unwrap());
    Exchange::with_nonce("truenas_admin", &Secret::new(KEY.into()), end_point, nonce).unwrap()
}

#[test]
fn an_exchange_is_what_a_real_server_expects() {
    for (end_point, [first, last, verdict]) in [(None, UNBOUND), (Some(&END_POINT[..]), BOUND)] {
        let exchange = begin(end_point);
        assert_eq!(exchange.first(), first);
        let (said, expected) = exchange.finish(SERVER_FIRST).unwrap();
        assert_eq!(said, last);
        assert_eq!(expected.verify(verdict), Ok(()));
    }
}

#[test]
fn a_server_that_does_not_know_the_key_is_found_out() {
    let (_, expected) = begin(None).finish(SERVER_FIRST).unwrap();
    assert_eq!(expected.verify(BOUND[2]), Err(Fault::NotTheNas));
    assert_eq!(expected.verify("v="), Err(Fault::NotTheNas));
    assert_eq!(expected.verify("v=%%"), Err(Fault::Unreadable));
    assert_eq!(expected.verify("e=other-error"), Err(Fault::Unreadable));
    assert_eq!(expected.verify(""), Err(Fault::Unreadable));
}

#[test]
fn a_challenge_that_breaks_the_rules_is_not_answered() {
    let [nonce, salt, iterations] = SERVER_FIRST.splitn(3, ',').collect::<Vec<_>>().try_into().unwrap();
    let foreign = format!("r={}", BASE64.encode([7; 64]));
    let alone =
        format!("r={}", BASE64.encode(std::array::from_fn::<u8, 32, _>(|i| u8::try_from(i).unwrap())));
    for (said, fault) in [
        (format!("{foreign},{salt},{iterations}"), Fault::ForeignNonce),
        (format!("{alone},{salt},{iterations}"), Fault::ForeignNonce),
        (format!("{nonce},{salt},i=49999"), Fault::Iterations(49_999)),
        (format!("{nonce},{salt},i=5000001"), Fault::Iterations(5_000_001)),
        (format!("{nonce},{salt},i=-1"), Fault::Unreadable),
        (format!("{nonce},{salt},i=99999999999"), Fault::Unreadable),
        (format!("{nonce},s=,{iterations}"), Fault::Unreadable),
        (format!("{nonce},{salt}"), Fault::Unreadable),
        (format!("m=x,{nonce},{salt},{iterations}"), Fault::Unreadable),
        (format!("{nonce},{salt},{iterations},x=1"), Fault::Unreadable),
        (String::new(), Fault::Unreadable),
    ] {
        assert_eq!(begin(None).finish(&said).err(), Some(fault), "{said}");
    }
}

#[test]
fn a_name_or_key_that_cannot_be_written_into_the_exchange_is_refused_before_it_begins() {
    let begin = |name: &str, key: &str| Exchange::begin(name, &Secret::new(key.into()), None).err();
    assert_eq!(begin("a=b", KEY), Some(Fault::Username));
    assert_eq!(begin("a,r=x", KEY), Some(Fault::Username));
    assert_eq!(begin("", KEY), Some(Fault::Username));
    for key in ["", "7", "7-", "-x", "x-y", "7,r=x-y"] {
        assert_eq!(begin("reader", key), Some(Fault::KeyForm), "{key}");
    }
    assert_eq!(begin("reader", KEY), None);
}

#[test]
fn two_exchanges_have_two_nonces() {
    let first = || Exchange::begin("reader", &Secret::new(KEY.into()), None).unwrap().first();
    assert_ne!(first(), first());
}
