//! The flow `admin-reset`: not built yet.
