//! The flow `enable-mfa`: not built yet.
