//! The Lambda of the flow `login`: not built yet.

fn main() {}
