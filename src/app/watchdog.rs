//! Whether we live, judged by a thread of its own: a runtime that is stuck cannot say that it is not.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::lifecycle::Lifecycle;

/// How often the runtime has to run something to be called alive.
const PULSE: Duration = Duration::from_secs(2);

/// Judges until it is dropped.
pub(super) struct Watchdog {
    _until_dropped: Sender<()>,
}

/// Has `tell` hear every so often that everything which must run gives signs of life, or else the name of something
/// that does not. The runtime is one of these: it has to run a task of ours now and then, or after `silence` it is
/// called silent.
pub(super) fn start(
    lifecycle: &Lifecycle,
    every: Duration,
    silence: Duration,
    tell: impl Fn(Result<(), &'static str>) + Send + 'static,
) -> std::io::Result<Watchdog> {
    let executor = lifecycle.heartbeat("executor", silence);
    lifecycle.service("pulse of the executor", {
        let lifecycle = lifecycle.clone();
        async move {
            let mut pulse = tokio::time::interval(PULSE);
            loop {
                tokio::select! {
                    _ = pulse.tick() => executor.beat(),
                    () = lifecycle.ending() => return executor.retire(),
                }
            }
        }
    });
    let (until_dropped, dropped) = channel();
    let lifecycle = lifecycle.clone();
    std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
        while dropped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            tell(lifecycle.silent().map_or(Ok(()), Err));
        }
    })?;
    Ok(Watchdog { _until_dropped: until_dropped })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use super::*;
    use crate::clock::Clock;

    const EVERY: Duration = Duration::from_millis(20);
    /// More than a pulse, so that a runtime which is merely slow is not called dead.
    const SILENCE: Duration = Duration::from_secs(4);

    fn told(verdicts: &Receiver<Result<(), &'static str>>, wanted: Result<(), &'static str>) {
        let found = (0..3000).find_map(|_| {
            let verdict = verdicts.recv_timeout(Duration::from_secs(20)).unwrap();
            (verdict == wanted).then_some(verdict)
        });
        assert_eq!(found, Some(wanted));
    }

    #[test]
    fn a_runtime_that_is_stuck_is_not_called_alive() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (lifecycle, _deaths) = Lifecycle::new(Clock::system());
        let (tell, verdicts) = channel();
        let _entered = runtime.enter();
        let _watchdog =
            start(&lifecycle, EVERY, SILENCE, move |verdict| tell.send(verdict).unwrap_or_default()).unwrap();
        told(&verdicts, Ok(()));
        let (let_go, stuck) = channel::<()>();
        // What no task may do: it keeps the only worker from everybody else.
        lifecycle.deed(async move { stuck.recv().unwrap_or_default() });
        told(&verdicts, Err("executor"));
        drop(let_go);
        told(&verdicts, Ok(()));
        lifecycle.end();
        drop(runtime);
    }

    #[test]
    fn whatever_else_is_silent_is_named() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (lifecycle, _deaths) = Lifecycle::new(Clock::system());
        let (tell, verdicts) = channel();
        let _entered = runtime.enter();
        let heartbeat = lifecycle.heartbeat("audit writer", Duration::from_millis(200));
        let _watchdog =
            start(&lifecycle, EVERY, SILENCE, move |verdict| tell.send(verdict).unwrap_or_default()).unwrap();
        told(&verdicts, Err("audit writer"));
        heartbeat.beat();
        told(&verdicts, Ok(()));
        lifecycle.end();
    }
}
