//! The road without workers.
