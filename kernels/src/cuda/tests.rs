//! Without a GPU: what is missing is said, and every kernel compiles for every architecture.

use super::*;
