//! What was measured, as a page, as data and as pictures.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::json;

use crate::chart::{self, Height, Line};
use crate::check::Scenario;
use crate::load::Sample;
use crate::measure::{
    self, BARE, Cell, FASTMCP, Growth, MOST_CHANGES, Measured, OURS, USUAL, median, spread,
};

/// The page around what was measured.
const PAGE: &str = include_str!("../page.md");
const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// How a run was made.
#[derive(Clone, Debug)]
pub struct Run {
    /// The day.
    pub day: String,
    /// The machine, in words.
    pub machine: String,
    /// The command.
    pub command: String,
    /// What was measured: the commit, and how it was built.
    pub built: String,
    /// For how long, in seconds.
    pub took: u64,
}

/// Writes page, data and pictures into the folder `docs`, and answers the measured part of the page.
pub fn write(docs: &Path, run: &Run, measured: &Measured) -> Result<String, String> {
    let folder = docs.join("performance");
    let say = |error: std::io::Error| format!("the results could not be written: {error}");
    fs::create_dir_all(&folder).map_err(say)?;
    let text = text(run, measured);
    let page = PAGE.split_once(BEGIN).zip(PAGE.split_once(END));
    let ((before, _), (_, after)) = page.ok_or("the page has no place for what is measured")?;
    let page = format!("{before}{BEGIN}\n\n{text}\n{END}{after}");
    fs::write(docs.join("PERFORMANCE.md"), page).map_err(say)?;
    fs::write(folder.join("load.csv"), load_csv(measured)).map_err(say)?;
    fs::write(folder.join("growth.csv"), growth_csv(measured)).map_err(say)?;
    fs::write(folder.join("results.json"), format!("{:#}\n", all(run, measured))).map_err(say)?;
    for (name, picture) in pictures(measured) {
        fs::write(folder.join(name), picture).map_err(say)?;
    }
    Ok(text)
}

/// The samples of a cell, where there are any.
fn find<'m>(
    measured: &'m Measured,
    server: &str,
    scenario: Scenario,
    connections: usize,
) -> Option<&'m [Sample]> {
    let mut cells = measured.cells.iter();
    let cell = cells
        .find(|cell| cell.server == server && cell.scenario == scenario && cell.connections == connections)?;
    cell.samples.as_deref().ok().filter(|samples| !samples.is_empty())
}

fn cpu(samples: &[Sample]) -> f64 {
    median(samples.iter().map(|sample| sample.cpu))
}

fn rate(samples: &[Sample]) -> f64 {
    median(samples.iter().map(|sample| sample.per_second))
}

/// A number as a person reads it: three digits that count.
fn number(it: f64) -> String {
    let whole = |it: f64| {
        let digits = format!("{it:.0}");
        let mut out = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                out.push(',');
            }
            out.push(digit);
        }
        out
    };
    match it {
        it if !it.is_finite() => "–".to_owned(),
        it if it >= 100.0 => whole(it),
        it if it >= 10.0 => format!("{it:.1}"),
        it => format!("{it:.2}"),
    }
}

fn with_spread(samples: &[Sample], of: fn(&Sample) -> f64) -> String {
    let numbers = samples.iter().map(of);
    format!("{} ± {:.0} %", number(median(numbers.clone())), 100.0 * spread(numbers))
}

#[expect(clippy::cast_precision_loss, reason = "nothing here has 2^52 KiB")]
fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}

fn text(run: &Run, measured: &Measured) -> String {
    let mut out = String::new();
    let Run { day, machine, command, built, took } = run;
    let _ = writeln!(
        out,
        "Measured on {day} by `{command}`, which took {} min {} s.\n\nMachine: {machine}.\n\nThe daemon: {built}.\n",
        took / 60,
        took % 60
    );
    for what in &measured.not_run {
        let _ = writeln!(out, "NOT RUN: {what}.\n");
    }
    for Cell { server, scenario, connections, samples } in &measured.cells {
        if let Err(why) = samples {
            let name = scenario.name();
            let _ = writeln!(out, "FAILED: {server}, {name} on {connections} connections: {why}\n");
        }
    }
    budgets(&mut out, measured);
    side_by_side(&mut out, measured);
    by_connections(&mut out, measured);
    ours(&mut out, measured);
    standing(&mut out, measured);
    growth(&mut out, measured);
    out
}

/// A budget, what was measured, and whether it is held.
struct Budget {
    what: String,
    limit: String,
    measured: String,
    held: Option<bool>,
}

fn budgets(out: &mut String, measured: &Measured) {
    let mut all = Vec::new();
    let at = |server, scenario| find(measured, server, scenario, USUAL);
    for (scenario, limit) in [(Scenario::List, 1.0), (Scenario::Discover, 1.0), (Scenario::Whoami, 1.25)] {
        let ratio = at(OURS, scenario).zip(at(BARE, scenario)).map(|(ours, bare)| cpu(ours) / cpu(bare));
        all.push(Budget {
            what: format!("`{}`: CPU per request, beside bare rmcp", scenario.name()),
            limit: format!("≤ {limit} ×"),
            measured: ratio.map_or_else(|| "not measured".to_owned(), |ratio| format!("{ratio:.2} ×")),
            held: ratio.map(|ratio| ratio <= limit),
        });
    }
    let ratio = at(OURS, Scenario::Whoami).zip(at(FASTMCP, Scenario::Whoami));
    let ratio = ratio.map(|(ours, theirs)| rate(ours) / rate(theirs));
    all.push(Budget {
        what: "`whoami`: requests a second, beside FastMCP with a bearer token".to_owned(),
        limit: "≥ 20 ×".to_owned(),
        measured: ratio.map_or_else(|| "not measured".to_owned(), |ratio| format!("{ratio:.1} ×")),
        held: ratio.map(|ratio| ratio >= 20.0),
    });
    let trip = at(OURS, Scenario::Nas).zip(at(OURS, Scenario::Small));
    let trip = trip.map(|(nas, small)| cpu(nas) - cpu(small));
    all.push(Budget {
        what: "A round trip to the NAS: our CPU for `services_list` less that for `plans_list`".to_owned(),
        limit: "≤ 150 µs".to_owned(),
        measured: trip.map_or_else(|| "not measured".to_owned(), |trip| format!("{} µs", number(trip))),
        held: trip.map(|trip| trip <= 150.0),
    });
    if let Some(own) = measured.standings.iter().find(|standing| standing.server == OURS) {
        let most = measured.cells.iter().map(|cell| cell.connections).max().unwrap_or_default();
        let rows = [
            ("idle".to_owned(), own.idle, 20.0, true),
            (format!("at {most} connections"), own.loaded, 48.0, most >= 256),
        ];
        for (when, kib, limit, fits) in rows {
            let held = megabytes(kib);
            all.push(Budget {
                what: format!("Memory (RSS), {when}"),
                limit: format!("≤ {limit} MB"),
                measured: format!("{held:.1} MB"),
                held: fits.then_some(held <= limit),
            });
        }
    }
    for growth in measured.growths.iter().filter(|growth| growth.flat) {
        let Some((ratio, noise)) = grown(growth) else { continue };
        all.push(Budget {
            what: format!(
                "`{}`: CPU from {} to {} {}",
                growth.scenario.name(),
                growth.points.first().map_or(0, |point| point.0),
                growth.points.last().map_or(0, |point| point.0),
                growth.of
            ),
            limit: format!("≤ {:.2} ×, the noise", 1.0 + noise),
            measured: format!("{ratio:.2} ×"),
            held: Some(ratio <= 1.0 + noise),
        });
    }
    out.push_str("### Budgets\n\n| what | budget | measured | |\n| --- | --- | --- | --- |\n");
    for Budget { what, limit, measured, held } in all {
        let held = match held {
            Some(true) => "held",
            Some(false) => "**not held**",
            None => "not measured",
        };
        let _ = writeln!(out, "| {what} | {limit} | {measured} | {held} |");
    }
    out.push('\n');
}

/// How much dearer it is at the largest size than at the smallest, and how much of that noise alone can make: the
/// spreads of the two, and no less than a tenth.
fn grown(growth: &Growth) -> Option<(f64, f64)> {
    let (_, first) = growth.points.first()?;
    let (_, last) = growth.points.last()?;
    let noise = |samples: &[Sample]| spread(samples.iter().map(|sample| sample.cpu));
    Some((cpu(last) / cpu(first), (noise(first) + noise(last)).max(0.1)))
}

fn servers(measured: &Measured) -> Vec<&'static str> {
    measured.standings.iter().map(|standing| standing.server).collect()
}

fn side_by_side(out: &mut String, measured: &Measured) {
    let _ = writeln!(
        out,
        "### Side by side, {USUAL} connections\n\n\
         | request | server | requests/s | p50 ms | p99 ms | CPU µs/request | CPU beside bare rmcp |\n\
         | --- | --- | --- | --- | --- | --- | --- |"
    );
    for scenario in [Scenario::Discover, Scenario::List, Scenario::Whoami] {
        let bare = find(measured, BARE, scenario, USUAL).map(cpu);
        for server in servers(measured) {
            let Some(samples) = find(measured, server, scenario, USUAL) else { continue };
            let _ = writeln!(
                out,
                "| `{}` | {server} | {} | {} | {} | {} | {} × |",
                scenario.name(),
                with_spread(samples, |sample| sample.per_second),
                number(median(samples.iter().map(|sample| sample.p50))),
                number(median(samples.iter().map(|sample| sample.p99))),
                with_spread(samples, |sample| sample.cpu),
                bare.map_or_else(|| "–".to_owned(), |bare| number(cpu(samples) / bare)),
            );
        }
    }
    out.push('\n');
}

fn connections(measured: &Measured) -> Vec<usize> {
    let mut all: Vec<_> = measured.cells.iter().map(|cell| cell.connections).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn by_connections(out: &mut String, measured: &Measured) {
    let all = connections(measured);
    out.push_str("### By connections\n\nEach field: requests a second; p99 in ms; CPU in µs for each.\n\n| request | server |");
    for connections in &all {
        let _ = write!(out, " {connections} |");
    }
    let _ = writeln!(out, "\n| --- | --- |{}", " --- |".repeat(all.len()));
    for scenario in [Scenario::Discover, Scenario::List, Scenario::Whoami] {
        for server in servers(measured) {
            row(out, measured, (server, server), scenario, &all);
        }
    }
    out.push_str("\n![CPU for each whoami, by connections](performance/connections.svg)\n\n");
}

fn row(
    out: &mut String,
    measured: &Measured,
    (server, what): (&str, &str),
    scenario: Scenario,
    all: &[usize],
) {
    let _ = write!(out, "| `{}` | {what} |", scenario.name());
    for &connections in all {
        match find(measured, server, scenario, connections) {
            Some(samples) => {
                let p99 = median(samples.iter().map(|sample| sample.p99));
                let (rate, cpu) = (number(rate(samples)), number(cpu(samples)));
                let _ = write!(out, " {rate}; {}; {cpu} |", number(p99));
            }
            None => out.push_str(" – |"),
        }
    }
    out.push('\n');
}

fn ours(out: &mut String, measured: &Measured) {
    let all = connections(measured);
    out.push_str("### What only the daemon does\n\nFields as above; a change counts once, for its two requests.\n\n| tool | what | ");
    for connections in &all {
        let _ = write!(out, "{connections} | ");
    }
    let _ = writeln!(out, "\n| --- | --- |{}", " --- |".repeat(all.len()));
    let rows = [
        (Scenario::Small, "no NAS, small answer"),
        (Scenario::Cached, "what the NAS said a moment ago"),
        (Scenario::Nas, "one call of the NAS"),
        (Scenario::Change, "planned, confirmed, intent, made, outcome"),
    ];
    for (scenario, what) in rows {
        row(out, measured, (OURS, what), scenario, &all);
    }
    if all.iter().any(|connections| *connections > MOST_CHANGES) {
        let _ = writeln!(
            out,
            "\n{MOST_CHANGES} plans may wait at one time, so that changes were not tried on more connections."
        );
    }
    out.push('\n');
}

fn standing(out: &mut String, measured: &Measured) {
    let most = connections(measured).last().copied().unwrap_or_default();
    let _ = writeln!(
        out,
        "### Memory and start\n\n| server | start to first answer, ms | idle, MB | at {most} connections, MB | most ever, MB |\n\
         | --- | --- | --- | --- | --- |"
    );
    for it in &measured.standings {
        let starts = it.starts.iter().copied();
        let _ = writeln!(
            out,
            "| {} | {} ± {:.0} % | {:.1} | {:.1} | {:.1} |",
            it.server,
            number(median(starts.clone())),
            100.0 * spread(starts),
            megabytes(it.idle),
            megabytes(it.loaded),
            megabytes(it.peak),
        );
    }
    out.push('\n');
}

fn growth(out: &mut String, measured: &Measured) {
    out.push_str("### As things grow\n\nCPU of the daemon for each call in µs.\n");
    let mut of: Vec<&str> = measured.growths.iter().map(|growth| growth.of).collect();
    of.dedup();
    for of in of {
        let rows: Vec<_> = measured.growths.iter().filter(|growth| growth.of == of).collect();
        let Some(first) = rows.first() else { continue };
        let _ = write!(out, "\n| {of} |");
        for (size, _) in &first.points {
            let _ = write!(out, " {} |", grouped(*size));
        }
        let _ =
            writeln!(out, " largest beside smallest |\n| --- |{}", " --- |".repeat(first.points.len() + 1));
        for growth in rows {
            let (name, on) = (growth.scenario.name(), growth.connections);
            let _ = write!(out, "| {name}, {on} at a time |");
            for (_, samples) in &growth.points {
                let _ = write!(out, " {} |", with_spread(samples, |sample| sample.cpu));
            }
            let ratio = grown(growth).map_or_else(|| "–".to_owned(), |(ratio, _)| format!("{ratio:.2} ×"));
            let _ = writeln!(out, " {ratio} |");
        }
        if of.starts_with("records") && !measured.ready.is_empty() {
            out.push_str("| start to READY, ms |");
            for (_, ready) in &measured.ready {
                let ready = ready.iter().copied();
                let _ = write!(out, " {} ± {:.0} % |", number(median(ready.clone())), 100.0 * spread(ready));
            }
            out.push_str(" |\n");
        }
        let _ = writeln!(out, "\n![CPU by {of}](performance/{})", file_of(of));
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes here are small")]
fn grouped(size: u64) -> String {
    if size < 100 { size.to_string() } else { number(size as f64) }
}

fn file_of(of: &str) -> String {
    format!("{}.svg", of.split(' ').next().unwrap_or(of))
}

#[expect(clippy::cast_precision_loss, reason = "sizes here are small")]
fn pictures(measured: &Measured) -> Vec<(String, String)> {
    let all = connections(measured);
    let line = |server: &&str| {
        let points = all.iter().filter_map(|connections| {
            let samples = find(measured, server, Scenario::Whoami, *connections)?;
            Some((*connections as f64, cpu(samples)))
        });
        Line { name: (*server).to_owned(), points: points.collect() }
    };
    let lines: Vec<_> = servers(measured).iter().map(line).filter(|line| !line.points.is_empty()).collect();
    let title = "whoami: CPU of the server for each request";
    let picture = chart::draw(title, "connections", "µs", Height::Logarithmic, &lines);
    let mut pictures = vec![("connections.svg".to_owned(), picture)];
    let mut of: Vec<&str> = measured.growths.iter().map(|growth| growth.of).collect();
    of.dedup();
    for of in of {
        let growths = measured.growths.iter().filter(|growth| growth.of == of);
        let lines: Vec<_> = growths
            .map(|growth| Line {
                name: growth.scenario.name().to_owned(),
                points: growth.points.iter().map(|(size, samples)| (*size as f64, cpu(samples))).collect(),
            })
            .collect();
        let title = format!("CPU of the daemon for each call, by {of}");
        pictures.push((file_of(of), chart::draw(&title, of, "µs", Height::Linear, &lines)));
    }
    pictures
}

const COLUMNS: &str = "done,per_second,p50_ms,p99_ms,cpu_us,resident_kib";

fn columns(sample: &Sample) -> String {
    let Sample { done, per_second, p50, p99, cpu, resident } = sample;
    format!("{done},{per_second:.1},{p50:.3},{p99:.3},{cpu:.2},{resident}")
}

fn load_csv(measured: &Measured) -> String {
    let mut out = format!("server,request,connections,round,{COLUMNS}\n");
    for Cell { server, scenario, connections, samples } in &measured.cells {
        for (round, sample) in (1..).zip(samples.iter().flatten()) {
            let (name, columns) = (scenario.name(), columns(sample));
            let _ = writeln!(out, "\"{server}\",{name},{connections},{round},{columns}");
        }
    }
    out
}

fn growth_csv(measured: &Measured) -> String {
    let mut out = format!("of,size,request,round,{COLUMNS}\n");
    for Growth { of, scenario, points, .. } in &measured.growths {
        for (size, samples) in points {
            for (round, sample) in (1..).zip(samples) {
                let _ = writeln!(out, "{of},{size},{},{round},{}", scenario.name(), columns(sample));
            }
        }
    }
    out
}

fn all(run: &Run, measured: &Measured) -> serde_json::Value {
    let cells = measured.cells.iter().map(|cell| {
        let samples =
            cell.samples.as_ref().map(|samples| samples.iter().map(measure::json).collect::<Vec<_>>());
        json!({
            "server": cell.server, "request": cell.scenario.name(), "connections": cell.connections,
            "rounds": samples.as_ref().ok(), "failed": samples.err(),
        })
    });
    let standings = measured.standings.iter().map(|it| {
        json!({
            "server": it.server, "start_ms": it.starts, "idle_kib": it.idle, "loaded_kib": it.loaded,
            "peak_kib": it.peak,
        })
    });
    let growths = measured.growths.iter().map(|growth| {
        let points = growth.points.iter().map(|(size, samples)| {
            json!({ "size": size, "rounds": samples.iter().map(measure::json).collect::<Vec<_>>() })
        });
        json!({
            "of": growth.of, "request": growth.scenario.name(), "flat": growth.flat,
            "points": points.collect::<Vec<_>>(),
        })
    });
    let ready =
        measured.ready.iter().map(|(records, ready)| json!({ "records": records, "ready_ms": ready }));
    json!({
        "day": run.day, "machine": run.machine, "command": run.command, "built": run.built,
        "took_seconds": run.took, "not_run": measured.not_run,
        "load": cells.collect::<Vec<_>>(), "standing": standings.collect::<Vec<_>>(),
        "growth": growths.collect::<Vec<_>>(), "ready": ready.collect::<Vec<_>>(),
    })
}
