//! The same promises over real protocols: S3 as moto serves it, Azure's as azurite does. `tests/stores` starts both and
//! runs these.

use std::env;

use bytes::Bytes;
use futures::{TryStreamExt, future::join_all};
use rand::random;

use super::*;

/// The stores that `tests/stores` has started, each with a prefix of this test's own.
fn stores() -> Vec<String> {
    let urls =
        env::var("TEEBENCH_TEST_STORES").expect("TEEBENCH_TEST_STORES is not set; run these tests by tests/stores");
    urls.split_whitespace().map(|url| format!("{url}/{:x}", random::<u64>())).collect()
}

async fn content(campaign: &CampaignStore, path: &str) -> Vec<u8> {
    let (_, pieces) = campaign.read_file(path).await.unwrap().unwrap_or_else(|| panic!("no {path}"));
    pieces
        .try_fold(Vec::new(), async |mut all, piece| {
            all.extend_from_slice(&piece);
            Ok(all)
        })
        .await
        .unwrap()
}

#[tokio::test]
#[ignore = "needs moto and azurite: run tests/stores"]
async fn a_remote_store_holds_the_same_files_as_a_directory() {
    let plan = planned();
    let dir = tempfile::tempdir().unwrap();
    let mut listings = Vec::new();
    for url in stores().into_iter().chain([format!("file://{}", dir.path().display())]) {
        let store = ResultsStore::open(&url).unwrap();
        let campaign = store.campaign(&key());
        campaign.begin(&plan, b"kind: BenchmarkCampaign\n").await.unwrap();
        campaign.append_decision(&decision(1)).await.unwrap();
        campaign.append_decision(&decision(2)).await.unwrap();
        campaign.append_ledger(&entry(0)).await.unwrap();
        for index in 0..plan.run_count() {
            stage_and_commit(&campaign, &plan, &start(&plan, index, index as u64 + 1)).await;
        }
        let published = campaign.publish().await.unwrap();

        assert_eq!(campaign.decisions(&plan).await.unwrap(), [decision(1), decision(2)], "{url}");
        assert_eq!(campaign.ledger().await.unwrap(), [entry(0)], "{url}");
        assert_eq!(campaign.committed().await.unwrap().len(), plan.run_count(), "{url}");
        assert_eq!(content(&campaign, "summary.json").await, published.summary_json.as_bytes(), "{url}");
        assert_eq!(store.campaigns(None).await.unwrap().len(), 1, "{url}");
        let listing = campaign.listing().await.unwrap().unwrap();
        assert!(listing.sealed, "{url}");
        for file in &listing.files {
            assert_eq!(
                crate::store::sha256_hex(&content(&campaign, &file.path).await),
                file.sha256,
                "{url} {}",
                file.path
            );
        }
        let bytes = store.bytes().await.unwrap();
        assert_eq!(bytes, listing.files.iter().map(|file| file.bytes).sum::<u64>(), "{url}: something was left over");
        listings.push(listing.files.into_iter().map(|file| file.path).collect::<Vec<_>>());
    }
    assert!(listings.len() > 2, "only a directory was looked at");
    assert!(listings.windows(2).all(|pair| pair[0] == pair[1]), "{listings:#?}");
}

#[tokio::test]
#[ignore = "needs moto and azurite: run tests/stores"]
async fn a_file_of_several_parts_arrives_whole_and_another_content_is_not_kept() {
    for url in stores() {
        let campaign = ResultsStore::open(&url).unwrap().campaign(&key());
        let staging = campaign.staging(&start(&planned(), 0, 1).run, 1);
        let content: Vec<u8> = (0..20_u32 << 20).map(|index| (index % 251) as u8).collect();
        let sum = crate::store::sha256_hex(&content);
        for (named, kept) in [(sum.clone(), true), ("0".repeat(64), false)] {
            let mut writer = staging.writer(&named).await.unwrap();
            for piece in content.chunks(1 << 20) {
                writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
            }
            writer.finish().await.unwrap();
            let size = staging.size(&named).await.unwrap();
            assert_eq!(size, kept.then_some(content.len() as u64), "{url}");
        }
        assert_eq!(staging.read(&sum).await.unwrap().as_deref(), Some(content.as_slice()), "{url}");
        staging.clear().await;
        assert_eq!(staging.held().await.unwrap(), (0, 0), "{url}");
    }
}

#[tokio::test]
#[ignore = "needs moto and azurite: run tests/stores"]
async fn of_two_operators_neither_overwrites_what_the_other_decided() {
    for url in stores() {
        let plan = planned();
        // Stores of their own have locks of their own, as two programs have.
        let operators = [(); 4].map(|()| ResultsStore::open(&url).unwrap().campaign(&key()));
        operators[0].begin(&plan, b"").await.unwrap();

        let appends = operators
            .iter()
            .enumerate()
            .map(|(boot, campaign)| async move { campaign.append_ledger(&entry(boot)).await.map(|()| boot) });
        let appended = join_all(appends).await;

        let mut expected: Vec<usize> = appended.iter().filter_map(|done| done.as_ref().ok().copied()).collect();
        let mut found: Vec<usize> = operators[0].ledger().await.unwrap().iter().map(|entry| entry.boot).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert!(!found.is_empty(), "{url}: {appended:?}");
        assert_eq!(found, expected, "{url}: what was said to be written is what is there: {appended:?}");
    }
}

#[tokio::test]
#[ignore = "needs moto and azurite: run tests/stores"]
async fn of_commits_by_two_operators_one_wins() {
    for url in stores() {
        let plan = planned();
        let start = start(&plan, 0, 1);
        let operators = [(); 4].map(|()| ResultsStore::open(&url).unwrap().campaign(&key()));
        operators[0].begin(&plan, b"").await.unwrap();
        let run = run_file(&plan, &start, "lost");

        let commits = join_all(operators.iter().map(|campaign| campaign.commit_run(&run, None))).await;

        let won = commits.iter().filter(|commit| matches!(commit, Ok(Commit::Won(_)))).count();
        assert_eq!(won, 1, "{url}: {commits:?}");
        assert_eq!(operators[1].committed().await.unwrap().len(), 1, "{url}");
    }
}

#[tokio::test]
#[ignore = "needs moto and azurite: run tests/stores"]
async fn a_bucket_that_is_not_there_is_said_with_its_name() {
    for url in stores() {
        let (scheme, _) = url.split_once("://").unwrap();
        let store = ResultsStore::open(&format!("{scheme}://no-such-place/results")).unwrap();

        let error = store.campaign(&key()).begin(&planned(), b"").await.unwrap_err();

        let told = format!("{:#}", anyhow::Error::from(error));
        assert!(told.contains("no-such-place"), "{told}");
    }
}
