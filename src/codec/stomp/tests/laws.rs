//! Laws: what is encoded is decoded again, nothing else is, and it does not matter in what pieces it arrives.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const COMMANDS: [Command; 15] = [
    Command::Connect,
    Command::Stomp,
    Command::Send,
    Command::Subscribe,
    Command::Unsubscribe,
    Command::Begin,
    Command::Commit,
    Command::Abort,
    Command::Ack,
    Command::Nack,
    Command::Disconnect,
    Command::Connected,
    Command::Message,
    Command::Receipt,
    Command::Error,
];

type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// A frame that owns what it is made of.
#[derive(Debug, Clone)]
struct Owned {
    command: Command,
    version: Version,
    headers: Headers,
    body: Vec<u8>,
    measured: bool,
}

impl Owned {
    fn body(&self) -> Body<'_> {
        match self.measured {
            true => Body::Measured(&self.body),
            false => Body::Terminated(&self.body),
        }
    }

    fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        encode(self.command, &self.headers, self.body(), self.version, out)
    }

    /// Its bytes; only of frames that can be sent.
    fn encoded(&self) -> Vec<u8> {
        let mut out = BytesMut::new();
        self.encode(&mut out).expect("encodes");
        out.to_vec()
    }
}

/// Octets that mean something somewhere come often.
fn octets(range: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    let special = select(b"\0\n\r:\\rcn t".to_vec());
    vec(prop_oneof![special, any::<u8>()], range)
}

/// Whatever a program may ask for.
fn owned() -> impl Strategy<Value = Owned> {
    let headers = vec((octets(0..6), octets(0..10)), 0..6);
    (
        select(&COMMANDS[..]),
        select(&Version::ALL[..]),
        headers,
        octets(0..30),
        any::<bool>(),
    )
        .prop_map(|(command, version, headers, body, measured)| Owned {
            command,
            version,
            headers,
            body,
            measured,
        })
}

/// The same, made so that it can be sent.
fn sendable() -> impl Strategy<Value = Owned> {
    owned().prop_map(|mut owned| {
        if owned.command == Command::Nack {
            owned.version = owned.version.max(Version::V11);
        }
        let escapes = owned.command.escapes_in(owned.version);
        let clean = |text: &mut Vec<u8>, is_name: bool| {
            text.retain(|octet| match octet {
                0 => false,
                b'\r' => escapes && owned.version == Version::V12,
                b'\n' => escapes,
                b':' => escapes || !is_name,
                _ => true,
            });
        };
        for (name, value) in &mut owned.headers {
            clean(name, true);
            clean(value, false);
            if name.is_empty() {
                name.push(b'x');
            }
        }
        if !owned.command.has_body() {
            owned.body.clear();
        }
        if !owned.measured {
            owned.body.retain(|octet| *octet != 0);
        }
        owned
    })
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(any::<usize>(), 0..4)
}

/// `input` in pieces gives what it gives whole.
fn split(decoder: &Decoder, input: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    cuts.sort_unstable();
    let whole = feed(&mut decoder.clone(), input, []);
    let pieces = feed(&mut decoder.clone(), input, cuts);
    prop_assert_eq!(&whole, &pieces);
    let single = feed(&mut decoder.clone(), input, 0..input.len());
    prop_assert_eq!(&whole, &single);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn frames_survive(owned in sendable()) {
        let bytes = owned.encoded();
        let (events, end) = feed(&mut decoder(owned.command.reader(), owned.version), &bytes, []);
        prop_assert_eq!(end, Ok(()));
        prop_assert_eq!(events.len(), 1);
        let Event::Frame(frame) = events[0].0 else {
            panic!("{events:?}");
        };
        let mut expected = owned.headers.clone();
        if owned.measured && owned.command.has_body() {
            let length = owned.body.len().to_string();
            expected.push((b"content-length".to_vec(), length.into_bytes()));
        }
        let headers: Headers = frame
            .headers
            .iter()
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        prop_assert_eq!(&headers, &expected);
        prop_assert_eq!(frame.command, owned.command);
        prop_assert_eq!(frame.body, &owned.body[..]);
        for (name, _) in &expected {
            let first = expected.iter().find(|(other, _)| other == name).map(|(_, value)| &value[..]);
            let found = frame.headers.get(name);
            prop_assert_eq!(found.as_deref(), first);
        }
    }

    /// Whatever a program hands over is refused, or arrives as it was: as one frame, without one header more.
    #[test]
    fn nothing_is_injected(owned in owned()) {
        let mut out = BytesMut::from("before");
        if owned.encode(&mut out).is_err() {
            prop_assert_eq!(&out[..], b"before");
            return Ok(());
        }
        let mut decoder = decoder(owned.command.reader(), owned.version);
        let (events, end) = feed(&mut decoder, &out[6..], []);
        prop_assert_eq!(end, Ok(()));
        prop_assert_eq!(events.len(), 1);
        let Event::Frame(frame) = events[0].0 else {
            panic!("{events:?}");
        };
        let given = frame.headers.iter().filter(|(name, _)| **name != b"content-length"[..]);
        prop_assert!(given.map(|(name, value)| (name.into_owned(), value.into_owned())).eq(owned.headers));
    }

    /// What is wrong is wrong in whatever pieces it comes.
    #[test]
    fn near_misses_in_pieces(
        owned in sendable(), at in any::<usize>(), octet in any::<u8>(), cuts in cuts(),
        version in select(&Version::ALL[..]),
    ) {
        let mut bytes = owned.encoded();
        let at = at % bytes.len();
        bytes[at] = octet;
        split(&decoder(owned.command.reader(), version), &bytes, &cuts)?;
    }

    #[test]
    fn random_lines_in_pieces(
        command in select(&COMMANDS[..]), lines in "([ab:\\\\cr\r]{0,6}\r?\n){0,4}", body in octets(0..6),
        cuts in cuts(),
    ) {
        for version in Version::ALL {
            let limits = Limits { max_headers: 2, max_header_line: 5, max_body: 4 };
            for end in ["\n", "\r\n"] {
                let mut decoder = Decoder::new(command.reader(), limits);
                decoder.set_version(version);
                let input = [format!("{command}{end}{lines}").as_bytes(), &body].concat();
                split(&decoder, &input, &cuts)?;
            }
        }
    }

    #[test]
    fn random_octets_in_pieces(input in octets(0..40), cuts in cuts()) {
        for role in [Role::Client, Role::Server] {
            split(&decoder(role, Version::V12), &input, &cuts)?;
        }
    }
}
