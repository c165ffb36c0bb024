//! How the binary is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Of the addresses that are set right at every start there are 60,000: as a list they are 1.3 MB that each node
    // reads and keeps, packed they are 14 kB. Needs glibc 2.36; older ones say so at the start.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
}
