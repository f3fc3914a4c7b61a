//! The board: power from load, energy from power, temperature by a first-order lag, clocks and their event reasons.

use std::collections::VecDeque;
use std::time::Duration;

use super::meter::Load;
use crate::faults::GpuFaults;

/// Period in which readings change: an H200's counter, instant and average power all step every 100 ms.
pub const SAMPLE_PERIOD: Duration = Duration::from_millis(100);

/// Samples in the average power, which covers one second.
const AVERAGED_SAMPLES: usize = 10;

/// Power control holds a fully loaded board just under its limit (an H200 at 690 of 700 W).
const CAPPED_SHARE: f64 = 0.986;

/// NVML's clock event reasons.
const REASON_GPU_IDLE: u64 = 0x1;
const REASON_SW_POWER_CAP: u64 = 0x4;
const REASON_HW_SLOWDOWN: u64 = 0x8;
const REASON_HW_THERMAL_SLOWDOWN: u64 = 0x40;

/// Constants of a GPU's board.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Board {
    /// Product name, with `Simulated ` in front.
    pub name: &'static str,
    /// VBIOS version.
    pub vbios_version: &'static str,
    /// Memory in MiB.
    pub memory_total_mib: u64,
    /// Power with the model loaded and nothing to do.
    pub idle_watts: f64,
    /// Enforced power limit.
    pub limit_watts: f64,
    /// Share of the dynamic power that decoding one sequence draws.
    pub decode_intensity: f64,
    /// Tokens a step at which the dynamic power is drawn in full.
    pub intensity_saturation_tokens: f64,
    /// Memory utilisation while decoding.
    pub decode_memory_percent: f64,
    /// Memory utilisation during prefill.
    pub prefill_memory_percent: f64,
    /// Temperature at no power.
    pub ambient_celsius: f64,
    /// Thermal resistance.
    pub celsius_per_watt: f64,
    /// Time constant of the temperature.
    pub temperature_time_constant: Duration,
    /// Graphics clock.
    pub clock_graphics_mhz: u32,
    /// Graphics clock while the power limit holds it down.
    pub clock_graphics_capped_mhz: u32,
    /// Memory clock.
    pub clock_memory_mhz: u32,
}

impl Board {
    /// Share of the dynamic power that a step of so many tokens draws, 0 to 1.
    #[must_use]
    pub fn intensity(&self, tokens: f64) -> f64 {
        let saturation = (tokens / self.intensity_saturation_tokens).min(1.0);
        self.decode_intensity + (1.0 - self.decode_intensity) * saturation
    }
}

/// Readings of one board, advanced from period to period.
#[derive(Clone, Debug)]
pub struct BoardState {
    board: Board,
    faults: GpuFaults,
    elapsed: Duration,
    energy_joules: f64,
    temperature_celsius: f64,
    power_watts: f64,
    recent_watts: VecDeque<f64>,
    load: Load,
}

impl BoardState {
    /// A board at rest, at its idle power and temperature.
    #[must_use]
    pub fn new(board: Board, faults: GpuFaults) -> Self {
        Self {
            board,
            faults,
            elapsed: Duration::ZERO,
            energy_joules: 0.0,
            temperature_celsius: board.ambient_celsius + board.celsius_per_watt * board.idle_watts,
            power_watts: board.idle_watts,
            recent_watts: VecDeque::from([board.idle_watts]),
            load: Load::default(),
        }
    }

    /// Advances by a period with a given load, and with these faults from now on.
    pub fn advance(&mut self, period: Duration, load: Load, faults: GpuFaults) {
        let board = &self.board;
        let seconds = period.as_secs_f64();
        let reset_before = self.counter_reset();
        self.elapsed += period;
        self.faults = faults;
        self.load = load;
        let dynamic_watts = board.limit_watts * CAPPED_SHARE - board.idle_watts;
        self.power_watts = board.idle_watts + dynamic_watts * load.intensity * self.speed();
        if self.recent_watts.len() == AVERAGED_SAMPLES {
            self.recent_watts.pop_front();
        }
        self.recent_watts.push_back(self.power_watts);
        if self.counter_reset() && !reset_before {
            self.energy_joules = 0.0;
        }
        self.energy_joules += self.power_watts * seconds;
        let target = self.board.ambient_celsius + self.board.celsius_per_watt * self.power_watts;
        let lag = (-seconds / self.board.temperature_time_constant.as_secs_f64()).exp();
        self.temperature_celsius = target + (self.temperature_celsius - target) * lag;
    }

    fn counter_reset(&self) -> bool {
        self.faults.energy_counter_reset_after.is_some_and(|after| self.elapsed >= after)
    }

    fn throttled(&self) -> bool {
        self.faults.throttle_after.is_some_and(|after| self.elapsed >= after)
    }

    fn power_capped(&self) -> bool {
        !self.throttled() && self.load.intensity > 0.95
    }

    /// The clock's share of the usual one: what the engine's steps are stretched by.
    #[must_use]
    pub fn speed(&self) -> f64 {
        if self.throttled() { GpuFaults::THROTTLED_SPEED } else { 1.0 }
    }

    /// The readings as the shared GPU file has them.
    #[must_use]
    pub fn readings(&self, uuid: &str, now_unix_us: u64) -> teebench_api::files::gpu::SimulatedGpu {
        let board = &self.board;
        let available = !self.faults.sensors_unavailable;
        let average_watts = self.recent_watts.iter().sum::<f64>() / self.recent_watts.len() as f64;
        teebench_api::files::gpu::SimulatedGpu {
            uuid: uuid.to_owned(),
            name: board.name.to_owned(),
            vbios_version: board.vbios_version.to_owned(),
            memory_total_mib: board.memory_total_mib,
            power_limit_mw: milli(board.limit_watts),
            updated_unix_us: now_unix_us,
            power_instant_mw: available.then(|| milli(self.power_watts)),
            power_average_mw: available.then(|| milli(average_watts)),
            energy_mj: available.then(|| milli(self.energy_joules)),
            utilization_gpu_percent: available.then(|| percent(self.load.busy)),
            utilization_memory_percent: available.then(|| percent(self.load.memory)),
            clock_graphics_mhz: available.then(|| self.clock_graphics_mhz()),
            clock_memory_mhz: available.then_some(board.clock_memory_mhz),
            temperature_celsius: available.then(|| self.temperature_celsius.round() as u32),
            throttle_reasons: self.throttle_reasons(),
        }
    }

    fn clock_graphics_mhz(&self) -> u32 {
        if self.power_capped() {
            self.board.clock_graphics_capped_mhz
        } else {
            (f64::from(self.board.clock_graphics_mhz) * self.speed()).round() as u32
        }
    }

    fn throttle_reasons(&self) -> u64 {
        if self.throttled() {
            REASON_HW_SLOWDOWN | REASON_HW_THERMAL_SLOWDOWN
        } else if self.power_capped() {
            REASON_SW_POWER_CAP
        } else if self.load.busy == 0.0 {
            REASON_GPU_IDLE
        } else {
            0
        }
    }
}

fn milli(value: f64) -> u64 {
    (value * 1000.0).round() as u64
}

fn percent(share: f64) -> u32 {
    (share * 100.0).round().clamp(0.0, 100.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;
    use rstest::rstest;

    const FULL: Load = Load { busy: 1.0, intensity: 1.0, memory: 0.3 };

    fn h200(faults: GpuFaults) -> BoardState {
        BoardState::new(Profile::H200.figures().board, faults)
    }

    fn run(state: &mut BoardState, periods: u32, load: Load) {
        for _ in 0..periods {
            state.advance(SAMPLE_PERIOD, load, state.faults);
        }
    }

    /// Measured on a real H200 by nvidia-smi, at steady moments of the runs in `fit/data`.
    #[rstest]
    #[case::idle(None, 122.0)]
    #[case::one_sequence(Some(1.0), 488.0)]
    #[case::four_sequences(Some(4.0), 513.0)]
    #[case::sixteen_sequences(Some(16.0), 572.0)]
    #[case::sixty_four_sequences(Some(64.0), 674.0)]
    #[case::prefill(Some(8192.0), 690.0)]
    fn power_of_the_h200_is_near_the_measured_one(#[case] tokens: Option<f64>, #[case] measured_watts: f64) {
        let mut state = h200(GpuFaults::default());
        let intensity = tokens.map_or(0.0, |tokens| state.board.intensity(tokens));
        run(&mut state, 20, Load { busy: 1.0, intensity, memory: 0.5 });
        assert!((state.power_watts / measured_watts - 1.0).abs() < 0.05, "{} W", state.power_watts);
    }

    #[test]
    fn energy_is_the_integral_of_power() {
        let mut state = h200(GpuFaults::default());
        run(&mut state, 10, FULL);
        run(&mut state, 20, Load::default());
        let expected_mj = (700.0 * CAPPED_SHARE + 2.0 * 122.0) * 1000.0;
        let energy_mj = state.readings("GPU-x", 0).energy_mj.unwrap() as f64;
        assert!((energy_mj / expected_mj - 1.0).abs() < 1e-6, "{energy_mj} against {expected_mj}");
    }

    #[test]
    fn average_power_lags_a_second_behind() {
        let mut state = h200(GpuFaults::default());
        run(&mut state, 10, Load::default());
        run(&mut state, 5, FULL);
        let readings = state.readings("GPU-x", 0);
        let middle = f64::midpoint(122.0, 700.0 * CAPPED_SHARE);
        assert!((readings.power_average_mw.unwrap() as f64 / 1000.0 - middle).abs() < 1.0);
        run(&mut state, 5, FULL);
        let readings = state.readings("GPU-x", 0);
        assert_eq!(readings.power_average_mw, readings.power_instant_mw);
    }

    #[test]
    fn temperature_settles_where_power_puts_it() {
        let mut state = h200(GpuFaults::default());
        run(&mut state, 100, FULL);
        assert_eq!(state.readings("GPU-x", 0).temperature_celsius, Some(65));
        run(&mut state, 100, Load::default());
        assert_eq!(state.readings("GPU-x", 0).temperature_celsius, Some(41));
    }

    #[test]
    fn a_full_load_is_capped_by_power_and_says_so() {
        let mut state = h200(GpuFaults::default());
        assert_eq!(state.readings("GPU-x", 0).throttle_reasons, REASON_GPU_IDLE);
        run(&mut state, 1, FULL);
        let readings = state.readings("GPU-x", 0);
        assert_eq!((readings.throttle_reasons, readings.clock_graphics_mhz), (REASON_SW_POWER_CAP, Some(1455)));
        assert!(state.speed() >= 1.0, "fitted coefficients already contain the capped clock");
    }

    #[test]
    fn a_throttled_board_slows_down_draws_less_and_gives_the_hardware_reasons() {
        let after = Some(SAMPLE_PERIOD * 2);
        let mut state = h200(GpuFaults { throttle_after: after, ..GpuFaults::default() });
        run(&mut state, 1, FULL);
        let usual_watts = state.power_watts;
        assert!(state.speed() >= 1.0);
        run(&mut state, 1, FULL);
        assert!(state.speed() < 1.0 && state.power_watts < usual_watts);
        assert_eq!(state.readings("GPU-x", 0).throttle_reasons, 0x48);
    }

    #[test]
    fn a_reset_counter_falls_once_and_counts_on() {
        let after = Some(SAMPLE_PERIOD * 3);
        let mut state = h200(GpuFaults { energy_counter_reset_after: after, ..GpuFaults::default() });
        let energies: Vec<u64> = (0..5)
            .map(|_| {
                state.advance(SAMPLE_PERIOD, FULL, state.faults);
                state.readings("GPU-x", 0).energy_mj.unwrap()
            })
            .collect();
        assert_eq!(energies[2], energies[0]);
        assert!(energies[1] > energies[0] && energies[3] > energies[2] && energies[4] > energies[3]);
    }

    #[test]
    fn unavailable_sensors_read_as_absent_never_as_zero() {
        let state = h200(GpuFaults { sensors_unavailable: true, ..GpuFaults::default() });
        let readings = state.readings("GPU-x", 0);
        assert_eq!((readings.power_instant_mw, readings.energy_mj, readings.temperature_celsius), (None, None, None));
        assert_eq!(readings.power_limit_mw, 700_000);
    }
}
