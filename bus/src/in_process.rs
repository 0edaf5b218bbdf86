//! The road within one process.
