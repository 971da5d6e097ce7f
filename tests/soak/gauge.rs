//! What the daemon holds while it runs.

use std::time::Duration;

use tailnas_sim::daemon::Daemon;

/// Memory and open files at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Since the beginning.
    pub at: Duration,
    /// `VmRSS`, in KiB.
    pub resident: u64,
    pub files: usize,
}

impl Sample {
    pub fn of(daemon: &Daemon, at: Duration) -> Self {
        let files = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid().unwrap())).unwrap().count();
        Self { at, resident: daemon.resident_kib().unwrap(), files }
    }
}

/// By how many KiB memory grew between the first and the last of `samples`, along the straight line that fits them best:
/// what an allocator takes and gives back from one moment to the next is in no single pair of them.
#[expect(clippy::cast_precision_loss, reason = "KiB of one process")]
pub fn growth(samples: &[Sample]) -> f64 {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return 0.0 };
    let count = samples.len() as f64;
    let points = || samples.iter().map(|sample| (sample.at.as_secs_f64(), sample.resident as f64));
    let (sum_at, sum_held) = points().fold((0.0, 0.0), |(x, y), (at, held)| (x + at, y + held));
    let (mid_at, mid_held) = (sum_at / count, sum_held / count);
    let (mut along, mut spread) = (0.0, 0.0);
    for (at, held) in points() {
        along += (at - mid_at) * (held - mid_held);
        spread += (at - mid_at) * (at - mid_at);
    }
    if spread > 0.0 { along / spread * last.at.checked_sub(first.at).unwrap().as_secs_f64() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(resident: impl Fn(u64) -> u64) -> Vec<Sample> {
        let sample = |n| Sample { at: Duration::from_secs(10 * n), resident: resident(n), files: 9 };
        (0..100).map(sample).collect()
    }

    #[test]
    fn a_leak_is_seen_and_noise_is_not() {
        let leak = growth(&samples(|n| 20_000 + 50 * n + 300 * (n % 2)));
        assert!((4700.0..5300.0).contains(&leak), "50 KiB each ten seconds: {leak}");
        let noise = growth(&samples(|n| 20_000 + 300 * (n % 2)));
        assert!(noise.abs() < 50.0, "{noise}");
        assert!(growth(&[]).abs() < 1.0 && growth(&samples(|n| n)[..1]).abs() < 1.0);
    }
}
