//! The flow `recovery`: not built yet.
