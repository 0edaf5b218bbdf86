//! One trace id from a client's frame to its recipient's: in the log, and as spans at a collector.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;
use tungstenite::{Message, WebSocket};

/// How long a test waits for what must come.
const WAIT: Duration = Duration::from_secs(30);
const HOPS: [&str; 4] = ["publish", "persist", "distribute", "deliver"];

/// A `ringway dev` of its own; killed when dropped.
struct Server {
    process: Child,
    socket: String,
    log: Receiver<String>,
    data: tempfile::TempDir,
}

impl Server {
    fn start(collector: SocketAddr) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let any = "127.0.0.1:0";
        let mut process = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(["dev", "--shards", "2", "--listen", any, "--http", any, "--admin", any, "--data"])
            .arg(data.path())
            .env("RUST_LOG", "info,ringway::hop=debug")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"))
            .env("OTEL_SERVICE_NAME", "chat")
            .env("OTEL_BSP_SCHEDULE_DELAY", "50")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let log = lines(process.stderr.take().expect("piped"));
        let told = lines(process.stdout.take().expect("piped"));
        let socket = std::iter::from_fn(|| told.recv_timeout(WAIT).ok())
            .find_map(|line| Some(line.trim_start().strip_prefix("socket")?.trim().to_owned()))
            .expect("it starts, and says where the socket is");
        Self { process, socket, log, data }
    }

    fn connect(&self, user: u64) -> WebSocket<TcpStream> {
        let token = token(user, self.data.path());
        let address = self.socket.trim_start_matches("ws://").split('/').next().expect("an address");
        let stream = TcpStream::connect(address).expect("the socket's port");
        stream.set_read_timeout(Some(WAIT)).expect("a timeout");
        let (mut socket, _) =
            tungstenite::client(format!("{}?token={token}", self.socket), stream).expect("an upgrade");
        read_until(&mut socket, "\"connected\"");
        socket
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn token(user: u64, data: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["token", "--user", &user.to_string(), "--data"])
        .arg(data)
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn read_until(socket: &mut WebSocket<TcpStream>, part: &str) -> String {
    loop {
        if let Message::Text(text) = socket.read().expect("a frame")
            && text.contains(part)
        {
            return text.to_string();
        }
    }
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (told, lines) = channel();
    thread::spawn(move || {
        BufReader::new(from).lines().map_while(Result::ok).try_for_each(|line| told.send(line))
    });
    lines
}

/// What a collector was sent: the service and a span.
type Exported = (String, Span);

/// A collector that takes whatever comes.
fn collector() -> (SocketAddr, Receiver<Exported>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (told, exported) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, told) = (stream.expect("a connection"), told.clone());
            thread::spawn(move || serve(stream, &told));
        }
    });
    (address, exported)
}

fn serve(stream: TcpStream, told: &Sender<Exported>) {
    let mut reader = BufReader::new(stream.try_clone().expect("another handle"));
    while let Some((request, body)) = request(&mut reader) {
        assert!(request.starts_with("POST /v1/traces "), "{request}");
        let export = ExportTraceServiceRequest::decode(&*body).expect("OTLP in protobuf");
        for spans in export.resource_spans {
            let service = text(&spans.resource.expect("a resource").attributes, "service.name");
            for span in spans.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let _ = told.send((service.clone(), span));
            }
        }
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        (&stream).write_all(answer.as_bytes()).expect("answered");
    }
}

/// The request's first line, and its body.
fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let (name, value) = match header.trim_end() {
            "" => break,
            header => header.split_once(':').expect("a header"),
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first, body))
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    let value = found.and_then(|attribute| attribute.value.clone()).and_then(|value| value.value);
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{key} is {other:?}"),
    }
}

#[test]
fn one_trace_id_leads_from_the_senders_frame_to_the_recipients() {
    let (address, exported) = collector();
    let server = Server::start(address);
    let (mut sender, mut recipient) = (server.connect(1), server.connect(2));
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let message = format!(
        r#"{{"type":"send-message","trace_id":"{trace_id}","data":{{"tempMessageId":"1",
        "conversationId":"single_1_2","content":"hello","messageType":"text"}}}}"#
    );
    sender.send(Message::text(message)).expect("sent");
    assert!(read_until(&mut sender, "\"persisted\"").contains(trace_id));
    assert!(read_until(&mut recipient, "\"new-message\"").contains(trace_id));

    let mut spans = BTreeMap::new();
    while spans.len() < HOPS.len() {
        let (service, span) = exported.recv_timeout(WAIT).expect("a span of each hop");
        assert_eq!(service, "chat");
        assert_eq!(span.trace_id, u128::from_str_radix(trace_id, 16).unwrap().to_be_bytes());
        spans.insert(span.name.clone(), span);
    }
    assert_eq!(spans.keys().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(HOPS));
    for (hop, span) in &spans {
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{hop}");
        assert_eq!(text(&span.attributes, "ringway.conversation"), "single_1_2", "{hop}");
        if hop != "publish" {
            assert_eq!(text(&span.attributes, "ringway.seq"), "1", "{hop}");
        }
    }
    let began = |hop: &str| spans[hop].start_time_unix_nano;
    assert!(HOPS.windows(2).all(|hops| began(hops[0]) <= began(hops[1])), "{spans:?}");

    let mut logged = BTreeSet::new();
    while logged.len() < HOPS.len() {
        let line = server.log.recv_timeout(WAIT).expect("a line of each hop");
        if line.contains("ringway::hop") && line.contains(trace_id) {
            logged.extend(HOPS.into_iter().filter(|hop| line.contains(&format!("hop=\"{hop}\""))));
        }
    }
}
