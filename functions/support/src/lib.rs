//! The flow `support`: not built yet.
