//! The validator of the Khronos Group, where it is installed.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

pub const MISSING: &str =
    "spirv-val is not installed (on Debian and Ubuntu it is in the package spirv-tools)";

/// Whether `spirv-val` is there.
pub static INSTALLED: LazyLock<bool> = LazyLock::new(|| {
    Command::new("spirv-val").arg("--version").output().is_ok_and(|output| output.status.success())
});

/// What the validator says against a module for this version of Vulkan.
pub fn fault(vulkan: (u8, u8), module: &[u8]) -> Option<String> {
    let mut child = Command::new("spirv-val")
        .args(["--target-env", &format!("vulkan{}.{}", vulkan.0, vulkan.1), "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A module is read as a whole before anything is said.
    child.stdin.take().unwrap().write_all(module).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (!output.status.success()).then(|| String::from_utf8_lossy(&said).into_owned())
}
