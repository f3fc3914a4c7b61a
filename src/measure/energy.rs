//! Energy of a run from what its machines sampled: each board once, and each CPU package, however many servers share it.

use std::collections::{BTreeMap, BTreeSet};

use teebench_api::{
    campaign::Energy as EnergySettings,
    files::{
        energy::{CpuPackageEnergy, EnergyFile},
        run::Window,
    },
};
use teebench_probe::energy::{self, EnergyInputs, GpuInput, Work, compute};

use super::machines::{Account, CountedPackage, SampledGpu};

/// Energy of the run over distinct GPUs: several servers on one board are one board.
pub fn run_energy(
    settings: &EnergySettings,
    simulated: bool,
    accounts: &[Account],
    window: Window,
    work: Work,
) -> EnergyFile {
    let mut notes = Vec::new();
    let mut gpus = BTreeMap::new();
    for gpu in accounts.iter().flat_map(|account| &account.gpus) {
        let SampledGpu { identity, clock, samples, idle, rows_left_out } = gpu;
        if *rows_left_out > 0 {
            notes.push(format!("gpu {0}: power-{0}.csv has no row for {rows_left_out} seconds", identity.uuid));
        }
        let idle_watts = match idle {
            Ok(watts) => Some(*watts),
            Err(reason) => {
                notes.push(format!("gpu {}: idle power not measured: {reason}", identity.uuid));
                None
            }
        };
        gpus.entry(identity.uuid.clone()).or_insert(GpuInput {
            identity: identity.clone(),
            clock: *clock,
            samples,
            idle_watts,
        });
    }
    let mut file = compute(&EnergyInputs {
        window: energy::Window { from_unix_ns: window.start_unix_ns, to_unix_ns: window.end_unix_ns },
        gpus,
        work: Some(work),
        minimum_window_seconds: f64::from(settings.minimum_window_seconds),
        simulated,
    });
    file.cpu_packages = cpu_packages(accounts, &mut notes);
    notes.dedup();
    file.reasons.extend(notes);
    file
}

/// Energy of each CPU package once, however many servers its machine has.
fn cpu_packages(accounts: &[Account], notes: &mut Vec<String>) -> Vec<CpuPackageEnergy> {
    let mut machines = BTreeSet::new();
    let mut found = Vec::new();
    for account in accounts {
        // Without a boot id machines cannot be told apart: better a package twice in the list than another left out.
        let machine = account.environment.boot_id.clone().unwrap_or_else(|| format!("server {}", account.ordinal));
        if !machines.insert(machine) {
            continue;
        }
        for CountedPackage { name, joules } in &account.packages {
            let server = account.ordinal;
            if let Err(reason) = joules {
                notes.push(format!("cpu {name} of server {server}: {reason}"));
            }
            found.push(CpuPackageEnergy { server, name: name.clone(), joules: joules.clone().ok() });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use teebench_api::files::evidence::{Environment, EvidenceLevel, GpuIdentity};
    use teebench_probe::{energy::ClockMapping, sampler::Sample};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Two minutes at 100 W, with the counter.
    fn samples() -> Vec<Sample> {
        let sample = |tenth: u64| Sample {
            unix_ns: tenth * SECOND / 10,
            mono_ns: tenth * SECOND / 10,
            power_instant_mw: Some(100_000),
            energy_mj: Some(tenth * 10_000),
            ..Sample::default()
        };
        (0..=1_200).map(sample).collect()
    }

    fn account(ordinal: u32, boot_id: &str, gpus: &[&str]) -> Account {
        let gpu = |uuid: &&str| SampledGpu {
            identity: GpuIdentity { uuid: (*uuid).to_owned(), ..GpuIdentity::default() },
            clock: ClockMapping::SAME,
            samples: samples(),
            idle: Ok(40.0),
            rows_left_out: 0,
        };
        Account {
            ordinal,
            environment: Environment { boot_id: Some(boot_id.to_owned()), ..Environment::default() },
            evidence: Ok(EvidenceLevel::SelfReported),
            restarted: false,
            gpus: gpus.iter().map(gpu).collect(),
            packages: vec![CountedPackage { name: "package-0".to_owned(), joules: Ok(500.0) }],
        }
    }

    fn energy_of(accounts: &[Account]) -> EnergyFile {
        let window = Window { start_unix_ns: 10 * SECOND, end_unix_ns: 110 * SECOND };
        let work = Work { output_tokens: 1_000, total_tokens: 2_000, requests: 10 };
        let settings = EnergySettings { sample_milliseconds: 100, minimum_window_seconds: 60, idle_seconds: 30 };
        run_energy(&settings, false, accounts, window, work)
    }

    #[test]
    fn servers_on_one_board_are_one_board_and_on_one_machine_one_package() {
        let on_one = [account(0, "a", &["GPU-1"]), account(1, "a", &["GPU-1"])];
        let one = energy_of(&on_one);
        assert_eq!(
            (one.gpus.len(), one.counter_joules.map(f64::round), one.idle_watts),
            (1, Some(10_000.0), Some(40.0))
        );
        assert_eq!(one.joules_per_output_token.map(f64::round), Some(10.0));
        assert_eq!(one.cpu_packages.len(), 1);

        let two = energy_of(&[account(0, "a", &["GPU-1"]), account(1, "b", &["GPU-2"])]);
        assert_eq!((two.gpus.len(), two.counter_joules.map(f64::round)), (2, Some(20_000.0)));
        let packages: Vec<(u32, Option<f64>)> = two.cpu_packages.iter().map(|cpu| (cpu.server, cpu.joules)).collect();
        assert_eq!(packages, [(0, Some(500.0)), (1, Some(500.0))]);
    }

    #[test]
    fn what_is_missing_beside_the_energy_is_told() {
        let mut one = account(0, "a", &["GPU-1"]);
        one.gpus[0].rows_left_out = 3;
        one.gpus[0].idle = Err("energy.idleSeconds is 0".to_owned());
        one.packages[0].joules = Err("the energy counter fell".to_owned());
        let file = energy_of(&[one]);
        let told = file.reasons.join("; ");
        for part in
            ["power-GPU-1.csv has no row for 3 seconds", "idleSeconds is 0", "cpu package-0 of server 0: the energy"]
        {
            assert!(told.contains(part), "{part:?} is not in {told:?}");
        }
        assert_eq!((file.cpu_packages[0].joules, file.idle_watts, file.net_joules), (None, None, None));
    }
}
