//! Stands in for `hf download`: the hub's interface over HTTP, as the operator's downloads need it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;

/// Downloads from a model hub.
#[derive(Parser, Debug)]
#[command(before_help = "Example: hf download owner/name --revision 0123... --local-dir weights")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Download all files of one revision.
    Download(Download),
}

#[derive(clap::Args, Debug)]
struct Download {
    /// `owner/name`.
    repository: String,
    /// The commit.
    #[arg(long)]
    revision: String,
    /// Directory for the files.
    #[arg(long)]
    local_dir: PathBuf,
}

#[derive(Deserialize, Debug)]
struct Revision {
    siblings: Vec<Sibling>,
}

#[derive(Deserialize, Debug)]
struct Sibling {
    #[serde(rename = "rfilename")]
    name: String,
}

/// Runs the command line; exit code 1 when the hub does not give what is asked for.
#[must_use]
pub fn main(cli: &Cli) -> ExitCode {
    let Command::Download(order) = &cli.command;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.context("cannot start").and_then(|runtime| runtime.block_on(download(order))) {
        Ok(()) => {
            println!("{}", order.local_dir.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn download(order: &Download) -> anyhow::Result<()> {
    let Download { repository, revision, local_dir } = order;
    let hub = Hub {
        client: Client::new(),
        endpoint: std::env::var("HF_ENDPOINT").context("HF_ENDPOINT is not set; this stand-in knows no other hub")?,
        token: std::env::var("HF_TOKEN").ok(),
    };
    let answer = hub.get(&format!("/api/models/{repository}/revision/{revision}"), repository).await?;
    let Revision { siblings } = answer.json().await.context("the hub's answer is not a revision")?;
    for Sibling { name } in siblings {
        let answer = hub.get(&format!("/{repository}/resolve/{revision}/{name}"), repository).await?;
        keep(local_dir, &name, &answer.bytes().await?)?;
    }
    Ok(())
}

struct Hub {
    client: Client,
    endpoint: String,
    token: Option<String>,
}

impl Hub {
    async fn get(&self, path: &str, repository: &str) -> anyhow::Result<Response> {
        let url = format!("{}{path}", self.endpoint);
        let mut request = self.client.get(&url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.with_context(|| format!("{url}: the hub does not answer"))?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => bail!(
                "{} Client Error. Cannot access gated repo for url {url}. Access to model {repository} is restricted.",
                answer.status().as_u16()
            ),
            StatusCode::NOT_FOUND => bail!("404 Client Error. Revision Not Found for url: {url}."),
            other => bail!("{other} for url {url}"),
        }
    }
}

/// A file appears under its name when it is whole, as with the real downloader.
fn keep(directory: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let partial_dir = directory.join(".cache/huggingface/download");
    fs::create_dir_all(&partial_dir).with_context(|| partial_dir.display().to_string())?;
    let (partial, whole) = (partial_dir.join(format!("{name}.incomplete")), directory.join(name));
    fs::write(&partial, bytes).with_context(|| partial.display().to_string())?;
    fs::rename(&partial, &whole).with_context(|| whole.display().to_string())
}
