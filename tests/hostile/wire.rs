//! HTTP by hand: what a well-behaved client would not send, and everything that comes back.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// How long an answer may take. The slowest that a row expects is the provider's silence, at 2.3 s.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long to look for a second answer behind the first.
const MORE: Duration = Duration::from_millis(40);

/// Everything that came back on one connection.
#[derive(Clone, Debug)]
pub struct Heard {
    /// All of it.
    pub bytes: Vec<u8>,
    /// Status of the first answer; 0 where there was none.
    pub status: u16,
    /// Head of the first answer, without the line of the status.
    pub head: String,
    /// Body of the first answer.
    pub body: Vec<u8>,
}

/// Connects from this address.
pub async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let stream = socket.connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends these bytes and listens until the answer is complete.
pub async fn say(from: Ipv4Addr, to: SocketAddr, bytes: &[u8]) -> Heard {
    let mut stream = connect(from, to).await;
    // Whoever is refused early may find the connection closed before all of it is sent.
    let _ = stream.write_all(bytes).await;
    listen(&mut stream).await
}

/// Listens until the answer is complete, and a moment longer.
pub async fn listen(stream: &mut TcpStream) -> Heard {
    let mut bytes = Vec::new();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut complete = false;
    loop {
        let patience = if complete { tokio::time::Instant::now() + MORE } else { deadline };
        let mut buffer = vec![0; 64 * 1024];
        match tokio::time::timeout_at(patience, stream.read(&mut buffer)).await {
            Ok(Ok(length @ 1..)) => bytes.extend(&buffer[..length]),
            Ok(Ok(0) | Err(_)) | Err(_) => break,
        }
        complete = Heard::of(&bytes).is_some();
    }
    Heard::of(&bytes).unwrap_or_else(|| Heard { bytes, status: 0, head: String::new(), body: Vec::new() })
}

impl Heard {
    /// The first answer in these bytes, if all of it is there.
    fn of(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let (line, head) = text.split_once("\r\n").unwrap_or((&text, ""));
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let rest = &bytes[end + 4..];
        let field = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
        };
        let body = if let Some(length) = field("content-length") {
            rest.get(..length.parse().ok()?)?.to_vec()
        } else if field("transfer-encoding").is_some() {
            unchunked(rest)?
        } else {
            Vec::new()
        };
        Some(Self { bytes: bytes.to_vec(), status, head: head.to_owned(), body })
    }

    /// A header field of the first answer.
    pub fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    /// How many answers there are.
    pub fn answers(&self) -> usize {
        self.bytes.windows(9).filter(|nine| nine.starts_with(b"HTTP/1.1 ")).count()
    }

    /// The body as JSON; of a stream of events, the last.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(&self.body);
            let mut events =
                text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?).ok());
            events.next_back().unwrap_or_default()
        })
    }

    /// What a person would read of a tool's answer.
    pub fn text(&self) -> String {
        let json = self.json();
        let blocks = json["result"]["content"].as_array().cloned().unwrap_or_default();
        blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n")
    }
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?, 16).ok()?;
        let chunk = rest.get(end + 2..end + 2 + size)?;
        if size == 0 {
            return Some(body);
        }
        body.extend(chunk);
        rest = rest.get(end + 4 + size..)?;
    }
}
