//! The Lambda of the flow `enable-mfa`: not built yet.

fn main() {}
