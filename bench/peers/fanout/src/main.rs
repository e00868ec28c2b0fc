//! H: what a server on the same crate does in plain Rust: each Redis message goes to every WebSocket.
//! `fanout REDIS_PORT CHANNEL`; prints the port that it listens on.
//!
//! Two threads share the work, as tokio has it by default on two cores.
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{self, Receiver};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// A browser that lags by more is cut off.
const BACKLOG: usize = 16_384;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let redis: u16 = arguments
        .next()
        .and_then(|a| a.parse().ok())
        .expect("REDIS_PORT");
    let channel = arguments.next().expect("CHANNEL");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(serve(redis, channel));
}

async fn serve(redis: u16, channel: String) {
    let (sender, _) = broadcast::channel(BACKLOG);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let mut redis = TcpStream::connect(("127.0.0.1", redis))
        .await
        .expect("Redis");
    let subscribe = format!("SUBSCRIBE {channel}\r\n");
    redis.write_all(subscribe.as_bytes()).await.expect("Redis");
    println!("port {}", listener.local_addr().expect("an address").port());
    let source = sender.clone();
    tokio::spawn(async move {
        let mut redis = BufReader::new(redis);
        loop {
            // *3, $7, message, $n, channel, $n, payload; the answer to SUBSCRIBE ends with a number
            let mut parts = Vec::new();
            for _ in 0..5 {
                let mut line = String::new();
                redis.read_line(&mut line).await.expect("Redis");
                parts.push(line);
            }
            let mut line = String::new();
            redis.read_line(&mut line).await.expect("Redis");
            if let Some(length) = line.trim().strip_prefix('$') {
                let mut payload = vec![0; length.parse::<usize>().expect("a length") + 2];
                redis.read_exact(&mut payload).await.expect("Redis");
                payload.truncate(payload.len() - 2);
                let text = Utf8Bytes::try_from(payload).expect("text");
                let _ = source.send(Message::Text(text));
            }
        }
    });
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let messages = sender.subscribe();
        tokio::spawn(converse(stream, messages));
    }
}

async fn converse(stream: TcpStream, mut messages: Receiver<Message>) {
    let Ok(socket) = tokio_tungstenite::accept_async(stream).await else {
        return;
    };
    let (mut out, mut input) = socket.split();
    // What the browser says is answered and thrown away.
    tokio::spawn(async move { while let Some(Ok(_)) = input.next().await {} });
    while let Ok(message) = messages.recv().await {
        if out.send(message).await.is_err() {
            return;
        }
    }
}
