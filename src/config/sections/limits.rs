//! `[limits]`

use std::ops::RangeInclusive;

use crate::config::Limits;
use crate::config::keys;
use crate::config::reader::{Read, Section};

/// No limit can be switched off, neither by nothing nor by more than any machine could serve.
const SENSIBLE: RangeInclusive<u32> = 1..=10_000;

pub(in crate::config) fn read(root: &mut Section<'_>) -> Read<Limits> {
    root.table_or_defaults("limits", &keys::LIMITS, |limits| {
        let calls_per_second = limits.optional_number("calls_per_second", SENSIBLE);
        let burst = limits.optional_number("burst", SENSIBLE);
        let calls_per_second_in_all = limits.optional_number("calls_per_second_in_all", SENSIBLE);
        let burst_in_all = limits.optional_number("burst_in_all", SENSIBLE);
        let calls_in_flight = limits.optional_number("calls_in_flight", SENSIBLE);
        let calls_in_flight_in_all = limits.optional_number("calls_in_flight_in_all", SENSIBLE);
        Ok(Limits {
            calls_per_second: calls_per_second?.unwrap_or(20),
            burst: burst?.unwrap_or(40),
            calls_per_second_in_all: calls_per_second_in_all?.unwrap_or(200),
            burst_in_all: burst_in_all?.unwrap_or(400),
            calls_in_flight: calls_in_flight?.unwrap_or(8),
            calls_in_flight_in_all: calls_in_flight_in_all?.unwrap_or(64),
        })
    })
}
