//! `linux.intelRdt`.
