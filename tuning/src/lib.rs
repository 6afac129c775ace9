//! Measuring, search, the correctness gate and the journal.
