//! The Lambda of the flow `recovery`: not built yet.

fn main() {}
