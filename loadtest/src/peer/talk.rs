//! How a peer is spoken to: what opens a session, what a message is wrapped in, and what is heard.

use super::{Language, Shape, mqtt, nats};

/// Bytes that wait for the rest of a message at most.
const PARTIAL_BYTES_MAX: usize = 2 << 20;
/// What a raw message is wrapped in, so that it is JSON.
const RAW: (&str, &str) = (r#"{"m":""#, r#""}"#);

/// A frame to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Text(String),
    Binary(Vec<u8>),
}

/// What a peer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// Messages may go out, and will come in.
    Ready,
    /// A message.
    Message(&'a [u8]),
    /// To be said in return.
    Answer(Frame),
    /// Something was refused, and why.
    Refused(&'a str),
}

/// One session with a peer.
#[derive(Debug)]
pub(super) struct Talk {
    language: Language,
    /// Where own messages go, and where they come from.
    to: String,
    from: String,
    /// Whether own messages come back by themselves.
    echo: bool,
    /// Who that is to the peer.
    name: String,
    partial: Vec<u8>,
}

impl Talk {
    /// For the member at `place` of a room; names begin with the run's, so that runs don't meet.
    pub(super) fn new(language: Language, shape: Shape, run: &str, room: u32, place: u32) -> Self {
        let separator = if language == Language::Mqtt { '/' } else { '.' };
        let all = format!("load{separator}{run}{separator}{room}");
        let own = |place: u32| format!("{all}{separator}{place}");
        let (to, from) = match (language, shape) {
            // MQTT 3.1.1 brings a client its own messages too, so a pair has a topic for each way.
            (Language::Mqtt, Shape::Relay) => (own(1 - place), own(place)),
            (Language::Loopback, Shape::Relay) => (format!("single_{}_{}", 2 * room + 1, 2 * room + 2), all),
            (Language::Loopback, _) => (format!("group_{}", room + 1), all),
            _ => (all.clone(), all),
        };
        let echo = shape == Shape::Echo;
        Self { language, to, from, echo, name: format!("{run}-{room}-{place}"), partial: vec![] }
    }

    /// The WebSocket is there: what is said first, if it is the client's turn, and whether that is all.
    pub(super) fn open(&mut self) -> (Option<Frame>, bool) {
        self.partial.clear();
        match self.language {
            Language::Raw => (None, true),
            Language::Mqtt => (Some(Frame::Binary(mqtt::connect(&self.name))), false),
            Language::Nats | Language::Loopback => (None, false),
        }
    }

    /// How many characters of a message there are beside its content.
    pub(super) fn wrapping(&self) -> usize {
        if self.language == Language::Raw { RAW.0.len() + RAW.1.len() } else { 0 }
    }

    /// A message with that content, in which nothing needs an escape; `number` is the sender's own.
    pub(super) fn message(&self, content: &str, number: u64) -> Frame {
        let to = &self.to;
        match self.language {
            Language::Raw => Frame::Text(format!("{}{content}{}", RAW.0, RAW.1)),
            Language::Nats => Frame::Binary(nats::publish(to, content)),
            Language::Mqtt => Frame::Binary(mqtt::publish(to, content)),
            Language::Loopback => Frame::Text(format!(
                r#"{{"type":"send-message","data":{{"tempMessageId":"{}-{number}","conversationId":"{to}","content":"{content}","messageType":"text"}}}}"#,
                self.name
            )),
        }
    }

    /// Takes what a frame holds, and tells what it says.
    pub(super) fn hear(
        &mut self,
        bytes: &[u8],
        mut tell: impl FnMut(Said<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        match self.language {
            Language::Raw => tell(Said::Message(bytes.strip_prefix(RAW.0.as_bytes()).unwrap_or(bytes))),
            Language::Loopback => event(bytes).map_or(Ok(()), tell),
            Language::Nats | Language::Mqtt => self.hear_stream(bytes, tell),
        }
    }

    /// Frames hold parts of a stream: less than one message, or several.
    fn hear_stream(
        &mut self,
        bytes: &[u8],
        mut tell: impl FnMut(Said<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut all = std::mem::take(&mut self.partial);
        let bytes = if all.is_empty() {
            bytes
        } else {
            all.extend_from_slice(bytes);
            &all
        };
        let mut at = 0;
        while let Some((said, used)) = self.next(&bytes[at..])? {
            at += used;
            if let Some(said) = said {
                tell(said)?;
            }
        }
        let rest = &bytes[at..];
        if rest.len() > PARTIAL_BYTES_MAX {
            return Err(format!("{} bytes without the end of a message", rest.len()));
        }
        self.partial = rest.to_vec();
        Ok(())
    }

    /// The first thing of a stream that is all there, and how many bytes it has.
    fn next<'a>(&self, bytes: &'a [u8]) -> Result<Option<(Option<Said<'a>>, usize)>, String> {
        if self.language == Language::Mqtt {
            return Ok(mqtt::read(bytes)?.map(|(said, used)| {
                let said = match said {
                    mqtt::Said::Connected => Said::Answer(Frame::Binary(mqtt::subscribe(&self.from))),
                    mqtt::Said::Subscribed => Said::Ready,
                    mqtt::Said::Message(payload) => Said::Message(payload),
                };
                (Some(said), used)
            }));
        }
        Ok(nats::read(bytes)?.map(|(said, used)| {
            let said = match said {
                nats::Said::Info => Some(Said::Answer(Frame::Binary(nats::hello(&self.from, self.echo)))),
                nats::Said::Ping => Some(Said::Answer(Frame::Binary(nats::PONG.to_vec()))),
                nats::Said::Pong => Some(Said::Ready),
                nats::Said::Message(payload) => Some(Said::Message(payload)),
                nats::Said::Error(why) => Some(Said::Refused(why)),
                nats::Said::Ok => None,
            };
            (said, used)
        }))
    }
}

/// An event of Ringway, as far as it matters here. What is searched for stands at its beginning, or is
/// text of this program's making.
fn event(bytes: &[u8]) -> Option<Said<'_>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let after = |key: &str| text.find(key).map(|at| &text[at + key.len()..]);
    let kind = after(r#""type":""#)?.split('"').next()?;
    match kind {
        "new-message" => after(r#""content":""#).map(|content| Said::Message(content.as_bytes())),
        "connected" => Some(Said::Ready),
        "error" => Some(Said::Refused(after(r#""code":""#)?.split('"').next()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, Said, Talk};
    use crate::peer::{Language, Shape};

    fn heard(talk: &mut Talk, bytes: &[u8], size: usize) -> Vec<String> {
        let mut told = vec![];
        for piece in bytes.chunks(size) {
            let heard = talk.hear(piece, |said| {
                told.push(match said {
                    Said::Message(content) => String::from_utf8_lossy(content).into_owned(),
                    Said::Answer(Frame::Binary(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
                    other => format!("{other:?}"),
                });
                Ok(())
            });
            heard.unwrap();
        }
        told
    }

    #[test]
    fn a_stream_is_heard_however_frames_cut_it() {
        for size in [1, 3, 1_000] {
            let mut talk = Talk::new(Language::Nats, Shape::Relay, "r", 7, 1);
            assert_eq!(talk.open(), (None, false));
            let told = heard(&mut talk, b"INFO {}\r\nPONG\r\nMSG x 1 2\r\nhi\r\nPING\r\n-ERR 'x'\r\n", size);
            assert!(
                told[0].contains("\"echo\":false") && told[0].contains("SUB load.r.7 1\r\nPING\r\n"),
                "{told:?}"
            );
            assert_eq!(told[1..], ["Ready", "hi", "PONG\r\n", "Refused(\"'x'\")"], "pieces of {size}");
            let mut talk = Talk::new(Language::Mqtt, Shape::Relay, "r", 7, 1);
            let told = heard(&mut talk, b"\x20\x02\0\0\x90\x03\0\x01\0\x30\x05\0\x01ahi", size);
            assert!(told[0].ends_with("load/r/7/1\0") && told[1..] == ["Ready", "hi"], "{told:?}");
        }
    }

    #[test]
    fn events_of_ringway_are_told_by_their_type() {
        let mut talk = Talk::new(Language::Loopback, Shape::Relay, "r", 1, 0);
        let said = r#"{"type":"new-message","data":{"message_id":"1","content":"5 6 ","seq_id":1}}"#;
        assert_eq!(heard(&mut talk, said.as_bytes(), 999), [r#"5 6 ","seq_id":1}}"#]);
        assert_eq!(heard(&mut talk, br#"{"type":"connected","data":{}}"#, 999), ["Ready"]);
        assert_eq!(
            heard(&mut talk, br#"{"type":"error","data":{"code":"BUSY"}}"#, 999),
            ["Refused(\"BUSY\")"]
        );
        assert!(heard(&mut talk, br#"{"type":"message-ack","data":{}}"#, 999).is_empty());
        let Frame::Text(text) = talk.message("5 6 ", 9) else { panic!("a text") };
        assert!(text.contains(r#""conversationId":"single_3_4","content":"5 6 ""#), "{text}");
        assert!(text.contains(r#""tempMessageId":"r-1-0-9""#), "{text}");
    }

    #[test]
    fn a_raw_message_is_json_whose_content_is_found() {
        let mut talk = Talk::new(Language::Raw, Shape::Echo, "r", 1, 0);
        assert_eq!(talk.open(), (None, true));
        let Frame::Text(text) = talk.message("5 6 ", 9) else { panic!("a text") };
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        assert_eq!(heard(&mut talk, text.as_bytes(), 999), ["5 6 \"}"]);
    }
}
