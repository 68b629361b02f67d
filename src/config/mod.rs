//! The configuration: which keys there are, where their values come from, and what is said about a
//! wrong one. Pure: it reads no file and no environment variable, both come in as arguments.
//!
//! `schema` is the one place that knows a key's name, type, unit, range, default and meaning. What
//! `strait config default` prints, what is refused and what it is refused with all derive from it.

pub mod schema;

pub mod key;

pub mod value;

pub mod reading;

pub mod listener;

pub mod address;

pub mod log_filter;

pub mod load;

pub mod rules;

pub mod diagnostic;

pub mod print;

pub mod subjects;

mod spelling;

mod syntax;
