//! The Lambda of the flow `session`: not built yet.

fn main() {}
