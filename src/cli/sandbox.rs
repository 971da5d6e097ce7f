//! `tailnas doctor --sandbox`: tries what the unit is to make impossible, and says what was possible.
//!
//! What systemd was told is one thing; what a kernel, or a container around it, makes of that is another, and
//! `systemd-analyze security` knows the former alone. So each row is an attempt. None of them changes anything, even
//! where it succeeds.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, Mode, OFlags};
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
    /// It failed as it must, in these words of the system.
    Enforced(String),
    /// It worked.
    Open,
    /// It failed for a reason that says nothing about the sandbox.
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
    say(&render::table(["SANDBOX", "TRIED TO", "SETTING"], &rows));
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
        attempt("make a file in /etc", "ProtectSystem", failed(file_in("/etc"))),
        attempt("make a file in /usr", "ProtectSystem", failed(file_in("/usr"))),
        attempt("make a file in /var", "ProtectSystem", failed(file_in("/var"))),
        attempt("list /root", "ProtectHome", failed(std::fs::read_dir("/root"))),
        attempt("list /etc/credstore", "User", listed("/etc/credstore")),
        attempt("read /etc/shadow", "User", failed(File::open("/etc/shadow"))),
        attempt("run /bin/sh", "NoExecPaths", failed(shell())),
        attempt("look at process 1", "ProtectProc", other_processes()),
        attempt("open /dev/kmsg", "PrivateDevices", failed(File::open("/dev/kmsg"))),
        attempt("write a kernel setting", "ProtectKernelTunables", failed(kernel_setting())),
        attempt("change the root folder", "SystemCallFilter", failed(rustix::process::chroot("/"))),
        attempt("set the host name", "ProtectHostname", failed(host_name())),
        attempt("make a file set-uid", "RestrictSUIDSGID", failed(set_uid())),
        attempt(
            "open a netlink socket",
            "RestrictAddressFamilies",
            failed(socket(AddressFamily::NETLINK, SocketType::RAW)),
        ),
        attempt(
            "open a packet socket",
            "RestrictAddressFamilies",
            failed(socket(AddressFamily::PACKET, SocketType::RAW)),
        ),
        attempt("listen on a port", "SocketBindDeny", failed(TcpListener::bind("0.0.0.0:0"))),
        attempt("send to the internet", "IPAddressDeny", sent_nowhere()),
        attempt("have a capability", "CapabilityBoundingSet", capabilities()),
        attempt("gain privileges by exec", "NoNewPrivileges", status_is("NoNewPrivs", "1")),
        attempt("make system calls unfiltered", "SystemCallFilter", status_is("Seccomp", "2")),
        attempt("dump core", "LimitCORE", core_dump()),
    ]
}

fn failed<T, E: fmt::Display>(tried: Result<T, E>) -> Found {
    match tried {
        Ok(_) => Found::Open,
        Err(error) => Found::Enforced(error.to_string()),
    }
}

/// Makes a file that has no name and is gone when it is closed.
fn file_in(folder: &str) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .custom_flags(OFlags::TMPFILE.bits().cast_signed())
        .mode(0o600)
        .open(folder)
}

fn listed(folder: &str) -> Found {
    match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Found::CannotTell(format!("there is no {folder}"))
        }
        tried => failed(tried),
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
    failed(std::fs::read("/proc/1/status"))
}

/// Opens a setting for writing, and writes nothing. Closed by its owner too, who is root.
fn kernel_setting() -> io::Result<File> {
    File::options().write(true).open("/proc/sys/kernel/core_pattern")
}

/// Gives the machine the name it has.
fn host_name() -> io::Result<()> {
    let name = rustix::system::uname();
    Ok(rustix::system::sethostname(name.nodename().to_bytes())?)
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

fn status_is(field: &str, wanted: &str) -> Found {
    match status(field) {
        Some(value) if value == wanted => Found::Enforced(format!("{field} {value}")),
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
            Self::CannotTell(why) => write!(f, "· unknown ({why})"),
        }
    }
}
