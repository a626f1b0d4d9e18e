//! The program `ocelli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Mesa's layer that sorts Vulkan devices looks for a Wayland display and complains twice in every command where
    // there is none, as in a container. Nobody needs its order: `--adapter` picks an adapter.
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: this is the first statement of the program, so no other thread reads the environment.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var("NODEVICE_SELECT", "1");
        }
    }
    ocelli::cli::main()
}
