//! Small pictures in SVG: lines over a logarithmic axis.

use std::fmt::Write as _;

/// A line of a chart.
pub struct Line {
    /// What it is called, at its end.
    pub name: String,
    /// Its points, by rising x.
    pub points: Vec<(f64, f64)>,
}

/// How high things are drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Height {
    /// From zero.
    Linear,
    /// By magnitude.
    Logarithmic,
}

const WIDTH: f64 = 760.0;
const TALL: f64 = 380.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 210.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 52.0;
/// Apart for people who do not see all colours (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// Draws `lines`. `x` and `y` say what the axes are.
pub fn draw(title: &str, x: &str, y: &str, height: Height, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (mut left, mut right, mut low, mut high) = (f64::MAX, f64::MIN, f64::MAX, f64::MIN);
    for (x, y) in points() {
        (left, right) = (left.min(*x), right.max(*x));
        (low, high) = (low.min(*y), high.max(*y));
    }
    let (low, high) = match height {
        Height::Linear => (0.0, nice(high)),
        Height::Logarithmic => (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil())),
    };
    let across = |x: f64| {
        let share = (x.ln() - left.ln()) / (right.ln() - left.ln()).max(f64::EPSILON);
        LEFT + share * (WIDTH - LEFT - RIGHT)
    };
    let up = |y: f64| {
        let share = match height {
            Height::Linear => y / high,
            Height::Logarithmic => (y.ln() - low.ln()) / (high.ln() - low.ln()),
        };
        TALL - BOTTOM - share * (TALL - TOP - BOTTOM)
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {TALL}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#222\">\n<title>{title}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{TALL}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{title}</text>\n",
        title = escape(title),
    );
    let ticks: Vec<f64> = match height {
        Height::Linear => (0..=4).map(|part| high * f64::from(part) / 4.0).collect(),
        Height::Logarithmic => {
            std::iter::successors(Some(low), |tick| Some(tick * 10.0)).take_while(|it| *it <= high).collect()
        }
    };
    for tick in ticks {
        let (at, right) = (up(tick), WIDTH - RIGHT);
        let _ = writeln!(svg, "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>");
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            at + 4.0,
            short(tick)
        );
    }
    let mut columns: Vec<f64> = points().map(|(x, _)| *x).collect();
    columns.sort_by(f64::total_cmp);
    columns.dedup();
    let foot = TALL - BOTTOM;
    let mut free = f64::MIN;
    for column in columns {
        let at = across(column);
        let _ = writeln!(svg, "<path d=\"M{at:.1} {TOP}V{foot}\" stroke=\"#eee\"/>");
        // One label does not stand on another.
        if at > free {
            let label = short(column);
            let under = foot + 18.0;
            let _ =
                writeln!(svg, "<text x=\"{at:.1}\" y=\"{under:.1}\" text-anchor=\"middle\">{label}</text>");
            free = at + 44.0;
        }
    }
    let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
    let _ = writeln!(
        svg,
        "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        TALL - 14.0,
        escape(x)
    );
    let half = TOP + (foot - TOP) / 2.0;
    let _ = writeln!(
        svg,
        "<text transform=\"translate(16 {half:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        escape(y)
    );
    let mut names = Vec::new();
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let places: Vec<_> =
            line.points.iter().map(|(x, y)| format!("{:.1},{:.1}", across(*x), up(*y))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            places.join(" ")
        );
        for (x, y) in &line.points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                across(*x),
                up(*y)
            );
        }
        if let Some((_, y)) = line.points.last() {
            names.push((up(*y), colour, &line.name));
        }
    }
    // Names stand at the ends of their lines, pushed down where two would meet.
    names.sort_by(|(one, ..), (other, ..)| one.total_cmp(other));
    let mut free = f64::MIN;
    for (at, colour, name) in names {
        let at = at.max(free);
        free = at + 16.0;
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>",
            WIDTH - RIGHT + 10.0,
            at + 4.0,
            escape(name)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// The next number above that makes a good end of an axis.
fn nice(most: f64) -> f64 {
    let magnitude = 10_f64.powf(most.max(f64::MIN_POSITIVE).log10().floor());
    let ends = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    ends.map(|end| end * magnitude).into_iter().find(|end| *end >= most).unwrap_or(most)
}

fn short(number: f64) -> String {
    if number >= 1e6 {
        format!("{} M", number / 1e6)
    } else if number >= 1e4 {
        format!("{:.0} k", number / 1e3)
    } else if number >= 10.0 || number == 0.0 {
        format!("{number:.0}")
    } else {
        format!("{number}")
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
