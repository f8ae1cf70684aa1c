//! The Lambda of the flow `support`: not built yet.

fn main() {}
