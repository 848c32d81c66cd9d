//! Linker settings of libshmgate.so: its soname, and no library beside libc.so.6.
//!
//! rustc asks the linker for `-lgcc_s` and `-lc`. A linker script of the same name, found first, turns the former into the
//! static unwinder, and the latter into libc without the loader's own entry (its symbols are found through libc anyway):
//! each further library would be looked up and mapped at every exec of a host.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("libgcc_s.so"), "GROUP ( -lgcc_eh -lgcc )\n").expect("OUT_DIR is writable");
    if let (Some(libc), Some(rest)) = (library("libc.so.6"), library("libc_nonshared.a")) {
        fs::write(out.join("libc.so"), format!("GROUP ( {libc} {rest} )\n")).expect("OUT_DIR is writable");
    }
    for arg in
        [&format!("-L{}", out.display()), "-static-libgcc", "-Wl,-soname,libshmgate.so.0", "-Wl,-z,now", "-Wl,-z,nodelete"]
    {
        println!("cargo:rustc-cdylib-link-arg={arg}");
    }
}

/// The path at which the C compiler finds a file of libc, if it finds it.
fn library(name: &str) -> Option<String> {
    let output = Command::new("cc").arg(format!("-print-file-name={name}")).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    path.starts_with('/').then_some(path)
}
