//! The Lambda of the flow `admin-reset`: not built yet.

fn main() {}
