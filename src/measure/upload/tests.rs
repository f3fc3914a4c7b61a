//! The upload of an attempt to a real service over TLS: whole, cut off, refused, out of reach.

use std::{
    collections::BTreeSet,
    fs,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rstest::rstest;
use teebench_api::files::run::Verdict;
use tokio::net::TcpListener;

use super::*;
use crate::{
    store::{campaigns::run_json, service::Limits},
    testing::{Lab, bench_json, run_file, sha256sum, start, valid_run},
};

/// Quick enough for a test, long enough for a slow machine.
const PATIENCE: Patience = Patience {
    longest: Duration::from_secs(60),
    once_stopped: Duration::from_millis(50),
    first_pause: Duration::from_millis(5),
    longest_pause: Duration::from_millis(20),
};

#[tokio::test]
async fn all_files_of_an_attempt_arrive_and_others_stay() {
    let lab = Lab::start(Limits::default()).await;
    let dir = attempt(&lab, 1);
    fs::write(dir.path().join(".hidden.json"), "{}").unwrap();
    fs::write(dir.path().join("core.1234"), "dump").unwrap();

    let answer = upload(&target(&lab, 1), dir.path(), PATIENCE, &CancellationToken::new()).await.unwrap();

    assert_eq!(answer.verdict, Verdict::Valid);
    let committed = lab.root().join("runs").join(&answer.attempt);
    assert_eq!(sha256sum(&committed), Ok(()));
    for file in ["run.json", "bench.json", "inputs.json", "servers/0/power-GPU-1.csv", "servers/1/power-GPU-1.csv"] {
        assert_eq!(fs::read(committed.join(file)).unwrap(), fs::read(dir.path().join(file)).unwrap(), "{file}");
    }
    assert!(!committed.join(".hidden.json").exists() && !committed.join("core.1234").exists());
}

#[tokio::test]
async fn an_upload_that_was_cut_off_sends_only_what_lacks() {
    let lab = Lab::start(Limits::default()).await;
    let dir = attempt(&lab, 1);
    let bench = lab.put("token-1", bench_json()).await;
    let connection = Connection::new(&target(&lab, 1)).unwrap();
    let files = Files::below(dir.path()).await.unwrap();

    let refusal = connection.commit(&files.list()).await.unwrap().unwrap_err();

    assert!(!refusal.missing.contains(&bench), "{refusal:?}");
    assert_eq!(
        refusal.missing.iter().collect::<BTreeSet<_>>().len(),
        3,
        "two of the four have one content: {refusal:?}"
    );
    // A file that is gone cannot be sent; this one need not be.
    fs::write(dir.path().join("bench.json"), "what is there already is not sent").unwrap();
    for sum in &refusal.missing {
        connection.put(sum, files.of_sum(sum).unwrap()).await.unwrap();
    }
    connection.commit(&files.list()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_service_that_is_not_ready_is_tried_until_it_is() {
    let lab = Lab::start(Limits::default()).await;
    let dir = attempt(&lab, 1);
    lab.pods.unready.store(true, Ordering::SeqCst);
    let pods = Arc::clone(&lab.pods);
    let reviews = async {
        // It was asked, and said no.
        while lab.api_server.reviews() == 0 {
            tokio::task::yield_now().await;
        }
        pods.unready.store(false, Ordering::SeqCst);
    };

    let (target, stop) = (target(&lab, 1), CancellationToken::new());
    let (answer, ()) = tokio::join!(upload(&target, dir.path(), PATIENCE, &stop), reviews);

    assert_eq!(answer.unwrap().verdict, Verdict::Valid);
}

#[tokio::test]
async fn a_refusal_ends_at_once_with_its_reason() {
    let lab = Lab::start(Limits::default()).await;
    let dir = attempt(&lab, 1);
    let gone = run_file(&lab.plan, &start(&lab.plan, 0, 1), "the node was lost");
    lab.campaign().commit_run(&gone, None).await.unwrap();

    let error = upload(&target(&lab, 1), dir.path(), PATIENCE, &CancellationToken::new()).await.unwrap_err();

    assert!(matches!(error, UploadError::Refused { code: RefusalCode::Committed, .. }), "{error}");
    assert!(error.to_string().contains("the node was lost"), "{error}");
}

#[rstest]
#[case::time_is_up(Patience { longest: Duration::from_millis(50), ..PATIENCE }, false)]
#[case::told_to_stop(PATIENCE, true)]
#[tokio::test]
async fn a_service_out_of_reach_is_given_up_in_time(#[case] patience: Patience, #[case] stopped: bool) {
    let lab = Lab::start(Limits::default()).await;
    let dir = attempt(&lab, 1);
    // A port that nobody listens on.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let target = Target { url: format!("https://localhost:{port}"), ..target(&lab, 1) };
    let stop = CancellationToken::new();
    if stopped {
        stop.cancel();
    }

    let error = upload(&target, dir.path(), patience, &stop).await.unwrap_err();

    assert!(matches!(error, UploadError::GaveUp { .. }), "{error}");
    assert!(error.to_string().to_lowercase().contains("connect"), "{error}");
}

#[tokio::test]
async fn a_service_of_another_authority_is_not_trusted() {
    let lab = Lab::start(Limits::default()).await;
    let other = Lab::start(Limits::default()).await;
    let dir = attempt(&lab, 1);
    let target = Target { ca_file: other.ca_file.clone(), ..target(&lab, 1) };
    let patience = Patience { longest: Duration::from_millis(300), ..PATIENCE };

    let error = upload(&target, dir.path(), patience, &CancellationToken::new()).await.unwrap_err();

    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(lab.api_server.reviews(), 0, "the token was shown to a stranger");
}

#[tokio::test]
async fn a_token_that_was_renewed_is_read_anew() {
    let lab = Lab::start(Limits::default()).await;
    let dir = attempt(&lab, 1);
    let target = target(&lab, 1);
    lab.pods.unready.store(true, Ordering::SeqCst);
    fs::write(&target.token_file, "token-2").unwrap();
    let renewal = async {
        while lab.api_server.reviews() == 0 {
            tokio::task::yield_now().await;
        }
        fs::write(&target.token_file, "token-1\n").unwrap();
        lab.pods.unready.store(false, Ordering::SeqCst);
    };

    let stop = CancellationToken::new();
    let (answer, ()) = tokio::join!(upload(&target, dir.path(), PATIENCE, &stop), renewal);

    assert_eq!(answer.unwrap().attempt, start(&lab.plan, 0, 1).run.attempt_path(1));
}

#[rstest]
#[case::not_https("http://localhost:1", "not an https address")]
#[case::no_address("::", "not an address")]
#[tokio::test]
async fn an_address_that_is_none_is_refused_with_its_mend(#[case] url: &str, #[case] why: &str) {
    let lab = Lab::start(Limits::default()).await;
    let target = Target { url: url.to_owned(), ..target(&lab, 1) };

    let error = upload(&target, attempt(&lab, 1).path(), PATIENCE, &CancellationToken::new()).await.unwrap_err();

    assert!(error.to_string().contains(why), "{error}");
}

fn target(lab: &Lab, number: usize) -> Target {
    let token_file = lab.dir.path().join(format!("token-{number}"));
    fs::write(&token_file, format!("token-{number}\n")).unwrap();
    Target { url: lab.upload.clone(), ca_file: lab.ca_file.clone(), token_file }
}

/// Files of an attempt as a load generator leaves them; two of them have the same content.
fn attempt(lab: &Lab, number: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let run = valid_run(&lab.plan, &start(&lab.plan, number - 1, number as u64));
    let write = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("run.json", &run_json(&run));
    write("bench.json", bench_json());
    write("inputs.json", b"{\"attempt\": 1}");
    write("servers/0/power-GPU-1.csv", b"timestamp, power.draw [W]\n");
    write("servers/1/power-GPU-1.csv", b"timestamp, power.draw [W]\n");
    dir
}
