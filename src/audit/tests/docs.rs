//! The recipes of `docs/AUDIT-LOG.md`, run as they stand there.

use std::io::Write as _;
use std::process::Command;

use super::*;

const PAGE: &str = include_str!("../../../docs/AUDIT-LOG.md");

#[tokio::test]
async fn every_recipe_works() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Journal::open(settings(dir.path()), clock(), heartbeat()).unwrap().0;
    let journal = open();
    journal.intent(terms("storage_snapshot_create")).await.unwrap().close(Outcome::ok()).await.unwrap();
    drop(journal.intent(terms("storage_dataset_create")).await.unwrap());
    for _ in 0..5 {
        journal.refused(Refusal {
            request: RequestId::at(DateTime::UNIX_EPOCH),
            who: terms("x").who,
            from: None,
            reason: "missing_scope",
            detail: None,
            what: Refused::Tool { tool: "x", nas: None, missing: Some(Scope::StorageWrite) },
        });
    }
    journal.close().await.unwrap();
    // Ends without a stop.
    drop(open());
    open().close().await.unwrap();

    let expected = [
        ("sed -n 3p", "as it was written"),
        ("while IFS", "the last record is "),
        ("INDEX(.parent)", "alice@example.com\tstorage_snapshot_create\ttank/photos\tok"),
        ("\"unknown\"", "storage_dataset_create\ttank/photos\tthe task"),
        ("startswith", "\"type\":\"intent\""),
        ("group_by", "desk.example.ts.net\tmissing_scope\t5"),
        ("$runs", "1970-01-12T13:46:40.000000Z"),
    ];
    let recipes: Vec<&str> =
        PAGE.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(recipes.len(), expected.len());
    let has_jq = Command::new("jq").arg("--version").output().is_ok();
    if !has_jq {
        // As `did_not_run` of `tests/common` has it.
        let why = "most recipes of docs/AUDIT-LOG.md take jq";
        let all = std::env::var_os("TAILNAS_RUN_ALL").is_some();
        assert!(!all, "it did not run, and everything must: {why}");
        let _ = writeln!(std::io::stderr(), "did not run: {why}");
    }
    for (recipe, (mark, output)) in recipes.into_iter().zip(expected) {
        assert!(recipe.contains(mark), "{recipe}");
        if recipe.contains("jq ") && !has_jq {
            continue;
        }
        let ran = Command::new("sh")
            .args(["-euc", recipe])
            .env("LOG", dir.path().join("audit-00000000000000000000.jsonl"))
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success() && out.contains(output), "{recipe}\n{out}\n{err}");
    }
}
