//! The load generators of one attempt: one process, or several that share the load as in a cluster.

use std::{ffi::OsString, future::pending, io, path::Path, process::ExitStatus, time::Duration};

use futures::future::{join_all, select_all};
use nix::sys::signal::Signal;

use super::{
    children::{ChildError, ChildSpec, Running},
    ports::free_ports,
};
use crate::{measure::Step, store::INPUTS_FILE};

/// How they are started.
pub struct LoadOrder<'a> {
    /// This program.
    pub teebench: &'a Path,
    /// What people call the attempt.
    pub title: &'a str,
    /// Directory with the attempt's inputs, which takes its files.
    pub staging: &'a Path,
    /// How many there are.
    pub count: u32,
}

/// Load generators that were started; the first merges what all have measured and writes the attempt's files.
pub struct Generators {
    all: Vec<Generator>,
}

struct Generator {
    child: Running,
    /// What it said last of its load.
    step: Option<Step>,
    is_silent: bool,
}

impl Generators {
    /// Starts them.
    ///
    /// # Errors
    /// One of them, or the place where they meet, cannot be had.
    pub fn start(order: &LoadOrder<'_>) -> Result<Self, ChildError> {
        let LoadOrder { teebench, title, staging, count } = *order;
        let meet = meeting_place(count).map_err(|source| ChildError::Start { program: title.to_owned(), source })?;
        let generator = |number| {
            let spec = ChildSpec {
                title: format!("load generator {number} of {title}"),
                argv: argv(teebench, staging, number, count, meet.as_deref()),
                environment: Vec::new(),
                log: staging.join(log_name(number)),
                on_parent_death: Signal::SIGKILL,
            };
            Ok(Generator { child: spec.start()?, step: None, is_silent: false })
        };
        Ok(Self { all: (0..count.max(1)).map(generator).collect::<Result<_, _>>()? })
    }

    /// What the next of them says: a step of them all, or a line that is none. `None` when the first has said its last.
    pub async fn next(&mut self) -> Option<Result<Step, String>> {
        loop {
            let lines = self.all.iter_mut().map(|generator| {
                Box::pin(async {
                    if generator.is_silent { pending().await } else { generator.child.next_line().await }
                })
            });
            let (line, number, _) = select_all(lines).await;
            match line {
                None if number == 0 => return None,
                None => self.all[number].is_silent = true,
                Some(line) => match serde_json::from_str(&line) {
                    Err(_) => return Some(Err(line)),
                    Ok(step) => {
                        self.all[number].step = Some(step);
                        if let Some(step) = self.step() {
                            return Some(Ok(step));
                        }
                    }
                },
            }
        }
    }

    /// What they do together: the load of all while the first sends its share, else what the first does.
    fn step(&self) -> Option<Step> {
        let mut said = self.all.iter().map(|generator| generator.step.clone());
        match said.next()?? {
            load @ Step::Load { .. } => Step::together([load].into_iter().chain(said.flatten())),
            step => Some(step),
        }
    }

    /// How one beside the first ended, when it has and should not have: the first would wait for it.
    pub fn lost(&mut self) -> Option<String> {
        let others = self.all.iter_mut().enumerate().skip(1);
        others
            .filter_map(|(number, other)| Some((number, other.child.failure()?)))
            .next()
            .map(|(number, how)| format!("load generator {number} ended{how}"))
    }

    /// Waits for the end of the first.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.all[0].child.wait().await
    }

    /// Asks them to end, gives the first this long to write what it has, and ends what is left.
    pub async fn stop(mut self, grace: Duration) {
        self.all.iter().for_each(|generator| generator.child.terminate());
        // Whether it ends in time or is killed, the verdict stands.
        let _ = tokio::time::timeout(grace, self.wait()).await;
        join_all(self.all.into_iter().map(|generator| generator.child.stop())).await;
    }
}

/// Where several meet, on this machine alone.
fn meeting_place(count: u32) -> io::Result<Option<String>> {
    if count < 2 {
        return Ok(None);
    }
    let port = free_ports(1)?.pop().expect("one port was asked for");
    Ok(Some(format!("127.0.0.1:{port}")))
}

fn argv(teebench: &Path, staging: &Path, number: u32, count: u32, meet: Option<&str>) -> Vec<OsString> {
    let mut argv: Vec<OsString> = vec![teebench.into(), "loadgen".into()];
    argv.extend(["--from-plan".into(), staging.join(INPUTS_FILE).into()]);
    argv.extend(["--out".into(), staging.into()]);
    if let Some(meet) = meet {
        argv.extend(["--generators".into(), count.to_string().into()]);
        argv.extend(["--generator".into(), number.to_string().into()]);
        argv.extend(["--meet".into(), meet.into()]);
    }
    argv
}

/// The log of one of them.
pub fn log_name(number: u32) -> String {
    if number == 0 { "loadgen.log".to_owned() } else { format!("loadgen-{number}.log") }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::alone(0, 1, None, "t loadgen --from-plan s/inputs.json --out s")]
    #[case::first(
        0,
        3,
        Some("h:1"),
        "t loadgen --from-plan s/inputs.json --out s --generators 3 --generator 0 --meet h:1"
    )]
    #[case::last(
        2,
        3,
        Some("h:1"),
        "t loadgen --from-plan s/inputs.json --out s --generators 3 --generator 2 --meet h:1"
    )]
    fn each_knows_its_number_and_where_they_meet(
        #[case] number: u32,
        #[case] count: u32,
        #[case] meet: Option<&str>,
        #[case] expected: &str,
    ) {
        let words = argv(Path::new("t"), Path::new("s"), number, count, meet);
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        assert_eq!(words.join(" "), expected);
    }
}
