//! Time as an argument: nanoseconds since the process began. Only `runtime/` reads a clock.

pub mod often;

use std::ops::{Add, Sub};

/// A moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

/// A span, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

impl Time {
    pub const START: Self = Self(0);

    /// Later than any other.
    pub const NEVER: Self = Self(u64::MAX);

    pub fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub fn from_micros(micros: u64) -> Self {
        Self(micros * 1_000)
    }

    pub fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    pub fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; nothing where it is not earlier.
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000_000_000)
    }

    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    pub fn as_nanos(self) -> u64 {
        self.0
    }
}

impl Add<Span> for Time {
    type Output = Self;

    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Time {
    type Output = Self;

    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}
