//! When tasks run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A schedule as cron has it, in the NAS's own time zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Minute.
    #[serde(default)]
    pub minute: Option<String>,
    /// Hour.
    #[serde(default)]
    pub hour: Option<String>,
    /// Day of the month.
    #[serde(default)]
    pub dom: Option<String>,
    /// Month.
    #[serde(default)]
    pub month: Option<String>,
    /// Day of the week.
    #[serde(default)]
    pub dow: Option<String>,
}

impl Schedule {
    /// The same as [`Cron`]; `None` where it says something that cannot be written so.
    #[must_use]
    pub fn cron(&self) -> Option<Cron> {
        let Self { minute, hour, dom, month, dow } = self;
        let field = |field: &Option<String>, default| field.clone().unwrap_or_else(|| String::from(default));
        let (dom, month, dow) = (field(dom, "*"), field(month, "*"), field(dow, "*"));
        [field(minute, "0"), field(hour, "*"), dom, month, dow].join(" ").parse().ok()
    }
}

/// A schedule as cron writes it: minute, hour, day of the month, month, day of the week. What the numbers may be, and
/// what names there are for them, the NAS knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Cron([String; 5]);

/// The text is not five fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("should be the five fields of cron: minute, hour, day of the month, month, day of the week")]
pub struct NotCron;

/// Longest field.
const LONGEST: usize = 100;

impl Cron {
    /// As the NAS takes it.
    #[must_use]
    pub fn schedule(self) -> Schedule {
        let [minute, hour, dom, month, dow] = self.0.map(Some);
        Schedule { minute, hour, dom, month, dow }
    }
}

impl FromStr for Cron {
    type Err = NotCron;

    fn from_str(text: &str) -> Result<Self, NotCron> {
        let sound = |field: &str| {
            field.len() <= LONGEST
                && field.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"*,-/".contains(&byte))
        };
        let fields: Vec<_> = text.split_ascii_whitespace().map(str::to_owned).collect();
        let fields = <[String; 5]>::try_from(fields).map_err(|_| NotCron)?;
        if fields.iter().all(|field| sound(field)) { Ok(Self(fields)) } else { Err(NotCron) }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl From<Cron> for String {
    fn from(cron: Cron) -> Self {
        cron.to_string()
    }
}

impl<'de> Deserialize<'de> for Cron {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Schedule {
    /// In words where there are simple ones, else as cron writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = |field: &Option<String>, default| field.clone().unwrap_or_else(|| String::from(default));
        let (minute, hour) = (field(&self.minute, "0"), field(&self.hour, "*"));
        let (dom, month, dow) = (field(&self.dom, "*"), field(&self.month, "*"), field(&self.dow, "*"));
        let at = minute.parse::<u8>().ok();
        match (at, hour.parse::<u8>().ok(), dom.as_str(), month.as_str(), dow.as_str()) {
            (Some(minute), Some(hour), "*", "*", "*") => write!(f, "daily at {hour:02}:{minute:02}"),
            (Some(minute), Some(hour), "*", "*", day) => {
                let days = match day {
                    "0" | "7" | "sun" => "Sundays",
                    "1" | "mon" => "Mondays",
                    "2" | "tue" => "Tuesdays",
                    "3" | "wed" => "Wednesdays",
                    "4" | "thu" => "Thursdays",
                    "5" | "fri" => "Fridays",
                    "6" | "sat" => "Saturdays",
                    some => return write!(f, "at {hour:02}:{minute:02} on weekdays {some}"),
                };
                write!(f, "{days} at {hour:02}:{minute:02}")
            }
            (Some(minute), None, "*", "*", "*") if hour == "*" => write!(f, "hourly at :{minute:02}"),
            _ => write!(f, "cron {minute} {hour} {dom} {month} {dow}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cron_writes_comes_back_as_it_was() {
        for text in ["0 3 * * 7", "*/15 9-17 1 jan mon-fri", "00 00 1,15 * *"] {
            let cron: Cron = text.parse().unwrap();
            assert_eq!(cron.to_string(), text);
            assert_eq!(cron.clone().schedule().cron(), Some(cron), "{text}");
        }
        let hourly: Schedule = serde_json::from_str(r#"{"minute": "5"}"#).unwrap();
        assert_eq!(hourly.cron().unwrap().to_string(), "5 * * * *");
        let long = format!("{} * * * *", "1,".repeat(LONGEST));
        for text in ["", "0 3 * *", "0 3 * * 7 7", "0 3 * * ;", "0 3 * * \u{e4}", "@daily", &long] {
            assert_eq!(text.parse::<Cron>(), Err(NotCron), "{text}");
        }
    }

    #[test]
    fn simple_schedules_are_told_in_words() {
        for (text, told) in [
            (r#"{"minute": "00", "hour": "3", "dom": "*", "month": "*", "dow": "*"}"#, "daily at 03:00"),
            (r#"{"minute": "5", "hour": "*", "begin": "00:00", "end": "23:59"}"#, "hourly at :05"),
            (r#"{"minute": "0", "hour": "0", "dow": "sun"}"#, "Sundays at 00:00"),
            (r#"{"minute": "0", "hour": "0", "dow": "7"}"#, "Sundays at 00:00"),
            (r#"{"minute": "30", "hour": "2", "dow": "1-5"}"#, "at 02:30 on weekdays 1-5"),
            (
                r#"{"minute": "*/15", "hour": "9-17", "dom": "1", "month": "*", "dow": "*"}"#,
                "cron */15 9-17 1 * *",
            ),
            (r#"{"minute": "0", "hour": "*/4"}"#, "cron 0 */4 * * *"),
        ] {
            assert_eq!(serde_json::from_str::<Schedule>(text).unwrap().to_string(), told, "{text}");
        }
    }
}
