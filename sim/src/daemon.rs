//! The daemon as a process of its own, started as systemd would start it and ended as power cuts end things.

use std::ffi::OsStr;
use std::io;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};

/// A running daemon. Dropped, it is killed.
pub struct Daemon {
    child: Child,
    told: Mutex<mpsc::UnboundedReceiver<String>>,
    /// From the start of the process to its READY.
    pub ready_after: Duration,
}

impl Daemon {
    /// Starts `program` with `args` and waits for its READY. `dir` takes the socket it is told on, and what the
    /// daemon writes to stderr: `daemon.log`.
    ///
    /// # Errors
    ///
    /// When it ended or said nothing within ten seconds; with what it wrote.
    pub async fn start<A: AsRef<OsStr>>(
        program: &Path,
        args: impl IntoIterator<Item = A>,
        dir: &Path,
    ) -> io::Result<Self> {
        let log = dir.join("daemon.log");
        let stderr = std::fs::File::options().create(true).append(true).open(&log)?;
        let path = dir.join("notify.sock");
        let _ = std::fs::remove_file(&path);
        let socket = StdDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        let notify = UnixDatagram::from_std(socket)?;
        let started = Instant::now();
        let mut child = Command::new(program)
            .args(args)
            .env("NOTIFY_SOCKET", &path)
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()?;
        let ready = async {
            loop {
                if next_message(&notify).await?.contains("READY=1") {
                    return io::Result::Ok(());
                }
            }
        };
        let ended = tokio::select! {
            ready = ready => { ready?; None }
            ended = child.wait() => Some(ended?),
            () = tokio::time::sleep(Duration::from_secs(10)) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the daemon did not say READY within 10 s"));
            }
        };
        if let Some(status) = ended {
            let said = std::fs::read_to_string(&log)?;
            return Err(io::Error::other(format!(
                "the daemon ended with {status} before it was ready: {said}"
            )));
        }
        let ready_after = started.elapsed();
        // Read on whether anybody asks or not: the socket takes only so many messages that nobody reads.
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(message) = next_message(&notify).await {
                if tell.send(message).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, told: Mutex::new(told), ready_after })
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// The next thing the daemon has told systemd since it was ready.
    pub async fn told(&self) -> io::Result<String> {
        self.told.lock().await.recv().await.ok_or_else(|| io::Error::other("the daemon's socket is gone"))
    }

    /// Memory it holds, in KiB, as the kernel counts it.
    pub fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
    }

    /// Ends it without a chance to do anything: SIGKILL.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Asks it to stop, as `systemctl stop` does, and waits for its end; ends it if that takes a minute.
    pub async fn stop(&mut self) -> io::Result<ExitStatus> {
        if let Some(pid) = self.pid() {
            // The shell's own: the program of that name is not on every machine.
            Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status().await?;
        }
        if let Ok(ended) = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await {
            return ended;
        }
        self.child.kill().await?;
        self.child.wait().await
    }
}

async fn next_message(socket: &UnixDatagram) -> io::Result<String> {
    let mut buffer = vec![0; 4096];
    let length = socket.recv(&mut buffer).await?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}
