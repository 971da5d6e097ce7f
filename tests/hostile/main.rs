//! Hostile and broken input against a real daemon, over real sockets.
//!
//! `cases.toml` is the list: what is sent, and what it must get. This file sends it and looks at everything that
//! came of it: the answer, the NAS, the audit log, the daemon's own log.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may panic, and needs no lifecycle"
)]

#[path = "../common/mod.rs"]
mod common;

mod documents;
mod http2;
mod neighbours;
mod outages;
mod row;
mod runner;
mod secrets;
mod wire;

/// Every row that there has to be: `A` to `G`, with the gaps that the list has always had.
const ROWS: [(&str, &[u8]); 7] = [
    ("A", &[1, 2, 3, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 18, 20]),
    ("B", &[1, 2, 4, 5, 7, 8, 9, 10, 11, 13, 14, 17, 18, 19, 20, 21, 23, 24]),
    ("C", &[1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 17, 18, 20, 21, 22, 23, 25, 26, 27, 29, 30, 31, 33, 34]),
    ("D", &[1, 3, 5, 6, 7, 9, 10, 11, 13, 14]),
    ("E", &[1, 2, 4, 6, 7, 9, 10, 11, 12]),
    ("F", &[1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13, 15, 17, 18, 20, 21, 22, 23, 24]),
    ("G", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19, 21, 23, 24, 25, 26]),
];

#[test]
fn every_row_is_tried_or_held_or_says_why_not() {
    let rows = row::all();
    let wanted: Vec<_> = ROWS
        .iter()
        .flat_map(|(section, numbers)| numbers.iter().map(move |number| format!("{section}{number:02}")))
        .collect();
    assert_eq!(rows.keys().cloned().collect::<Vec<_>>(), wanted);
    for (id, row) in &rows {
        let ways = [!row.tries.is_empty(), !row.held_by.is_empty(), row.later.is_some()];
        assert_eq!(ways.into_iter().filter(|way| *way).count(), 1, "{id}: {}", row.what);
        for test in &row.held_by {
            documents::assert_exists(test, id);
        }
        for attempt in &row.tries {
            assert!(attempt.answer.is_some() || row.answer.is_some(), "{id} has a try without an answer");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_the_token_in_the_request() {
    runner::section('A').await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b_the_answers_of_the_provider() {
    runner::section('B').await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c_the_claims_of_a_token() {
    runner::section('C').await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d_scopes_and_grants() {
    runner::section('D').await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f_http() {
    runner::section('F').await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g_json_rpc_and_mcp() {
    runner::section('G').await;
}
