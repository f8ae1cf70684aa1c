//! The Lambda of the flow `batch-portal-exclude`: not built yet.

fn main() {}
