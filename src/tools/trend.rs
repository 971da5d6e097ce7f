//! Where measurements are going: a straight line through them, over time, and how sure it is.

use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::render::{size, time};

/// A straight line through the measurements, over time and not over their number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct Trend {
    /// By how much it grows in an hour; less than nothing where it shrinks.
    pub(super) per_hour: f64,
    /// How far off that may be: twice the standard error of the slope, widened by how much each measurement follows
    /// the one before it.
    pub(super) plus_minus: f64,
    /// Whether it can be told from no change at all.
    pub(super) clear: bool,
}

#[expect(clippy::cast_precision_loss, reason = "there are a few thousand at most")]
pub(super) fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count().max(1) as f64;
    values.map(|value| value / count).sum()
}

/// The slope over time by least squares. Two points lie on any line, so there must be three.
pub(super) fn trend(points: &[(f64, f64)]) -> Option<Trend> {
    const HOUR: f64 = 3600.0;
    if points.len() < 3 {
        return None;
    }
    let (at, value) = (mean(points.iter().map(|point| point.0)), mean(points.iter().map(|point| point.1)));
    let spread: f64 = points.iter().map(|point| (point.0 - at).powi(2)).sum();
    if spread <= 0.0 {
        return None;
    }
    let slope = points.iter().map(|point| (point.0 - at) * (point.1 - value)).sum::<f64>() / spread;
    let off: Vec<_> = points.iter().map(|point| point.1 - value - slope * (point.0 - at)).collect();
    #[expect(clippy::cast_precision_loss, reason = "there are a few thousand at most")]
    let freedom = (points.len() - 2) as f64;
    let error = (off.iter().map(|off| off * off).sum::<f64>() / freedom / spread).sqrt();
    let (per_hour, plus_minus) = (slope * HOUR, 2.0 * error * wider(&off) * HOUR);
    // What is lost in adding up large numbers is no change.
    let rounding = f64::EPSILON.sqrt() * value.abs() * HOUR / (spread / (freedom + 2.0)).sqrt();
    Some(Trend { per_hour, plus_minus, clear: per_hour.abs() > plus_minus.max(rounding) })
}

/// By how much a standard error that takes measurements for independent of each other is too small, where what they
/// are off by is `off`: where each is like the one before, there are fewer than there seem to be. By the correlation
/// of neighbours, as of an autoregressive process of first order; of few values it comes out too low, by about
/// (1 + 4 r) / n.
fn wider(off: &[f64]) -> f64 {
    let power: f64 = off.iter().map(|off| off * off).sum();
    if power <= 0.0 {
        return 1.0;
    }
    let alike = off.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / power;
    #[expect(clippy::cast_precision_loss, reason = "there are a few thousand at most")]
    let alike = (alike + (1.0 + 4.0 * alike) / off.len() as f64).clamp(0.0, 0.99);
    ((1.0 + alike) / (1.0 - alike)).sqrt()
}

/// How a pool grows, and when it will be how full, as far as a straight line through its past can tell.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct Growth {
    /// Since when there are samples, ISO 8601.
    pub(super) since: String,
    /// How many.
    pub(super) samples: usize,
    /// Bytes a day; less than nothing where it shrinks.
    pub(super) bytes_per_day: f64,
    /// How far off that may be.
    pub(super) plus_minus: f64,
    /// Whether it can be told from no change at all.
    pub(super) clear: bool,
    /// When it will be how full. Empty where the samples do not support saying so.
    pub(super) reaches: Vec<Reach>,
}

/// When a pool will be so full.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct Reach {
    /// Percent in use.
    pub(super) percent: u8,
    /// Days from now.
    pub(super) days: f64,
    /// If it grows as fast as it may.
    pub(super) soonest: f64,
    /// If it grows as slowly as it may.
    pub(super) latest: f64,
}

/// No fewer samples and no shorter a time say anything about weeks to come.
const SAMPLES: usize = PARTS;
const DAYS: f64 = 3.0;
/// A pool that grows is fuller in each of so many parts of the time than in the one before, by a third to three times
/// as much as on the whole. One large copy, or a walk without aim, is not.
const PARTS: usize = 6;
const UNEVEN: f64 = 3.0;
/// Samples of the last days are hourly and those before daily: they are made into means of so many equal spans, or
/// the last days would count for more than the rest.
const SPANS: usize = 192;
/// A line is drawn on no further than so many times as far as it was seen, or it says more than anybody knows.
const FURTHER: f64 = 10.0;

/// How a pool of `size` bytes grows that held so many bytes at these times, oldest first.
pub(super) fn growth(used: &[(DateTime<Utc>, u64)], size: u64) -> Option<Growth> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a pool has far less than 2^53 bytes, and seconds are fewer"
    )]
    let points: Vec<_> = used.iter().map(|(at, bytes)| (at.timestamp() as f64, *bytes as f64)).collect();
    let (first, last) = (points.first()?, points.last()?);
    let days = (last.0 - first.0) / 86_400.0;
    if points.len() < SAMPLES || days < DAYS {
        return None;
    }
    let Trend { per_hour, plus_minus, clear } = trend(&means(&points, SPANS))?;
    let (per_day, off) = (per_hour * 24.0, plus_minus * 24.0);
    // Half as much again is as far off as a date may be to be worth naming.
    let sure = clear && per_day > 0.0 && off <= per_day / 2.0 && is_even(&means(&points, PARTS));
    let reach = |percent: u8| {
        #[expect(clippy::cast_precision_loss, reason = "as above")]
        let left = size as f64 * f64::from(percent) / 100.0 - last.1;
        let reach = Reach {
            percent,
            days: left / per_day,
            soonest: left / (per_day + off),
            latest: left / (per_day - off),
        };
        (sure && left > 0.0 && reach.days <= days * FURTHER).then_some(reach)
    };
    Some(Growth {
        since: time(used.first()?.0),
        samples: used.len(),
        bytes_per_day: per_day,
        plus_minus: off,
        clear,
        reaches: [70, 85, 100].into_iter().filter_map(reach).collect(),
    })
}

/// The means of the points in so many equal spans of the time, where there are any. Of a line they lie on it.
fn means(points: &[(f64, f64)], spans: usize) -> Vec<(f64, f64)> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "spans are few, and the first point is the earliest"
    )]
    let span_of = |point: &(f64, f64)| {
        (((point.0 - first.0) / (last.0 - first.0) * spans as f64) as usize).min(spans - 1)
    };
    let spans = points.chunk_by(|one, next| span_of(one) == span_of(next));
    spans
        .map(|span| (mean(span.iter().map(|point| point.0)), mean(span.iter().map(|point| point.1))))
        .collect()
}

/// Whether it goes up from each of these to the next, about as steeply as on the whole.
fn is_even(means: &[(f64, f64)]) -> bool {
    let (Some(first), Some(last)) = (means.first(), means.last()) else { return false };
    let slope = |from: &(f64, f64), to: &(f64, f64)| (to.1 - from.1) / (to.0 - from.0);
    let whole = slope(first, last);
    means.len() == PARTS
        && whole > 0.0
        && means.windows(2).all(|pair| {
            let part = slope(&pair[0], &pair[1]);
            part >= whole / UNEVEN && part <= whole * UNEVEN
        })
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = |bytes: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "three digits are shown"
            )]
            size(bytes.abs() as u64)
        };
        let Self { since, samples, bytes_per_day, plus_minus, clear, reaches } = self;
        if !clear {
            return write!(f, "no clear growth in {samples} samples since {since}");
        }
        let verb = if *bytes_per_day < 0.0 { "shrinks" } else { "grows" };
        write!(
            f,
            "{verb} by {} a day, give or take {} ({samples} samples since {since})",
            bytes(*bytes_per_day),
            bytes(*plus_minus)
        )?;
        for Reach { percent, days, soonest, latest } in reaches {
            write!(f, "; {percent} % full in {days:.0} days ({soonest:.0} to {latest:.0})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "what is compared is rounded")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
    }

    proptest! {
        #[test]
        fn a_linear_growth_is_linear_whatever_the_number_of_samples(
            start in -1e12..1e12_f64, per_hour in prop_oneof![-1e9..-1e3_f64, 1e3..1e9_f64],
            hours in 1.0..9000.0_f64, count in 3..3000_u32,
        ) {
            // As measured since 1970, which is where the precision goes.
            let points: Vec<_> = (0..count)
                .map(|step| {
                    let hour = hours * f64::from(step) / f64::from(count - 1);
                    (1.79e9 + hour * 3600.0, start + per_hour * hour)
                })
                .collect();
            let trend = trend(&points).unwrap();
            let rounding = 1e-6 * start.abs() / hours;
            prop_assert!((trend.per_hour - per_hour).abs() <= 1e-3 * per_hour.abs() + rounding, "{trend:?}");
            prop_assert!(trend.clear || per_hour.abs() * hours < 1e-6 * start.abs(), "{trend:?}");
        }

        #[test]
        fn what_stays_the_same_has_no_trend(value in -1e15..1e15_f64, count in 3..500_u32) {
            let points: Vec<_> = (0..count).map(|at| (1.79e9 + 60.0 * f64::from(at), value)).collect();
            prop_assert!(!trend(&points).unwrap().clear);
        }

        #[test]
        fn a_pool_that_fills_evenly_is_full_when_it_is_full_whatever_the_number_of_samples(
            count in 6..1000_i64, days in 4..400_i64, per_day in 1_000_000_u64..1_000_000_000_000, more in 1_u64..9,
        ) {
            let size = 100_000_000_000_000_000;
            // So that it is full this many times the span from now on.
            let held = days.unsigned_abs() * per_day;
            let start = size - held - more * held.min(size / 10);
            let used: Vec<_> = (0..count)
                .map(|step| {
                    let seconds = days * 86_400 * step / (count - 1);
                    (at(seconds), start + u64::try_from(i128::from(per_day) * i128::from(seconds) / 86_400).unwrap())
                })
                .collect();
            let growth = growth(&used, size).unwrap();
            let rate = per_day as f64;
            prop_assert!((growth.bytes_per_day - rate).abs() <= 0.01 * rate + 64.0, "{growth:?}");
            let full = growth.reaches.iter().find(|reach| reach.percent == 100);
            let expected = (size - used.last().unwrap().1) as f64 / rate;
            if let Some(full) = full {
                prop_assert!((full.days - expected).abs() <= 0.02 * expected + 0.1, "{full:?} {expected}");
                prop_assert!(full.soonest <= full.days && full.days <= full.latest);
            } else {
                // A slope that is lost in the rounding of such sizes is not called clear.
                prop_assert!(!growth.clear || expected > days as f64 * FURTHER * 0.98, "{growth:?} {expected}");
            }
        }

        #[test]
        fn one_large_copy_promises_nothing_wherever_it_comes(
            hours in 73..800_i64, at_percent in 1..99_i64, before in 0..1_000_000_000_000_u64,
            by in 1_u64..1_000_000_000_000, daily in any::<bool>(),
        ) {
            let step = |hour: i64| before + if hour * 100 >= hours * at_percent { by } else { 0 };
            let used: Vec<_> = (0..=hours)
                .filter(|hour| !daily || hour % 24 == 0 || *hour == hours)
                .map(|hour| (at(hour * 3600), step(hour)))
                .collect();
            if let Some(growth) = growth(&used, 2_500_000_000_000) {
                prop_assert!(growth.reaches.is_empty(), "{growth:?}");
            }
        }
    }

    /// Numbers between -0.5 and 0.5 that are the same each time (xorshift).
    fn chance(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        }
    }

    /// Of how many of a thousand such pools a date is named.
    fn dated(hours: i64, size: u64, mut pool: impl FnMut(u64) -> Vec<f64>) -> usize {
        (0..1000)
            .filter(|seed| {
                let values = pool(*seed);
                let used: Vec<_> = (0..=hours)
                    .zip(&values)
                    .map(|(hour, value)| {
                        #[expect(
                            clippy::cast_possible_truncation,
                            clippy::cast_sign_loss,
                            reason = "far from either end"
                        )]
                        (at(hour * 3600), (size as f64 / 2.0 + value) as u64)
                    })
                    .collect();
                !growth(&used, size).unwrap().reaches.is_empty()
            })
            .count()
    }

    #[test]
    fn chance_is_seldom_taken_for_growth_and_growth_with_noise_is_found() {
        const GIB: f64 = (1_u64 << 30) as f64;
        for size in [1_u64 << 40, 100 << 40] {
            for hours in [73, 8 * 24, 30 * 24] {
                let count = usize::try_from(hours).unwrap() + 1;
                let noise = |seed| {
                    let mut chance = chance(seed + 1);
                    (0..count).map(|_| 100.0 * GIB * chance()).collect::<Vec<_>>()
                };
                let walk = |seed| {
                    let (mut chance, mut sum) = (chance(seed + 1), 0.0);
                    let mut step = || {
                        sum += GIB * chance();
                        sum
                    };
                    (0..count).map(|_| step()).collect::<Vec<_>>()
                };
                // A tenth of the pool over the time.
                let grows = |seed| {
                    let by_now = |hour: usize| 0.1 * size as f64 * hour as f64 / hours as f64;
                    let noise = noise(seed).into_iter().enumerate();
                    noise.map(|(hour, noise)| by_now(hour) + noise / 100.0).collect()
                };
                assert_eq!(dated(hours, size, noise), 0, "noise over {hours} h");
                let walks = dated(hours, size, walk);
                assert!(walks <= 40, "{walks} of a thousand walks over {hours} h");
                assert_eq!(dated(hours, size, grows), 1000, "growth over {hours} h");
            }
        }
    }

    #[test]
    fn a_few_days_are_needed_before_anything_is_said() {
        let used = |hours: i64| {
            (0..=hours).map(|hour| (at(hour * 3600), 1000 + hour.unsigned_abs())).collect::<Vec<_>>()
        };
        assert_eq!(growth(&used(71), 10_000), None);
        assert!(growth(&used(72), 10_000).is_some());
        assert_eq!(growth(&[], 10_000), None);
        assert_eq!(growth(&used(72)[..2], 10_000), None);
    }

    #[test]
    fn what_shrinks_or_is_full_already_reaches_nothing() {
        let used: Vec<_> = (0..100).map(|day| (at(day * 86_400), 9000 - day.unsigned_abs() * 10)).collect();
        let down = growth(&used, 10_000).unwrap();
        assert!(down.clear && down.bytes_per_day < 0.0 && down.reaches.is_empty());
        let used: Vec<_> = (0..100).map(|day| (at(day * 86_400), 8000 + day.unsigned_abs() * 5)).collect();
        let percents: Vec<_> =
            growth(&used, 10_000).unwrap().reaches.iter().map(|reach| reach.percent).collect();
        assert_eq!(percents, [85, 100]);
    }
}
