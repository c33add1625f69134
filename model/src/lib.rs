//! The words of Causeway: names, filters, messages, positions, sessions. No I/O.
