//! Commands of the code door.
