//! The flow `directory`: not built yet.
