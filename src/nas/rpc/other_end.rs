//! The other end of a connection, for tests: a server that says what it is told to.

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::*;

pub(in crate::nas) struct OtherEnd<S = DuplexStream>(WebSocketStream<S>);

/// A connection whose task runs in `tasks`, and its other end.
pub(in crate::nas) async fn connect(tasks: &mut tokio::task::JoinSet<Lost>) -> (Connection, OtherEnd) {
    let (here, there) = tokio::io::duplex(1 << 20);
    let socket = WebSocketStream::from_raw_socket(here, Role::Client, None).await;
    let (connection, run) = serve(socket, Budget::new());
    tasks.spawn(run);
    (connection, OtherEnd::on(there).await)
}

/// What a server answers to the key of an opening handshake.
pub(in crate::nas) fn accept_key(key: &str) -> String {
    tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes())
}

impl<S: AsyncRead + AsyncWrite + Unpin> OtherEnd<S> {
    /// The server's end of a stream on which the handshake is over.
    pub(in crate::nas) async fn on(stream: S) -> Self {
        Self(WebSocketStream::from_raw_socket(stream, Role::Server, None).await)
    }

    /// The next call.
    pub(in crate::nas) async fn hear(&mut self) -> Value {
        self.listen().await.unwrap()
    }

    /// The next call, or nothing once the other side has hung up.
    pub(in crate::nas) async fn listen(&mut self) -> Option<Value> {
        loop {
            if let Message::Text(text) = self.0.next().await?.ok()? {
                return serde_json::from_str(&text).ok();
            }
        }
    }

    pub(in crate::nas) async fn say(&mut self, message: impl ToString) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    pub(in crate::nas) async fn say_bytes(&mut self, bytes: &'static [u8]) {
        self.0.send(Message::Binary(bytes.into())).await.unwrap();
    }

    pub(in crate::nas) async fn close(mut self, code: u16, reason: &'static str) {
        self.0.close(Some(CloseFrame { code: code.into(), reason: reason.into() })).await.unwrap();
    }
}
