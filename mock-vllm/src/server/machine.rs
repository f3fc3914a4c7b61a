//! The simulated machine: advances every server's board and shows their state in the GPU file.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use teebench_api::files::gpu::SimulatedGpu;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::fleet::FleetConfig;
use super::handle::EngineHandle;
use crate::faults::{ActiveFaults, GpuFaults};
use crate::gpu::{BoardState, GpuFileError, SAMPLE_PERIOD, confidential_compute, write_gpu_file};

/// All GPUs of the process.
pub struct Machine {
    slots: Vec<Slot>,
    confidential: bool,
    protected_memory_mib: u64,
    file: Option<PathBuf>,
    started: Instant,
    /// Up to when the boards have been advanced, since the start.
    advanced: Duration,
}

struct Slot {
    uuid: String,
    engine: EngineHandle,
    faults: ActiveFaults,
    board: BoardState,
}

impl Machine {
    /// A machine of one board for each server, given with its GPU's UUID and faults.
    #[must_use]
    pub fn new(servers: Vec<(String, EngineHandle, ActiveFaults)>, config: &FleetConfig) -> Self {
        let board = config.figures().board;
        let protected_memory_mib = board.memory_total_mib * servers.len() as u64;
        let slots = servers
            .into_iter()
            .map(|(uuid, engine, faults)| {
                let board = BoardState::new(board, faults.plan().gpu);
                Slot { uuid, engine, faults, board }
            })
            .collect();
        Self {
            slots,
            confidential: config.confidential,
            protected_memory_mib,
            file: config.gpu_file.clone(),
            started: Instant::now(),
            advanced: Duration::ZERO,
        }
    }

    /// Advances each period until shut down.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), GpuFileError> {
        let mut ticks = tokio::time::interval(SAMPLE_PERIOD);
        // A period that was missed is part of the next one, whose energy counts in full.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            self.show().await?;
        }
        Ok(())
    }

    /// Advances to the present, and shows the GPUs in the file when there is one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn show(&mut self) -> Result<(), GpuFileError> {
        let elapsed = self.started.elapsed();
        let gpus = self.advance(elapsed.saturating_sub(self.advanced));
        self.advanced = elapsed;
        let Some(path) = self.file.clone() else { return Ok(()) };
        // The state is the machine's: it flips when the fault of any of its servers says so.
        let flips = self.slots.iter().filter_map(|slot| slot.faults.plan().gpu.confidential_flip_after);
        let faults = GpuFaults { confidential_flip_after: flips.min(), ..GpuFaults::default() };
        let state = confidential_compute(self.confidential, &faults, elapsed, self.protected_memory_mib);
        let written = tokio::task::spawn_blocking(move || write_gpu_file(&path, state, gpus)).await;
        // The write is only cancelled together with the runtime.
        written.unwrap_or(Ok(()))
    }

    fn advance(&mut self, period: Duration) -> Vec<SimulatedGpu> {
        let now_unix_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        self.slots
            .iter_mut()
            .map(|slot| {
                slot.board.advance(period, slot.engine.take_load(), slot.faults.plan().gpu);
                slot.engine.set_speed(slot.board.speed());
                slot.board.readings(&slot.uuid, now_unix_us)
            })
            .collect()
    }
}
