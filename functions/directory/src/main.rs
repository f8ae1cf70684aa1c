//! The Lambda of the flow `directory`: not built yet.

fn main() {}
