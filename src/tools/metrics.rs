//! Measurements over time: what a graph shows, in words and numbers.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::methods::app::Every;
use crate::nas::methods::query::Query;
use crate::nas::methods::{reporting, system};
use crate::nas::{Bounds, Session};

use super::render::foreign;
use super::trend::{Trend, mean, trend};
use super::{Entry, Items, Log, Need, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<Metrics>()]
}

struct Metrics;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Cpu,
    CpuTemperature,
    Memory,
    Network,
    Disk,
    DiskTemperature,
    Load,
    Arc,
    UpsCharge,
    UpsRuntime,
    UpsLoad,
}

/// How far back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Span {
    #[default]
    Hour,
    Day,
    Week,
    Month,
    Year,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MetricsArgs {
    /// What to look at.
    kind: Kind,
    /// How far back. Default: HOUR.
    #[serde(default)]
    span: Span,
    /// Only this interface or disk, such as eno1 or sda. Default: all.
    #[serde(default)]
    of: Option<String>,
}

/// Measurements over a span, one line for each thing that was measured.
#[derive(Serialize, JsonSchema)]
struct MetricsOutput {
    /// What was looked at.
    kind: Kind,
    /// How far back.
    span: Span,
    /// How much room there is by the highest mean: ample below 70 %, tight from there, short from 85 %; absent for
    /// what is no share of anything.
    room: Option<Room>,
    /// What was measured.
    lines: Vec<Line>,
    /// What should be known when reading the numbers.
    notes: Vec<String>,
}

/// How much is left of what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Room {
    Ample,
    Tight,
    Short,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Line {
    /// Interface or disk; absent for what there is one of.
    of: Option<String>,
    /// What of it, such as received or used.
    what: String,
    /// Unit of the numbers.
    unit: Unit,
    /// The least.
    min: f64,
    /// The mean.
    mean: f64,
    /// The most.
    max: f64,
    /// The latest.
    last: f64,
    /// How many measurements these are of.
    points: usize,
    /// What the numbers are a share of, in the same unit: memory, or what the link carries.
    whole: Option<f64>,
    /// The mean in percent of the whole.
    mean_percent: Option<f64>,
    /// The most in percent of the whole.
    max_percent: Option<f64>,
    /// How it changes over the span.
    trend: Option<Trend>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
enum Unit {
    #[serde(rename = "%")]
    Percent,
    #[serde(rename = "°C")]
    Celsius,
    #[serde(rename = "bytes")]
    Bytes,
    #[serde(rename = "bit/s")]
    BitsPerSecond,
    #[serde(rename = "bytes/s")]
    BytesPerSecond,
    #[serde(rename = "tasks")]
    Tasks,
    #[serde(rename = "s")]
    Seconds,
}

impl Kind {
    /// The graph of the NAS.
    const fn graph(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::CpuTemperature => "cputemp",
            Self::Memory => "memory",
            Self::Network => "interface",
            Self::Disk => "disk",
            Self::DiskTemperature => "disktemp",
            Self::Load => "load",
            Self::Arc => "arcsize",
            Self::UpsCharge => "upscharge",
            Self::UpsRuntime => "upsruntime",
            Self::UpsLoad => "upsload",
        }
    }

    /// Whether the NAS has the graph once for each interface or disk.
    const fn is_of_several(self) -> bool {
        matches!(self, Self::Network | Self::Disk | Self::DiskTemperature)
    }

    /// Our unit, and what a number of the NAS is multiplied by to be one of ours.
    const fn unit(self) -> (Unit, f64) {
        match self {
            Self::Cpu | Self::UpsCharge | Self::UpsLoad => (Unit::Percent, 1.0),
            Self::CpuTemperature | Self::DiskTemperature => (Unit::Celsius, 1.0),
            Self::Memory | Self::Arc => (Unit::Bytes, 1.0),
            Self::Network => (Unit::BitsPerSecond, 1000.0),
            Self::Disk => (Unit::BytesPerSecond, 1024.0),
            Self::Load => (Unit::Tasks, 1.0),
            Self::UpsRuntime => (Unit::Seconds, 1.0),
        }
    }
}

impl Span {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "HOUR",
            Self::Day => "DAY",
            Self::Week => "WEEK",
            Self::Month => "MONTH",
            Self::Year => "YEAR",
        }
    }
}

/// More things than a NAS has disks.
const MOST_THINGS: usize = 60;

impl Tool for Metrics {
    const NAME: &'static str = "metrics";
    const TITLE: &'static str = "Measurements over time";
    const DESCRIPTION: &'static str = "Processor, memory, network, disk, temperatures, load, ARC or UPS over an hour to a year: least, mean, most, share, trend, room left.";
    const SCOPE: Scope = Scope::MetricsRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[("kind", Log::Plain), ("span", Log::Plain)];
    const NEEDS: &'static [Need] =
        needs![reporting::Graphs, reporting::Data, reporting::Realtime, system::Info];
    type Args = MetricsArgs;
    type Output = MetricsOutput;

    async fn run(nas: &Session<'_, Read>, args: MetricsArgs) -> Result<MetricsOutput, ToolError> {
        let MetricsArgs { kind, span, of } = args;
        let mut notes = Vec::new();
        let wanted = wanted(nas, kind, of.as_deref(), &mut notes).await?;
        let asked = reporting::Span { unit: span.as_str(), aggregate: false };
        let series = nas.call(reporting::Data, (wanted, asked)).await?;
        let wholes = wholes(nas, kind, &mut notes).await?;
        let lines: Vec<_> = series.iter().flat_map(|series| lines(kind, series, &wholes)).collect();
        if lines.is_empty() {
            notes.push("The NAS has measured nothing of the kind in this span.".to_owned());
        }
        if lines.iter().any(|line| line.trend.is_some()) {
            notes.push(
                "A trend is a straight line through the past. It is no forecast, and measurements that hang \
                 together make it look surer than it is."
                    .to_owned(),
            );
        }
        Ok(MetricsOutput { kind, span, room: highest(kind, &lines).map(Room::of), lines, notes })
    }
}

/// The highest mean share of what is worked with; how full a battery is says nothing about room.
fn highest(kind: Kind, lines: &[Line]) -> Option<f64> {
    let share = |line: &Line| match kind {
        Kind::Cpu | Kind::UpsLoad => Some(line.mean),
        Kind::Memory | Kind::Network => line.mean_percent,
        _ => None,
    };
    lines.iter().filter_map(share).max_by(f64::total_cmp)
}

impl Room {
    fn of(percent: f64) -> Self {
        match percent {
            at if at >= 85.0 => Self::Short,
            at if at >= 70.0 => Self::Tight,
            _ => Self::Ample,
        }
    }
}

/// The graphs to ask for. The NAS leaves out without a word what it does not have, so it is asked what it has.
async fn wanted(
    nas: &Session<'_, Read>,
    kind: Kind,
    of: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<Vec<reporting::Wanted>, ToolError> {
    let name = kind.graph();
    if !kind.is_of_several() {
        if of.is_some() {
            notes.push("There is one of these for the whole NAS; \"of\" was not looked at.".to_owned());
        }
        return Ok(vec![reporting::Wanted { name, identifier: None }]);
    }
    let graphs = nas.call(reporting::Graphs, Query::all()).await?;
    let all = graphs.into_iter().find(|graph| graph.name == name).map(|graph| graph.identifiers);
    let all = all.unwrap_or_default();
    let known: Vec<_> = all.iter().take(MOST_THINGS).map(|one| foreign(short(one), 40)).collect();
    let mut fitting: Vec<_> =
        all.into_iter().filter(|one| of.is_none_or(|of| one == of || short(one) == of)).collect();
    if fitting.is_empty() {
        return Err(ToolError::Inapplicable {
            what: match of {
                Some(of) => format!("The NAS does not measure {}.", foreign(of, 60)),
                None => "The NAS measures nothing of the kind.".to_owned(),
            },
            hint: match &known[..] {
                [] => "Look at another kind.".to_owned(),
                known => format!("It measures {}.", known.join(", ")),
            },
        });
    }
    if fitting.len() > MOST_THINGS {
        notes.push(format!("Shown: {MOST_THINGS} of {}. Name one with \"of\".", fitting.len()));
        fitting.truncate(MOST_THINGS);
    }
    let asked = fitting.into_iter().map(|one| reporting::Wanted { name, identifier: Some(one) });
    Ok(asked.collect())
}

/// `sda` of `sda | Type: HDD | Model: …`.
fn short(identifier: &str) -> &str {
    identifier.split(" | ").next().unwrap_or(identifier)
}

/// What the numbers are a share of, by the name of the thing; "" for what there is one of.
async fn wholes(
    nas: &Session<'_, Read>,
    kind: Kind,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, f64>, ToolError> {
    match kind {
        Kind::Memory => {
            let memory = nas.call(system::Info, []).await?.physmem;
            #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53 bytes")]
            Ok(memory.map(|bytes| (String::new(), bytes as f64)).into_iter().collect())
        }
        Kind::Network => {
            let bounds = Bounds { items: 1, bytes: 1 << 20, time: Duration::from_secs(6) };
            // Without them there is still something to tell.
            let now = nas.follow(reporting::Realtime, Every { interval: 2 }, bounds).await;
            let now = now.ok().and_then(|mut told| told.items.pop());
            let Some(now) = now else {
                notes.push(
                    "The speed of the links could not be seen, so there are no percentages.".to_owned(),
                );
                return Ok(BTreeMap::new());
            };
            let speed = |link: reporting::Link| Some(link.speed? * 1e6).filter(|speed| *speed > 0.0);
            Ok(now.interfaces.into_iter().filter_map(|(name, link)| Some((name, speed(link)?))).collect())
        }
        _ => Ok(BTreeMap::new()),
    }
}

/// One line for each column that says something.
fn lines(kind: Kind, series: &reporting::Series, wholes: &BTreeMap<String, f64>) -> Vec<Line> {
    let Some(time) = series.legend.iter().position(|name| name == "time") else { return Vec::new() };
    let (unit, factor) = kind.unit();
    let thing = series.identifier.as_deref().map(short).filter(|_| kind.is_of_several());
    let whole = wholes.get(thing.unwrap_or_default()).copied();
    let columns = series.legend.iter().enumerate().filter(|(index, _)| *index != time);
    // The whole processor where there is such a column, and not each of its threads.
    let has_whole =
        matches!(kind, Kind::Cpu | Kind::CpuTemperature) && series.legend.iter().any(|name| name == "cpu");
    let columns = columns.filter(|(_, name)| !has_whole || *name == "cpu");
    columns
        .filter_map(|(column, name)| {
            let available = kind == Kind::Memory && name == "available";
            // What is used of nothing known cannot be told.
            let total = if available { Some(whole?) } else { None };
            let points: Vec<_> = series
                .data
                .iter()
                .filter_map(|row| {
                    let (at, value) = (row.get(time).copied()??, row.get(column).copied()?? * factor);
                    (at.is_finite() && value.is_finite())
                        .then(|| (at, total.map_or(value, |total| total - value)))
                })
                .collect();
            // Some columns are called what they are, and others what Netdata keeps of it: `temperature_value`.
            let told = name.strip_suffix("_value").unwrap_or(name);
            let what = if available { "used".to_owned() } else { foreign(told, 40) };
            line(thing, what, unit, whole, &points)
        })
        .collect()
}

fn line(
    thing: Option<&str>,
    what: String,
    unit: Unit,
    whole: Option<f64>,
    points: &[(f64, f64)],
) -> Option<Line> {
    let last = points.iter().max_by(|one, other| one.0.total_cmp(&other.0))?.1;
    let values = || points.iter().map(|point| point.1);
    let (min, max) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let mean = mean(values());
    let share = |value: f64| whole.map(|whole| (value / whole * 1000.0).round() / 10.0);
    Some(Line {
        of: thing.map(|thing| foreign(thing, 60)),
        what,
        unit,
        min,
        mean,
        max,
        last,
        points: points.len(),
        whole,
        mean_percent: share(mean),
        max_percent: share(max),
        trend: trend(points),
    })
}

impl Items for MetricsOutput {
    fn items(&self) -> usize {
        self.lines.len()
    }
}

impl fmt::Display for MetricsOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The last {}:", self.span.as_str().to_lowercase())?;
        // A point of a year is the mean of a day: what is so at this moment, only that of an hour tells.
        let latest = if self.span == Span::Hour { "now" } else { "at last" };
        let (hours, each) = match self.span {
            Span::Hour | Span::Day => (1.0, "an hour"),
            Span::Week | Span::Month | Span::Year => (24.0, "a day"),
        };
        for line in &self.lines {
            let Line { of, what, unit, min, mean, max, last, mean_percent, max_percent, trend, .. } = line;
            let show = |value: &f64| unit.show(*value);
            let of = of.as_ref().map(|of| format!("{of} ")).unwrap_or_default();
            write!(
                f,
                "- {of}{what}: mean {}, from {} to {}, {latest} {}",
                show(mean),
                show(min),
                show(max),
                show(last)
            )?;
            if let (Some(mean), Some(max), Some(whole)) = (mean_percent, max_percent, &line.whole) {
                write!(f, " (mean {mean} %, most {max} % of {})", show(whole))?;
            }
            match trend {
                Some(Trend { per_hour, plus_minus, clear: true }) => {
                    let sign = if *per_hour > 0.0 { "+" } else { "" };
                    let (slope, about) = (show(&(per_hour * hours)), show(&(plus_minus * hours)));
                    writeln!(f, "; {sign}{slope} {each}, give or take {about}")?;
                }
                Some(_) => writeln!(f, "; no clear trend")?,
                None => writeln!(f)?,
            }
        }
        if let (Some(room), Some(highest)) = (self.room, highest(self.kind, &self.lines)) {
            let word = match room {
                Room::Ample => "ample",
                Room::Tight => "tight (70 % and more)",
                Room::Short => "short (85 % and more)",
            };
            writeln!(f, "Room: {word}; the highest mean is {highest:.1} %.")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Percent => format!("{value:.1} %"),
            Self::Celsius => format!("{value:.1} °C"),
            Self::Bytes => scaled(value, 1024.0, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]),
            Self::BytesPerSecond => {
                scaled(value, 1024.0, ["B/s", "KiB/s", "MiB/s", "GiB/s", "TiB/s", "PiB/s"])
            }
            Self::BitsPerSecond => {
                scaled(value, 1000.0, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s"])
            }
            Self::Tasks => format!("{value:.2}"),
            Self::Seconds => format!("{value:.0} s"),
        }
    }
}

/// A number, less than nothing too, with the unit in which it reads well.
fn scaled(mut value: f64, step: f64, units: [&str; 6]) -> String {
    let mut unit = 0;
    while value.abs() >= step && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value.abs() < 99.95);
    format!("{value:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIGABIT: f64 = 1e9;

    fn series(name: &str, identifier: Option<&str>, legend: &[&str], rows: &[Vec<f64>]) -> reporting::Series {
        reporting::Series {
            name: name.to_owned(),
            identifier: identifier.map(str::to_owned),
            legend: legend.iter().map(|name| (*name).to_owned()).collect(),
            data: rows.iter().map(|row| row.iter().copied().map(Some).collect()).collect(),
        }
    }

    fn near(one: f64, other: f64) -> bool {
        (one - other).abs() <= 1e-6 * one.abs().max(other.abs()).max(1e-9)
    }

    proptest! {
        #[test]
        fn what_goes_through_a_link_is_a_share_of_what_it_carries(
            share in 0.0..1.0_f64, speed in prop::sample::select(vec![100.0, 1000.0, 2500.0, 10000.0]),
            count in 1..200_u32, swapped: bool,
        ) {
            // The NAS counts in kilobits a second, and the order of the columns is its own.
            let kilobits = share * speed * 1000.0;
            let legend = if swapped { ["time", "sent", "received"] } else { ["time", "received", "sent"] };
            let pair = if swapped { [7.0, kilobits] } else { [kilobits, 7.0] };
            let rows: Vec<_> = (0..count).map(|at| vec![f64::from(at), pair[0], pair[1]]).collect();
            let wholes = BTreeMap::from([("eno1".to_owned(), speed * 1e6)]);
            let lines = lines(Kind::Network, &series("interface", Some("eno1"), &legend, &rows), &wholes);
            let received = lines.iter().find(|line| line.what == "received").unwrap();
            prop_assert_eq!(received.unit, Unit::BitsPerSecond);
            prop_assert!(near(received.mean, share * speed * 1e6));
            prop_assert!((received.mean_percent.unwrap() - share * 100.0).abs() <= 0.0501);
            prop_assert!(lines.iter().any(|line| line.what == "sent" && near(line.mean, 7000.0)));
        }

        #[test]
        fn memory_is_what_is_used_of_the_total(available in 0.0..=1.0_f64, count in 1..100_u32) {
            let total = 34_359_738_368.0;
            let rows: Vec<_> = (0..count).map(|at| vec![f64::from(at), available * total]).collect();
            let wholes = BTreeMap::from([(String::new(), total)]);
            let lines = lines(Kind::Memory, &series("memory", None, &["time", "available"], &rows), &wholes);
            prop_assert_eq!(lines[0].what.as_str(), "used");
            prop_assert!((lines[0].mean_percent.unwrap() - (1.0 - available) * 100.0).abs() <= 0.0501);
        }
    }

    #[test]
    fn what_is_nearly_used_up_is_short_and_a_full_battery_is_nothing() {
        let cpu = |mean: f64| {
            let lines = lines(
                Kind::Cpu,
                &series("cpu", None, &["time", "cpu"], &[vec![1.0, mean]]),
                &BTreeMap::new(),
            );
            highest(Kind::Cpu, &lines).map(Room::of)
        };
        assert_eq!(
            (cpu(3.0), cpu(69.9), cpu(70.0)),
            (Some(Room::Ample), Some(Room::Ample), Some(Room::Tight))
        );
        assert_eq!((cpu(85.0), cpu(100.0)), (Some(Room::Short), Some(Room::Short)));
        let charge = series("upscharge", None, &["time", "charge"], &[vec![1.0, 100.0]]);
        let lines = lines(Kind::UpsCharge, &charge, &BTreeMap::new());
        assert_eq!(highest(Kind::UpsCharge, &lines), None);
    }

    #[test]
    fn a_slope_is_told_by_the_day_from_a_week_on_and_columns_by_what_they_are() {
        let rows: Vec<_> =
            (0..100).map(|hour| vec![f64::from(hour) * 3600.0, 30.0 + f64::from(hour) / 24.0]).collect();
        let series = series("disktemp", Some("sda | Type: HDD"), &["time", "temperature_value"], &rows);
        let told = |span| {
            let lines = lines(Kind::DiskTemperature, &series, &BTreeMap::new());
            MetricsOutput { kind: Kind::DiskTemperature, span, room: None, lines, notes: Vec::new() }
                .to_string()
        };
        assert!(told(Span::Week).contains("sda temperature: mean"), "{}", told(Span::Week));
        assert!(told(Span::Week).contains("+1.0 °C a day"), "{}", told(Span::Week));
        assert!(told(Span::Year).contains("at last 34.1 °C"), "{}", told(Span::Year));
        assert!(told(Span::Hour).contains("°C an hour") && told(Span::Hour).contains("now 34.1 °C"));
    }

    #[test]
    fn nine_hundred_megabits_on_a_gigabit_are_ninety_percent() {
        let rows = vec![vec![1.0, 900_000.0, 0.0]; 3];
        let wholes = BTreeMap::from([("eno1".to_owned(), GIGABIT)]);
        let graph = series("interface", Some("eno1"), &["time", "received", "sent"], &rows);
        let lines = lines(Kind::Network, &graph, &wholes);
        assert_eq!(lines[0].mean_percent, Some(90.0));
        assert_eq!(lines[0].unit.show(lines[0].mean), "900 Mbit/s");
    }

    #[test]
    fn gaps_are_passed_over_and_nothing_is_no_line() {
        let mut graph =
            series("cpu", None, &["cpu0", "time", "cpu"], &[vec![9.0, 1.0, 3.0], vec![9.0, 2.0, 5.0]]);
        graph.data.push(vec![None, Some(3.0), None]);
        graph.data.push(vec![Some(1.0)]);
        let only = lines(Kind::Cpu, &graph, &BTreeMap::new());
        assert_eq!((only.len(), only[0].points, only[0].mean, only[0].last), (1, 2, 4.0, 5.0));
        graph.data.clear();
        assert!(lines(Kind::Cpu, &graph, &BTreeMap::new()).is_empty());
    }

    #[test]
    fn without_the_total_nobody_says_how_much_memory_is_used() {
        let graph = series("memory", None, &["time", "available"], &[vec![1.0, 5.0]]);
        assert!(lines(Kind::Memory, &graph, &BTreeMap::new()).is_empty());
    }
}
