//! A frame as it waits: what it becomes on the wire depends on the connection, its version and the
//! number of its receipt, so it is encoded when it leaves.

use crate::client::ledger::Epoch;
use crate::codec::stomp::{Body, Command, EncodeError, FrameBuilder, Version};
use crate::message::{pack, unpack};
use bytes::{BufMut, BytesMut};

use super::options::Header;

/// What a stored frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// SEND with a receipt.
    Receipted,
    /// SEND without one.
    Plain,
    Begin,
    Commit,
    /// ACK or NACK within a transaction.
    Accept,
    Reject,
}

impl Kind {
    fn from_u8(number: u8) -> Option<Self> {
        use Kind as K;
        [
            K::Receipted,
            K::Plain,
            K::Begin,
            K::Commit,
            K::Accept,
            K::Reject,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == number)
    }
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    pub(super) kind: Kind,
    /// Where it is a post: for the flush that counts it.
    pub(super) epoch: Epoch,
    /// The transaction that it belongs to; 0 is none.
    pub(super) transaction: u32,
    /// What an acknowledgement names.
    pub(super) delivery: u64,
    /// The destination.
    pub(super) target: &'a [u8],
    /// Packed headers that the program gave.
    pub(super) headers: &'a [u8],
    pub(super) payload: &'a [u8],
}

/// Bytes before the destination.
const FRONT: usize = 25;

impl<'a> Stored<'a> {
    /// A frame that holds no more than this.
    pub(super) fn bare(kind: Kind, transaction: u32) -> Self {
        Stored {
            kind,
            epoch: 0,
            transaction,
            delivery: 0,
            target: &[],
            headers: &[],
            payload: &[],
        }
    }

    /// Bytes that [`Stored::write`] appends.
    pub(super) fn len(&self, prefix: &[u8]) -> usize {
        FRONT + prefix.len() + self.target.len() + self.headers.len() + self.payload.len()
    }

    /// Appends it, with `prefix` before its destination. Its parts are shorter than 4 GiB together.
    #[inline]
    pub(super) fn write(&self, prefix: &[u8], out: &mut BytesMut) {
        out.reserve(self.len(prefix));
        out.put_u8(self.kind as u8);
        out.put_u32_ne(self.epoch);
        out.put_u32_ne(self.transaction);
        out.put_u64_ne(self.delivery);
        out.put_u32_ne((prefix.len() + self.target.len()) as u32);
        out.put_u32_ne(self.headers.len() as u32);
        out.put_slice(prefix);
        out.put_slice(self.target);
        out.put_slice(self.headers);
        out.put_slice(self.payload);
    }

    /// What [`Stored::write`] has written; None: it has not.
    #[inline]
    pub(super) fn read(frame: &'a [u8]) -> Option<Self> {
        let (kind, rest) = frame.split_first()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (transaction, rest) = rest.split_first_chunk()?;
        let (delivery, rest) = rest.split_first_chunk()?;
        let (target, rest) = rest.split_first_chunk()?;
        let (headers, rest) = rest.split_first_chunk()?;
        let (target, rest) = rest.split_at_checked(u32::from_ne_bytes(*target) as usize)?;
        let (headers, payload) = rest.split_at_checked(u32::from_ne_bytes(*headers) as usize)?;
        Some(Stored {
            kind: Kind::from_u8(*kind)?,
            epoch: Epoch::from_ne_bytes(*epoch),
            transaction: u32::from_ne_bytes(*transaction),
            delivery: u64::from_ne_bytes(*delivery),
            target,
            headers,
            payload,
        })
    }

    /// Appends SEND.
    ///
    /// # Errors
    /// This version cannot say what a header holds.
    #[inline]
    pub(super) fn encode(
        &self,
        receipt: Option<u64>,
        measured: bool,
        version: Version,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let mut frame = FrameBuilder::new(Command::Send, version, out)?;
        frame.header("destination", self.target)?;
        let mut headers = self.headers;
        while let Some((name, value)) = unpack(&mut headers) {
            frame.header(name, value)?;
        }
        if self.transaction != 0 {
            frame.header("transaction", Decimal::new(self.transaction.into()))?;
        }
        if let Some(receipt) = receipt {
            frame.header("receipt", Decimal::new(receipt))?;
        }
        frame.finish(match measured {
            true => Body::Measured(self.payload),
            false => Body::Terminated(self.payload),
        })
    }
}

/// Headers as they are stored.
pub(super) fn pack_all(headers: &[Header]) -> Vec<u8> {
    let mut packed = Vec::new();
    for (name, value) in headers {
        pack(name, value, &mut packed);
    }
    packed
}

/// A number as headers have it, without an allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    #[inline]
    pub(super) fn new(number: u64) -> Self {
        let mut decimal = Decimal {
            digits: [b'0'; 20],
            start: 19,
        };
        let mut rest = number;
        for (at, digit) in decimal.digits.iter_mut().enumerate().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            decimal.start = at;
            if rest == 0 {
                break;
            }
        }
        decimal
    }

    /// The number that such a header holds.
    #[inline]
    pub(super) fn parse(text: &[u8]) -> Option<u64> {
        if text.is_empty() || text.len() > 19 {
            return None;
        }
        text.iter().try_fold(0u64, |number, digit| {
            digit
                .is_ascii_digit()
                .then(|| number * 10 + u64::from(digit - b'0'))
        })
    }
}

impl AsRef<[u8]> for Decimal {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }
}
