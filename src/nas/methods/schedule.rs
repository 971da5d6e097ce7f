//! When tasks run.

use std::fmt;

use serde::Deserialize;

/// A schedule as cron has it, in the NAS's own time zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
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
