//! What the server says, and what it means: the replies that are due, messages, confirmations.

use super::handshake::{judge, Step, Verdict};
use super::{Expected, Redis, Stage};
use crate::codec::resp::{Channel, DecodeError, Frame, Push, Reply};
use crate::error::{Code, Error};
use crate::message::{Batch, Key, State, Value};

impl Redis {
    /// Takes one frame; an error ends the connection.
    pub(super) fn take_frame(&mut self, frame: Frame<'_>, events: &mut Batch) -> Result<(), Error> {
        match frame {
            Frame::Push(Push::PatternMessage {
                pattern,
                channel,
                payload,
            }) => self.take_message(false, pattern, channel, payload, events),
            Frame::Push(Push::Message { channel, payload }) => {
                self.take_message(true, channel, channel, payload, events);
            }
            Frame::Integer(receivers) => return self.take_receivers(receivers, events),
            Frame::Push(Push::Subscribed { kind, name, .. }) => {
                return self.take_confirmation(kind, name, events);
            }
            Frame::Push(Push::Unsubscribed { name, .. }) => {
                return match self.expected.front() {
                    Some(&Expected::Unsubscribe(ticket)) => {
                        self.expected.pop_front();
                        events.answer(ticket, Value::Nil);
                        Ok(())
                    }
                    _ => Err(unexpected(&format!("an end of the subscription {name:?}"))),
                };
            }
            Frame::Push(Push::Pong) => return self.take_pong(),
            Frame::Ok => return self.take_reply(Ok("OK"), events),
            // Pushes of other kinds (invalidations, monitor lines) are nobody's answer.
            Frame::Reply(Reply::Push { .. }) => {}
            Frame::Reply(reply) => {
                return match &reply {
                    Reply::SimpleError { data, .. } => self.take_reply(Err(data), events),
                    Reply::BlobError { data, .. } => {
                        self.take_reply(Err(&String::from_utf8_lossy(data)), events)
                    }
                    Reply::SimpleString { data, .. } => {
                        let text = String::from_utf8_lossy(data).into_owned();
                        self.take_reply(Ok(&text), events)
                    }
                    _ => self.take_reply(Ok(""), events),
                };
            }
        }
        Ok(())
    }

    fn take_message(
        &mut self,
        exact: bool,
        name: &[u8],
        channel: &[u8],
        payload: &[u8],
        events: &mut Batch,
    ) {
        // None: it was under way when the subscription ended.
        if let Some(key) = self.subscriptions.route(exact, name) {
            self.counters.received += 1;
            events.push_message(key, channel, payload);
        }
    }

    fn take_receivers(&mut self, receivers: i64, events: &mut Batch) -> Result<(), Error> {
        match self.expected.front_mut() {
            Some(Expected::Posts(run)) => {
                *run -= 1;
                if *run == 0 {
                    self.expected.pop_front();
                }
                self.in_flight -= 1;
                self.ledger.succeed(events);
                Ok(())
            }
            Some(&mut Expected::Emit(ticket)) => {
                self.expected.pop_front();
                self.in_flight -= 1;
                events.answer(ticket, Value::Integer(receivers));
                Ok(())
            }
            _ => Err(unexpected(&format!("the number {receivers}"))),
        }
    }

    fn take_confirmation(
        &mut self,
        kind: Channel,
        name: &[u8],
        events: &mut Batch,
    ) -> Result<(), Error> {
        let Some(&Expected::Subscribe(key)) = self.expected.front() else {
            let what = String::from_utf8_lossy(name);
            return Err(unexpected(&format!("a confirmation of {kind:?} {what:?}")));
        };
        self.expected.pop_front();
        if let Some(ticket) = self.subscriptions.confirm(key) {
            events.answer(ticket, Value::Nil);
        }
        Ok(())
    }

    fn take_pong(&mut self) -> Result<(), Error> {
        match self.expected.pop_front() {
            Some(Expected::Ping) => Ok(()),
            _ => Err(unexpected("a PONG")),
        }
    }

    /// Takes what answers a command, other than the number that answers PUBLISH.
    fn take_reply(&mut self, reply: Result<&str, &str>, events: &mut Batch) -> Result<(), Error> {
        let Some(expected) = self.expected.front_mut() else {
            // A server that is full says so before it is asked.
            return Err(match reply {
                Err(text) => match judge(Step::Hello, text, &self.options) {
                    Verdict::Drop(error) => error,
                    Verdict::Fallback => unexpected(text),
                },
                Ok(text) => unexpected(text),
            });
        };
        if let Expected::Posts(run @ 2..) = expected {
            *run -= 1;
            self.in_flight -= 1;
            self.ledger.fail(1, &refusal(reply), events);
            return Ok(());
        }
        match (self.expected.pop_front(), reply) {
            (Some(Expected::Step(step)), Ok(_)) => self.step_done(step, events),
            (Some(Expected::Step(step)), Err(text)) => match judge(step, text, &self.options) {
                Verdict::Drop(error) => return Err(error),
                Verdict::Fallback => {
                    self.resp3 = false;
                    self.step_done(Step::Hello, events);
                }
            },
            (Some(Expected::Ping), Ok(_)) => {}
            (Some(Expected::Subscribe(key)), Err(_)) => {
                self.drop_refused(key, &refusal(reply), events);
            }
            (Some(Expected::Unsubscribe(ticket)), Err(_)) => events.fail(ticket, &refusal(reply)),
            (Some(Expected::Emit(ticket)), Err(_)) => {
                self.in_flight -= 1;
                events.fail(ticket, &refusal(reply));
            }
            (Some(Expected::Posts(_)), Err(_)) => {
                self.in_flight -= 1;
                self.ledger.fail(1, &refusal(reply), events);
            }
            (Some(due), reply) => {
                // Put back: who waits for it learns that the connection is lost.
                self.expected.push_front(due);
                return Err(unexpected(&format!("{reply:?}")));
            }
            (None, _) => {}
        }
        Ok(())
    }

    /// The server refused a subscription: it is gone, and somebody is told.
    fn drop_refused(&mut self, key: Key, error: &Error, events: &mut Batch) {
        if let Some(gone) = self.subscriptions.remove(key) {
            match gone.waiter {
                Some(ticket) => events.fail(ticket, error),
                None => events.state(State::Unsubscribed, Some(error), key as f64),
            }
        }
    }

    fn step_done(&mut self, step: Step, events: &mut Batch) {
        let login = self.options.password.is_some();
        match step {
            Step::Hello if !self.resp3 && login => self.take_step(Step::Auth),
            Step::Hello | Step::Auth if self.options.db != 0 => self.take_step(Step::Select),
            // HELLO would have told that a login is missing.
            Step::Hello if !self.resp3 => self.take_step(Step::Ping),
            Step::Hello | Step::Auth | Step::Select | Step::Ping => {
                self.stage = Stage::Ready;
                self.trouble = None;
                events.state(State::Connected, None, 0.0);
                self.subscribe_wanted(events);
            }
        }
    }
}

/// The server's no to a command.
fn refusal(reply: Result<&str, &str>) -> Error {
    let (Ok(text) | Err(text)) = reply;
    let code = if text.starts_with("NOAUTH") {
        Code::Auth
    } else {
        Code::Refused
    };
    Error::new(code, text)
}

fn unexpected(what: &str) -> Error {
    Error::new(
        Code::Protocol,
        format!("the server sent {what}, for which nothing had asked"),
    )
}

pub(super) fn undecodable(error: &DecodeError) -> Error {
    Error::new(
        Code::Protocol,
        format!("the server does not speak RESP, or exceeds a limit: {error}"),
    )
}
