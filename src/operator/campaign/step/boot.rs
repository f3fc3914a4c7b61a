//! Servers: started after what they need is there, stopped by name.

use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt;
use teebench_api::plan::next::{Action, ServerState, Servers};

use super::{Deciding, LOOK_AGAIN};
use crate::{
    operator::{
        build::{self, BootObjects, BootOrder, BuildError, WeightsOrder},
        campaign::{
            effect::{Effect, SetNames},
            observe::{
                attempts::{self, End},
                pods,
                servers::{OpenArm, is_existing, open_arms},
            },
        },
        names,
        resources::Resources,
    },
    preflight::Preflight,
    store::ledger::{Entry, Event},
};

/// Label of a Job's pods with the Job's name.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// How the download of a boot's weights is.
pub(super) enum Download {
    /// They are there, or none are needed.
    Done,
    /// Nobody downloads them yet.
    Missing(Box<Job>),
    /// They are being downloaded; what people are told of it.
    Running(String),
    /// They could not be downloaded.
    Failed(String),
}

impl Deciding<'_> {
    /// Starts servers, after what they need is there: nodes first, then weights.
    pub(super) fn boot(&mut self, boot: usize, generation: u32, arms: &[String]) -> Result<(), BuildError> {
        if let Preflight::Missing { message, .. } = &self.active.preflight {
            self.active.trouble = Some(message.clone());
            self.wake_by(LOOK_AGAIN);
            return Ok(());
        }
        if self.world.children.has_leftovers {
            self.active.trouble = Some("objects of a deleted campaign of this name are still going".into());
            self.wake_by(LOOK_AGAIN);
            return Ok(());
        }
        match self.download(boot)? {
            Download::Done => {}
            Download::Missing(job) => {
                self.active.trouble = Some(format!("weights of model {} are to be downloaded", self.model(boot)));
                self.effects.push(Effect::Apply(Box::new(Resources { jobs: vec![*job], ..Resources::default() })));
                return Ok(());
            }
            Download::Running(trouble) | Download::Failed(trouble) => {
                self.active.trouble = Some(trouble);
                self.wake_by(LOOK_AGAIN);
                return Ok(());
            }
        }
        if !self.takes_its_machines() {
            return Ok(());
        }
        let objects = build::boot(&BootOrder {
            plan: &self.active.plan,
            owner: self.owner(),
            settings: self.settings,
            boot,
            generation,
            arms,
        })?;
        if !self.has_begun {
            self.effects.push(Effect::Begin(Box::new(self.stored.plan.clone())));
        }
        let started =
            |arm: &String| Entry { boot, generation, arm: arm.clone(), event: Event::Started, at: self.world.now };
        self.effects.push(Effect::Record(arms.iter().map(started).collect()));
        let BootObjects { services, stateful_sets, gateways } = objects;
        let resources = Resources { services, stateful_sets, deployments: gateways, ..Resources::default() };
        self.effects.push(Effect::Apply(Box::new(resources)));
        Ok(())
    }

    pub(super) fn model(&self, boot: usize) -> &str {
        self.active.plan.boots.get(boot).map_or("", |boot| boot.model.as_str())
    }

    /// How the download of a boot's weights is; one that is not needed is done.
    pub(super) fn download(&self, boot: usize) -> Result<Download, BuildError> {
        let order = WeightsOrder {
            plan: &self.active.plan,
            owner: self.owner(),
            settings: self.settings,
            model: self.model(boot),
        };
        let Some(job) = build::weights(&order)? else { return Ok(Download::Done) };
        let name = job.name_any();
        let Some(present) = self.world.children.downloads.iter().find(|known| known.name_any() == name) else {
            return Ok(Download::Missing(Box::new(job)));
        };
        let of_job = |pod: &&Pod| pod.labels().get(JOB_NAME) == Some(&name);
        let pods = self.world.children.pods.iter().map(AsRef::as_ref);
        let trouble = pods.filter(of_job).find_map(|pod| pods::trouble(pod, &[])).map(|trouble| trouble.message);
        Ok(match attempts::ended(present) {
            _ if present.metadata.deletion_timestamp.is_some() => {
                Download::Running(format!("download {name} is going"))
            }
            None => Download::Running(
                trouble.unwrap_or_else(|| format!("weights of model {} are being downloaded", self.model(boot))),
            ),
            Some(End::Complete) => Download::Done,
            Some(End::Deadline) => Download::Failed(format!("download {name}: not done within its deadline")),
            Some(End::Failed(message)) => Download::Failed(trouble.unwrap_or(message)),
        })
    }

    /// Servers whose weights cannot be had did not come up, as `next` sees it.
    pub(super) fn download_that_failed(&self, actions: &[Action]) -> Result<Option<Servers>, BuildError> {
        let Some(Action::Boot { boot, generation, arms }) = actions.last() else { return Ok(None) };
        Ok(match self.download(*boot)? {
            Download::Failed(reason) => Some(Servers {
                boot: *boot,
                generation: *generation,
                arms: arms.clone(),
                state: ServerState::Failed { reason },
            }),
            Download::Done | Download::Missing(_) | Download::Running(_) => None,
        })
    }

    pub(super) fn stop_servers(&mut self, boot: usize, arms: &[String]) -> Result<(), BuildError> {
        let open = open_arms(&self.stored.ledger);
        let open: Vec<&OpenArm> = open.iter().filter(|open| arms.contains(&open.arm)).collect();
        if open.is_empty() {
            // They were never started: their download failed, and is tried anew by the next generation.
            let order = WeightsOrder {
                plan: &self.active.plan,
                owner: self.owner(),
                settings: self.settings,
                model: self.model(boot),
            };
            if let Some(job) = build::weights(&order)? {
                self.effects.push(Effect::DeleteDownload(job.name_any()));
            }
            return Ok(());
        }
        let (existing, open): (Vec<&OpenArm>, Vec<&OpenArm>) =
            open.into_iter().partition(|open| is_existing(&self.active.plan, &open.arm));
        // Those that are not ours stay; that the campaign is done with them is all that can be recorded.
        let stopped = existing.iter().map(|OpenArm { arm, boot, generation, .. }| Entry {
            boot: *boot,
            generation: *generation,
            arm: arm.clone(),
            event: Event::Stopped,
            at: self.world.now,
        });
        let stopped: Vec<Entry> = stopped.collect();
        let campaign = &self.active.plan.campaign;
        let names = existing.into_iter().chain(open).map(|OpenArm { arm, boot, generation, .. }| SetNames {
            servers: names::servers(campaign, arm, *boot, *generation),
            gateways: names::gateways(campaign, arm, *boot, *generation),
        });
        let names = names.collect();
        self.effects.push(Effect::StopServers(names));
        if !stopped.is_empty() {
            self.effects.push(Effect::Record(stopped));
            self.wake_at = Some(self.world.now);
        }
        Ok(())
    }
}
