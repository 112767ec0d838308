//! `lab`: the command behind `./qemu/lab`.
fn main() {}
