//! `tailnas doctor --sandbox`: tries what the unit is to make impossible, and says what was possible.
//!
//! What systemd was told is one thing; what a kernel, or a container around it, makes of that is another, and
//! `systemd-analyze security` knows the former alone. So each row is an attempt, or a look at what the kernel has
//! mounted. None of them changes anything, even where it succeeds. And each is one that takes no privilege: where a
//! setting is off, whoever is not root must be let through, or a refusal would say nothing about the setting.
//! `MemoryDenyWriteExecute=` and `LockPersonality=` have no row: nothing tries them without unsafe code.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, Mode, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};
use rustix::process::Resource;

use crate::exit::Exit;
use crate::tools::render;

use super::say;

/// An address that nobody has (TEST-NET-1, RFC 5737), and the port of the discard service.
const NOWHERE: &str = "192.0.2.1:9";

/// What an attempt came to.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// It is impossible, by these words of the system.
    Enforced(String),
    /// Nothing but the rights of the user stands against it, if anything does.
    Open,
    /// It failed for a reason that says nothing about the setting.
    CannotTell(String),
}

/// One thing that must be impossible.
struct Attempt {
    what: &'static str,
    /// The setting of the unit that is to prevent it.
    setting: &'static str,
    found: Found,
}

pub(super) fn run() -> Exit {
    let attempts = attempts();
    let rows: Vec<_> = attempts
        .iter()
        .map(|attempt| [attempt.found.to_string(), attempt.what.to_owned(), attempt.setting.to_owned()])
        .collect();
    say(&render::table(["SANDBOX", "WHAT MUST BE IMPOSSIBLE", "SETTING"], &rows));
    let open = attempts.iter().filter(|attempt| attempt.found == Found::Open).count();
    let unknown = attempts.iter().filter(|attempt| matches!(attempt.found, Found::CannotTell(_))).count();
    say(&format!("{} enforced, {open} not enforced, {unknown} unknown\n", attempts.len() - open - unknown));
    if !is_service() {
        say(
            "This was tried as you and not as the service, whose sandbox you are not in. What the service found \
             when it started: journalctl -u tailnas -g enforced\n",
        );
    }
    if open == 0 { Exit::Ok } else { Exit::Bad }
}

fn attempts() -> Vec<Attempt> {
    let attempt = |what, setting, found| Attempt { what, setting, found };
    vec![
        attempt("change what is in /etc", "ProtectSystem", read_only("/etc")),
        attempt("change what is in /usr", "ProtectSystem", read_only("/usr")),
        attempt("change what is in /var", "ProtectSystem", read_only("/var")),
        attempt("find what is in /root", "ProtectHome", covered("/root")),
        attempt(
            "list /etc/credstore",
            "User",
            refused(std::fs::read_dir("/etc/credstore"), &[Errno::ACCESS]),
        ),
        attempt("read /etc/shadow", "User", refused(File::open("/etc/shadow"), &[Errno::ACCESS])),
        attempt("run /bin/sh", "NoExecPaths", refused(shell(), &[Errno::ACCESS])),
        attempt("look at process 1", "ProtectProc", other_processes()),
        attempt("change what is in /dev", "PrivateDevices", read_only("/dev")),
        attempt("change a kernel setting", "ProtectKernelTunables", kernel_settings()),
        attempt("set a priority", "SystemCallFilter", refused(priority(), &[Errno::PERM])),
        attempt("enter a namespace", "RestrictNamespaces", namespaces()),
        attempt("make a file set-uid", "RestrictSUIDSGID", refused(set_uid(), &[Errno::PERM])),
        attempt(
            "open a netlink socket",
            "RestrictAddressFamilies",
            refused(socket(AddressFamily::NETLINK, SocketType::RAW), &[Errno::AFNOSUPPORT]),
        ),
        attempt(
            "listen on a port",
            "SocketBindDeny",
            refused(TcpListener::bind("0.0.0.0:0"), &[Errno::PERM, Errno::ACCESS]),
        ),
        attempt("send to the internet", "IPAddressDeny", sent_nowhere()),
        attempt("have a capability", "CapabilityBoundingSet", capabilities()),
        attempt("gain privileges by exec", "NoNewPrivileges", no_new_privileges()),
        attempt("dump core", "LimitCORE", core_dump()),
    ]
}

/// What works where the setting is off, and fails in one of these ways where it is on.
fn refused<T, E: Into<io::Error>>(tried: Result<T, E>, with: &[Errno]) -> Found {
    let tried: io::Result<T> = tried.map_err(Into::into);
    match tried {
        Ok(_) => Found::Open,
        Err(error) if Errno::from_io_error(&error).is_some_and(|errno| with.contains(&errno)) => {
            Found::Enforced(error.to_string())
        }
        Err(error) => Found::CannotTell(error.to_string()),
    }
}

/// Whether nobody can write below `folder`, whatever their rights: it is mounted so (statvfs(3), `ST_RDONLY`).
fn read_only(folder: &str) -> Found {
    match rustix::fs::statvfs(folder) {
        Ok(mount) if mount.f_flag.contains(StatVfsMountFlags::RDONLY) => {
            Found::Enforced("mounted read-only".to_owned())
        }
        Ok(_) => Found::Open,
        Err(error) => Found::CannotTell(error.to_string()),
    }
}

/// Whether systemd has put its folder in the place of this one, which nobody may enter. No other has the mode 000.
fn covered(folder: &str) -> Found {
    match std::fs::metadata(folder) {
        Ok(meta) if Mode::from_raw_mode(meta.mode()).is_empty() => {
            Found::Enforced("an empty folder covers it".to_owned())
        }
        Ok(_) => Found::Open,
        Err(error) => Found::CannotTell(error.to_string()),
    }
}

fn shell() -> io::Result<()> {
    let null = Stdio::null;
    let mut child =
        Command::new("/bin/sh").args(["-c", ":"]).stdin(null()).stdout(null()).stderr(null()).spawn()?;
    child.wait().map(drop)
}

fn other_processes() -> Found {
    if !Path::new("/proc/self").exists() {
        return Found::CannotTell("there is no /proc".to_owned());
    }
    // Without the setting, everybody may read this.
    refused(std::fs::read("/proc/1/status"), &[Errno::NOENT, Errno::ACCESS, Errno::PERM])
}

/// Its files are root's, so what counts is the mount; `ProcSubset=` leaves none of them to be seen.
fn kernel_settings() -> Found {
    if Path::new("/proc/self").exists() && !Path::new("/proc/sys").exists() {
        return Found::Enforced("there is no /proc/sys".to_owned());
    }
    read_only("/proc/sys")
}

/// Gives itself the priority that it has, which everybody may: one call of `@resources`, which the filter leaves out.
fn priority() -> rustix::io::Result<()> {
    rustix::process::setpriority_process(None, rustix::process::getpriority_process(None)?)
}

/// Enters the namespace of users that it is in. The kernel finds that senseless, whoever asks; a filter forbids it.
fn namespaces() -> Found {
    let own = match File::open("/proc/self/ns/user") {
        Ok(own) => own,
        Err(error) => return Found::CannotTell(error.to_string()),
    };
    match rustix::thread::move_into_link_name_space(own.as_fd(), None) {
        Err(Errno::INVAL) => Found::Open,
        entered => refused(entered, &[Errno::PERM]),
    }
}

/// On a file in memory, which nobody can run.
fn set_uid() -> io::Result<()> {
    let file = rustix::fs::memfd_create("tailnas-sandbox", MemfdFlags::CLOEXEC)?;
    Ok(rustix::fs::fchmod(file, Mode::RUSR | Mode::SUID)?)
}

fn socket(family: AddressFamily, kind: SocketType) -> rustix::io::Result<rustix::fd::OwnedFd> {
    rustix::net::socket(family, kind, None)
}

/// One empty datagram to nobody. The kernel refuses it at once where addresses are filtered.
fn sent_nowhere() -> Found {
    let sent =
        UdpSocket::bind("0.0.0.0:0").or_else(|_| unbound()).and_then(|socket| socket.send_to(&[], NOWHERE));
    match sent {
        Ok(_) => Found::Open,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Found::Enforced(error.to_string()),
        Err(error) => Found::CannotTell(error.to_string()),
    }
}

/// A socket of which the kernel chooses the port when something is sent. Where binding is refused, this is not.
fn unbound() -> io::Result<UdpSocket> {
    Ok(socket(AddressFamily::INET, SocketType::DGRAM)?.into())
}

fn capabilities() -> Found {
    match status("CapBnd") {
        Some(bound) if bound.bytes().all(|digit| digit == b'0') => Found::Enforced(format!("CapBnd {bound}")),
        Some(_) => Found::Open,
        None => Found::CannotTell("the kernel does not say".to_owned()),
    }
}

fn no_new_privileges() -> Found {
    match status("NoNewPrivs") {
        Some(set) if set == "1" => Found::Enforced("NoNewPrivs 1".to_owned()),
        Some(_) => Found::Open,
        None => Found::CannotTell("the kernel does not say".to_owned()),
    }
}

/// What the kernel says of this process (proc(5), `/proc/pid/status`).
fn status(field: &str) -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

fn core_dump() -> Found {
    match rustix::process::getrlimit(Resource::Core).maximum {
        Some(0) => Found::Enforced("limit 0".to_owned()),
        Some(_) | None => Found::Open,
    }
}

/// Whether this process is a part of the service, as its control group says.
fn is_service() -> bool {
    std::fs::read_to_string("/proc/self/cgroup")
        .is_ok_and(|groups| groups.lines().any(|group| group.ends_with("/tailnas.service")))
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enforced(how) => write!(f, "✓ enforced ({how})"),
            Self::Open => f.write_str("✗ NOT enforced"),
            Self::CannotTell(why) => write!(f, "· unknown whether enforced ({why})"),
        }
    }
}
