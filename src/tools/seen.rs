//! An answer that is put together from several: what one of them lacks is told, and the rest is still good.

use crate::nas::NasError;

use super::ToolError;
use super::render::foreign;

/// What could not be seen, and why.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// One line each.
    pub(super) not: Vec<String>,
}

impl Seen {
    /// The answer to a question about `about`, or nothing and a note why.
    ///
    /// A NAS that is away shows nothing at all, which is an error and no note.
    pub(super) fn or_default<T: Default>(
        &mut self,
        about: &str,
        answer: Result<T, NasError>,
    ) -> Result<T, ToolError> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(error @ (NasError::Away { .. } | NasError::LoginRefused { .. })) => Err(error.into()),
            Err(error) => {
                self.not.push(unseen(about, &error));
                Ok(T::default())
            }
        }
    }
}

/// That `about` could not be seen, and why: with no more words of the NAS than a name may have.
pub(super) fn unseen(about: &str, why: &NasError) -> String {
    format!("{about}: {}", foreign(&why.to_string(), 260))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_generation_lacks_is_told_and_a_nas_away_is_an_error() {
        let mut seen = Seen::default();
        let lacks = NasError::NoSuchMethod { method: "x.query", version: "25.04.2".into() };
        assert_eq!(seen.or_default::<Vec<u8>>("x", Err(lacks)).unwrap(), Vec::<u8>::new());
        assert_eq!(seen.not, ["x: TrueNAS 25.04.2 has no x.query"]);
        let away = NasError::Away { since: chrono::DateTime::UNIX_EPOCH, reason: "no route".into() };
        assert!(seen.or_default::<Vec<u8>>("x", Err(away)).is_err());
    }
}
