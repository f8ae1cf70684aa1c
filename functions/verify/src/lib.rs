//! The flow `verify`: not built yet.
