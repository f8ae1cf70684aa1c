//! The Lambda of the flow `verify`: not built yet.

fn main() {}
