//! A ring for tests.
