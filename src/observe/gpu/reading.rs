//! From what a driver says of a GPU to what the metrics say: NVML's units in, Triton's out.
//!
//! What this file must not know: the driver's library, and when it was asked.

use crate::observe::names;

/// What a GPU says at one time; `None` where it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub busy_percent: Option<u32>,
    pub memory_total_bytes: Option<u64>,
    pub memory_used_bytes: Option<u64>,
    pub power_mw: Option<u32>,
    pub power_limit_mw: Option<u32>,
    /// Since the driver was loaded.
    pub energy_mj: Option<u64>,
}

impl Reading {
    /// By the name of the metric.
    pub fn gauges(&self) -> [(&'static str, Option<f64>); 5] {
        let share = |percent| f64::from(percent) / 100.0;
        let bytes = |bytes| bytes as f64;
        let watts = |milliwatts| f64::from(milliwatts) / 1e3;
        [
            (names::GPU_UTILIZATION, self.busy_percent.map(share)),
            (names::GPU_MEMORY_TOTAL, self.memory_total_bytes.map(bytes)),
            (names::GPU_MEMORY_USED, self.memory_used_bytes.map(bytes)),
            (names::GPU_POWER, self.power_mw.map(watts)),
            (names::GPU_POWER_LIMIT, self.power_limit_mw.map(watts)),
        ]
    }
}

/// Energy since the first reading.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    last_mj: Option<u64>,
    consumed_mj: u64,
}

impl Meter {
    /// In whole joules, given what the driver counts now.
    pub fn joules(&mut self, now_mj: u64) -> u64 {
        let last_mj = self.last_mj.replace(now_mj).unwrap_or(now_mj);
        // A driver that was loaded again counts from 0.
        let added_mj = now_mj.checked_sub(last_mj).unwrap_or(now_mj);
        self.consumed_mj = self.consumed_mj.saturating_add(added_mj);
        self.consumed_mj / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_tritons() {
        let reading = Reading {
            busy_percent: Some(37),
            memory_total_bytes: Some(42_949_672_960),
            memory_used_bytes: Some(33_763_098_624),
            power_mw: Some(51_091),
            power_limit_mw: Some(400_000),
            energy_mj: Some(1),
        };
        let expected = [
            ("nv_gpu_utilization", Some(0.37)),
            ("nv_gpu_memory_total_bytes", Some(42_949_672_960.0)),
            ("nv_gpu_memory_used_bytes", Some(33_763_098_624.0)),
            ("nv_gpu_power_usage", Some(51.091)),
            ("nv_gpu_power_limit", Some(400.0)),
        ];
        assert_eq!(reading.gauges(), expected);
        assert!(Reading::default().gauges().iter().all(|(_, value)| value.is_none()));
        let all = Reading { busy_percent: Some(100), ..reading };
        assert_eq!(all.gauges()[0].1, Some(1.0));
    }

    #[test]
    fn energy_never_falls() {
        let mut meter = Meter::default();
        let readings = [3_594_017_400, 3_594_017_900, 3_594_018_400, 3_594_018_400, 300, 2_300];
        let joules = readings.map(|now_mj| meter.joules(now_mj));
        assert_eq!(joules, [0, 0, 1, 1, 1, 3]);
        assert_eq!(meter.joules(u64::MAX), u64::MAX / 1000);
    }
}
