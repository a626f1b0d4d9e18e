//! `ocelli-bindgen IN.wasm FOLDER`: writes the module and the JavaScript that loads it. The version of wasm-bindgen is that
//! of the lock file, so it fits the module.

use std::process::ExitCode;
use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, folder] = arguments.as_slice() else {
        eprintln!("usage: ocelli-bindgen IN.wasm FOLDER");
        return ExitCode::from(64);
    };
    let mut bindgen = Bindgen::new();
    let made = bindgen
        .input_path(input)
        .web(true)
        .map(|bindgen| bindgen.typescript(true).remove_name_section(true).remove_producers_section(true))
        .and_then(|bindgen| bindgen.generate(folder));
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ocelli-bindgen: {input}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
