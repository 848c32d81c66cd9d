//! Prints include/shmgate.h, made of the library's C API.
//!
//! A tool of the workspace, so that nobody has to install cbindgen: `make header` writes the file, and a test compares it.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let config = match cbindgen::Config::from_file(root.join("cbindgen.toml")) {
        Ok(config) => config,
        Err(error) => return fail(&format!("cbindgen.toml: {error}")),
    };
    match cbindgen::Builder::new().with_config(config).with_src(root.join("src/capi.rs")).generate() {
        Ok(bindings) => {
            bindings.write(std::io::stdout());
            ExitCode::SUCCESS
        }
        Err(error) => fail(&format!("src/capi.rs: {error}")),
    }
}

fn fail(what: &str) -> ExitCode {
    eprintln!("shmgate-header: {what}");
    ExitCode::FAILURE
}
