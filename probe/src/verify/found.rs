//! What was found: for people as text, for programs as JSON.

use std::fmt::{self, Display};

use serde::Serialize;
use teebench_api::campaign::Tee;
use teebench_api::files::evidence::EvidenceLevel;
use teebench_api::files::run::Verdict;

/// Most faults of one kind of place that the text names; JSON has all.
const MOST_NAMED: usize = 100;

/// Everything that was found.
#[derive(Serialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub struct Found {
    /// Version of this format: 1.
    pub schema_version: u32,
    /// Version of the program.
    pub tool_version: &'static str,
    /// Whether every claim holds and no byte has changed.
    pub holds: bool,
    /// Tokens that were given and are of no evidence here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unused_tokens: Vec<String>,
    /// The campaigns.
    pub campaigns: Vec<CampaignFound>,
}

/// What was found of one campaign.
#[derive(Serialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub struct CampaignFound {
    /// Its directory, as it was given.
    pub directory: String,
    /// Its name; absent where the plan cannot be read.
    pub campaign: Option<String>,
    /// Whether it has a `SHA256SUMS` of its own.
    pub sealed: bool,
    /// Files that were hashed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What does not hold of the files beside the runs.
    pub faults: Vec<Fault>,
    /// What was never claimed, or cannot be shown by files.
    pub notes: Vec<String>,
    /// The attempts, by path.
    pub runs: Vec<RunFound>,
}

/// What was found of one attempt.
#[derive(Serialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub struct RunFound {
    /// Its path below `runs/`.
    pub run: String,
    /// Whether what it claims holds.
    pub outcome: Outcome,
    /// TEE state that the plan declares for its arm.
    pub tee: Option<Tee>,
    /// Its own verdict on itself.
    pub validity: Option<Verdict>,
    /// The level that it claims.
    pub claimed: Option<EvidenceLevel>,
    /// The level that its files support.
    pub supported: Option<EvidenceLevel>,
    /// The level that they support with the tokens that were given beside them; absent where none is of this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_tokens: Option<EvidenceLevel>,
    /// Whether its engine and its evidence are simulated.
    pub simulated: bool,
    /// What does not hold.
    pub faults: Vec<Fault>,
    /// Why its files support no level, where it claims none.
    pub notes: Vec<String>,
}

/// Whether a claim holds.
#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It holds.
    Holds,
    /// It does not.
    DoesNotHold,
    /// Nothing was claimed; the files are as they were written.
    NotClaimed,
}

/// Something that does not hold.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub struct Fault {
    /// The file, relative to the campaign's directory in a campaign's list and to the run's in a run's; empty for the
    /// directory itself.
    pub file: String,
    /// What does not hold.
    pub message: String,
}

impl Fault {
    pub(super) fn new(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), message: message.into() }
    }
}

impl Found {
    pub(super) fn new(campaigns: Vec<CampaignFound>, unused_tokens: Vec<String>) -> Self {
        let holds = campaigns.iter().all(CampaignFound::holds);
        Self { schema_version: 1, tool_version: env!("CARGO_PKG_VERSION"), holds, unused_tokens, campaigns }
    }
}

impl CampaignFound {
    /// Whether every claim of the campaign holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.faults.is_empty() && self.runs.iter().all(|run| run.outcome != Outcome::DoesNotHold)
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.runs.iter().filter(|run| run.outcome == outcome).count()
    }
}

impl Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.campaigns.iter().try_for_each(|campaign| writeln!(f, "{campaign}"))?;
        self.unused_tokens.iter().try_for_each(|file| writeln!(f, "token {file}: of no evidence here"))?;
        writeln!(f, "{}", if self.holds { "everything that is claimed holds" } else { "not everything holds" })
    }
}

impl Display for CampaignFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.campaign.as_deref().unwrap_or("(unreadable plan)");
        let seal = if self.sealed { "sealed" } else { "not sealed" };
        let megabytes = self.bytes as f64 / 1e6;
        writeln!(f, "{name}: {}: {seal}, {} files hashed, {megabytes:.1} MB", self.directory, self.files)?;
        for (outcome, words) in
            [(Outcome::Holds, "hold"), (Outcome::DoesNotHold, "do not hold"), (Outcome::NotClaimed, "claim nothing")]
        {
            writeln!(f, "  {:>6} runs {words}", self.count(outcome))?;
        }
        for (claim, runs) in self.by_claim() {
            writeln!(f, "  {claim}: {runs}")?;
        }
        let of_runs = self.runs.iter().flat_map(|run| run.faults.iter().map(move |fault| (Some(run), fault)));
        let mut faults = self.faults.iter().map(|fault| (None, fault)).chain(of_runs);
        for (run, fault) in faults.by_ref().take(MOST_NAMED) {
            let place = run.map(|run| format!("runs/{}/", run.run)).unwrap_or_default();
            writeln!(f, "  FAULT {place}{}: {}", fault.file, fault.message)?;
        }
        let more = faults.count();
        if more > 0 {
            writeln!(f, "  and {more} more faults; -o json has them all")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  note: {note}"))
    }
}

impl CampaignFound {
    /// Runs that hold, by what they claim.
    fn by_claim(&self) -> std::collections::BTreeMap<String, usize> {
        let mut claims = std::collections::BTreeMap::new();
        for run in self.runs.iter().filter(|run| run.outcome == Outcome::Holds) {
            if let (Some(tee), Some(level)) = (run.tee, run.claimed) {
                let simulated = if run.simulated { " (simulated)" } else { "" };
                let vouched = match run.with_tokens {
                    Some(with_tokens) => format!("; {with_tokens:?} with the tokens given"),
                    None => String::new(),
                };
                *claims.entry(format!("TEE {}, evidence {level:?}{simulated}{vouched}", tee.name())).or_default() += 1;
            }
        }
        claims
    }
}
