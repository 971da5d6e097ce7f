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
    /// How far off that may be: twice the standard error of the slope.
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
    let off = |point: &(f64, f64)| (point.1 - value - slope * (point.0 - at)).powi(2);
    #[expect(clippy::cast_precision_loss, reason = "there are a few thousand at most")]
    let freedom = (points.len() - 2) as f64;
    let error = (points.iter().map(off).sum::<f64>() / freedom / spread).sqrt();
    let (per_hour, plus_minus) = (slope * HOUR, 2.0 * error * HOUR);
    // What is lost in adding up large numbers is no change.
    let rounding = f64::EPSILON.sqrt() * value.abs() * HOUR / (spread / (freedom + 2.0)).sqrt();
    Some(Trend { per_hour, plus_minus, clear: per_hour.abs() > plus_minus.max(rounding) })
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
const SAMPLES: usize = 3;
const DAYS: f64 = 3.0;
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
    let Trend { per_hour, plus_minus, clear } = trend(&points)?;
    let (per_day, off) = (per_hour * 24.0, plus_minus * 24.0);
    // Half as much again is as far off as a date may be to be worth naming.
    let sure = clear && per_day > 0.0 && off <= per_day / 2.0;
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
            count in 3..1000_i64, days in 4..400_i64, per_day in 1_000_000_u64..1_000_000_000_000, more in 1_u64..9,
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
        fn what_goes_up_and_down_promises_nothing(
            count in 10..400_i64, seed in prop::collection::vec(0..1_000_000_000_u64, 400),
        ) {
            let used: Vec<_> = (0..count).map(|day| (at(day * 86_400), 1_000_000_000 + seed[usize::try_from(day).unwrap()])).collect();
            let growth = growth(&used, 3_000_000_000).unwrap();
            for reach in &growth.reaches {
                // Chance can look like growth; then it says how little it knows, and looks no further than that.
                prop_assert!(growth.clear && growth.plus_minus <= growth.bytes_per_day / 2.0);
                prop_assert!(reach.days <= FURTHER * 400.0);
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
