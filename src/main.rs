//! The program `ocelli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Mesa's device-select layer looks for a Wayland display and complains twice per command if there is none, as in a
    // container. The order that it gives to devices is not needed: `--adapter` picks an adapter.
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: this is the first statement of the program, so no other thread reads the environment.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var("NODEVICE_SELECT", "1");
        }
    }
    ocelli::cli::main()
}
