//! How records lie in the file: little-endian fields without padding, the widest first.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

use crate::observe::{Attempt, Cause, ClosedBy, Connection, Phase};

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct AttemptWire {
    id: U64,
    intended_ns: U64,
    sent_ns: U64,
    first_byte_ns: U64,
    ended_ns: U64,
    connection: U32,
    connection_requests: U32,
    idle_us: U32,
    process: U32,
    config: U32,
    stream: U16,
    request: U16,
    status: U16,
    phase: u8,
    cause: u8,
    /// Always zero; keeps records at a multiple of eight bytes.
    reserved: U32,
}

impl From<&Attempt> for AttemptWire {
    fn from(attempt: &Attempt) -> Self {
        Self {
            id: attempt.id.into(),
            intended_ns: attempt.intended_ns.into(),
            sent_ns: attempt.sent_ns.into(),
            first_byte_ns: attempt.first_byte_ns.into(),
            ended_ns: attempt.ended_ns.into(),
            connection: attempt.connection.into(),
            connection_requests: attempt.connection_requests.into(),
            idle_us: attempt.idle_us.into(),
            process: attempt.process.into(),
            config: attempt.config.into(),
            stream: attempt.stream.into(),
            request: attempt.request.into(),
            status: attempt.status.into(),
            phase: attempt.phase as u8,
            cause: attempt.cause as u8,
            reserved: U32::ZERO,
        }
    }
}

impl TryFrom<&AttemptWire> for Attempt {
    type Error = (&'static str, u8);

    fn try_from(wire: &AttemptWire) -> Result<Self, Self::Error> {
        Ok(Self {
            id: wire.id.get(),
            stream: wire.stream.get(),
            request: wire.request.get(),
            intended_ns: wire.intended_ns.get(),
            sent_ns: wire.sent_ns.get(),
            first_byte_ns: wire.first_byte_ns.get(),
            ended_ns: wire.ended_ns.get(),
            connection: wire.connection.get(),
            connection_requests: wire.connection_requests.get(),
            idle_us: wire.idle_us.get(),
            status: wire.status.get(),
            phase: value(&PHASES, "phase", wire.phase)?,
            cause: value(&CAUSES, "cause", wire.cause)?,
            process: wire.process.get(),
            config: wire.config.get(),
        })
    }
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ConnectionWire {
    opened_ns: U64,
    closed_ns: U64,
    id: U32,
    requests: U32,
    stream: U16,
    closed_by: u8,
    /// Always zero; keeps records at a multiple of eight bytes.
    reserved: [u8; 5],
}

impl From<&Connection> for ConnectionWire {
    fn from(connection: &Connection) -> Self {
        Self {
            opened_ns: connection.opened_ns.into(),
            closed_ns: connection.closed_ns.into(),
            id: connection.id.into(),
            requests: connection.requests.into(),
            stream: connection.stream.into(),
            closed_by: connection.closed_by as u8,
            reserved: [0; 5],
        }
    }
}

impl TryFrom<&ConnectionWire> for Connection {
    type Error = (&'static str, u8);

    fn try_from(wire: &ConnectionWire) -> Result<Self, Self::Error> {
        Ok(Self {
            id: wire.id.get(),
            stream: wire.stream.get(),
            opened_ns: wire.opened_ns.get(),
            closed_ns: wire.closed_ns.get(),
            requests: wire.requests.get(),
            closed_by: value(&SIDES, "closed_by", wire.closed_by)?,
        })
    }
}

/// Indexed by the byte in the file.
pub(super) const PHASES: [Phase; 9] = [
    Phase::Done,
    Phase::Send,
    Phase::Resolve,
    Phase::Connect,
    Phase::Tls,
    Phase::Write,
    Phase::Wait,
    Phase::Body,
    Phase::Validate,
];

/// Indexed by the byte in the file.
pub(super) const CAUSES: [Cause; 20] = [
    Cause::None,
    Cause::Refused,
    Cause::Reset,
    Cause::Eof,
    Cause::Timeout,
    Cause::ShortBody,
    Cause::BadStatus,
    Cause::Parse,
    Cause::Network,
    Cause::NoPorts,
    Cause::NoDescriptors,
    Cause::InFlightMax,
    Cause::Late,
    Cause::Goaway,
    Cause::RefusedStream,
    Cause::StreamReset,
    Cause::Tls,
    Cause::WrongDigest,
    Cause::Surplus,
    Cause::Unresolved,
];

/// Indexed by the byte in the file.
pub(super) const SIDES: [ClosedBy; 3] = [ClosedBy::Unopened, ClosedBy::Client, ClosedBy::Server];

/// Looks a byte of the file up; the field and the byte when nothing is there.
fn value<T: Copy>(table: &[T], field: &'static str, byte: u8) -> Result<T, (&'static str, u8)> {
    table.get(usize::from(byte)).copied().ok_or((field, byte))
}
