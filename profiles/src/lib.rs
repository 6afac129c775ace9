//! The profile file: schema, validation, layers, diff and export.
