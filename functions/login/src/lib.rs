//! The flow `login`: not built yet.
