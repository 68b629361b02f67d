//! All that one core knows.
pub mod id;
pub mod core_set;
pub mod keys;
pub mod table;
pub mod interest;
pub mod routes;
pub mod write_queue;
