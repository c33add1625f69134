//! Records and the pure function that turns them into table rows, outcomes and events.
