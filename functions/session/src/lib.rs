//! The flow `session`: not built yet.
