//! `rootaufs`: see rootaufs(8).
fn main() {}
