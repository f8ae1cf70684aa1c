//! The flow `batch-portal-exclude`: not built yet.
