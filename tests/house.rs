//! Rules of the project that a compiler does not check: dependencies between folders, files that belong together, the
//! first line of a shader. A rule is changed here, in the same commit as the code.

mod reader;

use reader::{code_of, line_of, links, uses, without_tests};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the crate that each folder (or file) directly below `src` may use. Dependencies point one way.
const MAY_USE: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("random", &[]),
    ("atomic", &["error"]),
    ("report", &["error"]),
    ("tensor", &["error"]),
    ("gpu", &["error", "atomic"]),
    ("data", &["error", "random", "atomic"]),
    ("kernels", &["error", "tensor", "gpu"]),
    ("graph", &["error", "tensor", "kernels"]),
    ("ops", &["error", "tensor", "gpu", "kernels", "graph"]),
    ("autodiff", &["error", "tensor", "graph"]),
    ("plan", &["error", "tensor", "gpu", "kernels", "graph", "ops"]),
    ("autotune", &["error", "atomic", "tensor", "gpu", "kernels", "graph", "plan"]),
    ("selftest", &["error", "tensor", "gpu", "kernels", "graph", "ops", "plan", "autotune"]),
    ("models", &["error", "random", "tensor", "graph", "ops"]),
    ("weights", &["error", "atomic", "tensor", "data"]),
    ("exchange", &["error", "tensor", "data", "graph", "ops", "models", "weights"]),
    (
        "infer",
        &["error", "tensor", "gpu", "data", "graph", "plan", "autotune", "models", "weights", "exchange"],
    ),
    (
        "explain",
        &[
            "error", "random", "tensor", "gpu", "data", "graph", "autodiff", "plan", "models", "weights",
            "infer",
        ],
    ),
    (
        "train",
        &[
            "error", "random", "tensor", "gpu", "data", "kernels", "graph", "ops", "plan", "autotune",
            "models", "weights", "exchange", "infer", "report",
        ],
    ),
    (
        "cli",
        &[
            "error", "tensor", "gpu", "data", "graph", "plan", "autotune", "selftest", "models", "weights",
            "exchange", "infer", "explain", "train", "report",
        ],
    ),
];

/// Macros. They are at the root of the crate, wherever they are defined.
const MACROS: &[&str] = &["params"];

/// The three files of an operation: `src/ops/X.rs`, `tests/ops/X.rs`, `shaders/X.wgsl`. Subfolders hold what
/// operations share.
const TWINS: [(&str, &str); 3] = [("src/ops", "rs"), ("tests/ops", "rs"), ("shaders", "wgsl")];

/// Files in these folders that are not operations, and files that an operation does not need. At most ten.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("src/ops/mod.rs", "lists the operations"),
    ("tests/ops/mod.rs", "lists their tests"),
    ("tests/ops/harness.rs", "runs a graph for the tests"),
    ("shaders/linear.wgsl", "a convolution whose kernel covers the input: no shader of its own"),
];

const MAX_RUST_LINES: usize = 500;
const MAX_SHADER_LINES: usize = 250;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "helpers", "common", "types"];

/// Calls that end the program instead of returning an error.
const PANICS: &[&str] = &["unwrap(", ".expect(", "panic!", "todo!", "unimplemented!", "unreachable!"];

/// Code that writes to a terminal. Only the files of [`AT_THE_TERMINAL`] may have it.
const TERMINAL: &[&str] =
    &["print!(", "println!(", "eprint!(", "eprintln!(", "dbg!(", "stdout()", "stderr()"];
const AT_THE_TERMINAL: &[&str] = &["src/cli/terminal.rs", "src/cli/progress.rs"];

/// Links to files of this repository.
const HERE: &[&str] =
    &["https://github.com/ocelli/ocelli/blob/main/", "https://raw.githubusercontent.com/ocelli/ocelli/main/"];

/// Folders of personal files. The strings are concatenated, so that this file does not contain them.
const PRIVATE_PLACES: &[&str] = &[concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];

#[test]
fn dependencies_point_one_way() {
    let mut faults = Vec::new();
    for file in files("src", "rs") {
        let parts: Vec<&str> = file.trim_start_matches("src/").trim_end_matches(".rs").split('/').collect();
        let module = parts[0];
        if ["lib", "main"].contains(&file.trim_start_matches("src/").trim_end_matches(".rs")) {
            continue;
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            faults.push(format!("{file}: `{module}` is new; say in MAY_USE what it may use"));
            continue;
        };
        let code = code_of(&read(&file));
        for (line, used) in uses(&code) {
            if MACROS.contains(&used.as_str()) || used == module || allowed.contains(&used.as_str()) {
                continue;
            }
            faults.push(if MAY_USE.iter().any(|(name, _)| *name == used) {
                format!("{file}:{line}: `{module}` must not use `{used}`, only {}", allowed.join(", "))
            } else {
                format!("{file}:{line}: `crate::{used}` hides its folder; write crate::FOLDER::{used}")
            });
        }
        // A relative path must not leave the module either: `super::super::gpu`.
        let depth = parts.len() - usize::from(parts.ends_with(&["mod"]));
        let to_the_root = "super::".repeat(depth);
        let code = without_tests(&code);
        for (at, _) in code.match_indices(&to_the_root) {
            if !code[..at].ends_with("::") {
                faults.push(format!(
                    "{file}:{}: `{to_the_root}` leaves `{module}`; write crate::",
                    line_of(code, at)
                ));
            }
        }
    }
    check("Dependencies between folders point one way (the table is MAY_USE).", faults);
}

#[test]
fn an_operation_is_three_files() {
    let exists = |path: &str| root().join(path).is_file();
    let excepted = |path: &str| EXCEPTIONS.iter().any(|(exception, _)| *exception == path);
    let mut faults = Vec::new();
    for (place, extension) in TWINS {
        let of_place = |file: &String| file.matches('/').count() == place.matches('/').count() + 1;
        for file in files(place, extension).into_iter().filter(of_place).filter(|file| !excepted(file)) {
            for twin in twins(&file).into_iter().filter(|twin| !exists(twin) && !excepted(twin)) {
                faults.push(format!("{twin} is missing: {file} is there"));
            }
        }
    }
    faults.sort();
    faults.dedup_by(|a, b| a.split(' ').next() == b.split(' ').next());
    for (path, reason) in EXCEPTIONS {
        let twins = twins(path).iter().filter(|twin| exists(twin)).count();
        if exists(path) == (twins > 0) && !path.ends_with("mod.rs") {
            faults.push(format!("{path}: take it out of EXCEPTIONS ({reason})"));
        }
    }
    assert!(EXCEPTIONS.len() <= 10, "{} exceptions are no exceptions", EXCEPTIONS.len());
    check("An operation X is src/ops/X.rs, tests/ops/X.rs and shaders/X.wgsl.", faults);
}

#[test]
fn shaders_start_with_a_card_and_tell_shapes() {
    let mut faults = Vec::new();
    for file in files("shaders", "wgsl") {
        let text = read(&file);
        let card = format!("// {}: ", stem(&file));
        if !text.starts_with(&card) {
            faults.push(format!("{file}:1: does not start with \"{card}WHAT IT COMPUTES\""));
        }
        for (i, line) in text.lines().enumerate() {
            if !line.contains("var<storage") || line.trim_start().starts_with("//") {
                continue;
            }
            let told = line.split_once(';').is_some_and(|(_, rest)| rest.trim_start().starts_with("// ("));
            if !line.starts_with("@group(0) @binding(") || !told {
                let wanted = "@group(0) @binding(n) var<storage, ..> name: type; // (shape)";
                faults.push(format!("{file}:{}: a binding is one line: {wanted}", i + 1));
            }
        }
    }
    check("A shader starts with its kernel card, and each binding ends with its shape.", faults);
}

#[test]
fn shaders_write_types_out() {
    let mut faults = Vec::new();
    for file in files("shaders", "wgsl") {
        let code = code_of(&read(&file));
        for (at, _) in code.match_indices("alias ") {
            if !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                faults.push(format!("{file}:{}: alias", line_of(&code, at)));
            }
        }
    }
    check("naga makes two types of an alias and what it stands for, which other compilers refuse.", faults);
}

#[test]
fn files_are_short() {
    let rust = ["src", "tests", "examples", "benches", "web"].map(|folder| files(folder, "rs")).concat();
    let limits = rust.into_iter().map(|file| (file, MAX_RUST_LINES));
    let shaders = files("shaders", "wgsl").into_iter().map(|file| (file, MAX_SHADER_LINES));
    let mut faults = Vec::new();
    for (file, limit) in limits.chain(shaders) {
        let lines = read(&file).lines().count();
        if lines > limit {
            faults.push(format!("{file}: {lines} lines, more than {limit}"));
        }
    }
    check("A file is read in one sitting: split it along a line that has a name.", faults);
}

#[test]
fn names_say_what_is_inside() {
    let mut faults = Vec::new();
    for file in tree("") {
        for part in Path::new(&file).with_extension("").iter().filter_map(|part| part.to_str()) {
            if EMPTY_NAMES.contains(&part) {
                faults.push(format!("{file}: `{part}` says nothing"));
            }
        }
    }
    check("Files and folders are called by what they do.", faults);
}

#[test]
fn errors_are_returned() {
    let mut faults = Vec::new();
    for file in ["src", "examples", "web"].map(|folder| files(folder, "rs")).concat() {
        let code = code_of(&read(&file));
        let code = without_tests(&code);
        for panic in PANICS {
            for (at, _) in code.match_indices(panic) {
                faults.push(format!("{file}:{}: {panic}", line_of(code, at)));
            }
        }
    }
    check("Nothing panics outside of tests: return an Error that says what to do.", faults);
}

#[test]
fn operations_of_the_library_are_trusted() {
    let mut faults = Vec::new();
    for file in files("src", "rs") {
        let text = read(&file);
        for (at, _) in code_of(without_tests(&text)).match_indices(".add_op(") {
            faults.push(format!("{file}:{}: `add_op` is for custom operations", line_of(&text, at)));
        }
    }
    check("The library adds its operations by `Graph::push_op`: a plan fuses and trusts no others.", faults);
}

#[test]
fn text_of_strangers_is_escaped_where_it_is_printed() {
    let mut faults = Vec::new();
    for file in files("src", "rs") {
        let code = code_of(&read(&file));
        let code = without_tests(&code);
        let at_the_terminal = AT_THE_TERMINAL.contains(&file.as_str());
        for way in TERMINAL.iter().filter(|_| !at_the_terminal) {
            // `eprint!(` contains `print!(`, so a match must start a word.
            let own = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            for (at, _) in code.match_indices(way).filter(|(at, _)| own(*at)) {
                faults.push(format!("{file}:{}: {way} where cli/terminal.rs prints", line_of(code, at)));
            }
        }
        for (at, _) in code.match_indices(".display()").filter(|_| file.starts_with("src/cli/")) {
            faults.push(format!("{file}:{}: write Untrusted::new(path)", line_of(code, at)));
        }
    }
    check(
        "Names and paths reach a terminal through error::Untrusted, and lines through cli/terminal.rs.",
        faults,
    );
}

#[test]
fn no_file_names_a_private_folder() {
    let mut faults = Vec::new();
    for file in tree("") {
        // Images and tensors are not text.
        let Ok(text) = fs::read_to_string(root().join(&file)) else { continue };
        for place in PRIVATE_PLACES {
            for (at, _) in text.match_indices(place) {
                // A match inside a longer path, such as a URL, does not count.
                let before = text[..at].chars().next_back();
                if !before.is_some_and(|c| c.is_alphanumeric() || "._-}~".contains(c)) {
                    faults.push(format!("{file}:{}: {place}", line_of(&text, at)));
                }
            }
        }
    }
    check("Paths of one machine are of no use on another one.", faults);
}

#[test]
fn links_lead_somewhere() {
    let mut faults = Vec::new();
    for file in tree("").into_iter().filter(|file| file.ends_with(".md")) {
        let folder = root().join(&file).parent().map(Path::to_owned).unwrap_or_default();
        for (line, target) in links(&read(&file)) {
            // The README is shown elsewhere too, so its links name this repository.
            let ours = HERE.iter().find_map(|here| target.strip_prefix(here)).map(|path| format!("/{path}"));
            let target = ours.unwrap_or(target);
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
                continue;
            }
            let from = if path.starts_with('/') { root().to_owned() } else { folder.clone() };
            if !from.join(path.trim_start_matches('/')).exists() {
                faults.push(format!("{file}:{line}: {target}"));
            }
        }
    }
    check("A link in a Markdown file leads to a file that is there.", faults);
}

#[test]
fn the_reader_of_these_tests_reads_well() {
    let code = code_of(
        "a /* x /* y */ crate::no */ \"crate::no \\\" //\" r#\"crate::no\"# '\"' 'a: b // crate::no\nc",
    );
    let words: Vec<&str> = code.split_whitespace().collect();
    assert_eq!(words, ["a", "\"\"", "r#\"\"#", "''", "'a:", "b", "c"]);
    let code = "use crate::error::E;\nuse crate::{\n gpu::{self, A}, ops as o, graph::*};\nmycrate::no; $crate::data::X";
    let found: Vec<String> = uses(code).into_iter().map(|(line, name)| format!("{line} {name}")).collect();
    assert_eq!(found, ["1 error", "2 gpu", "2 ops", "2 graph", "4 data"]);
    let text = "[a](b.md#c) `[no](no)` ![d](<e f.png> \"g\")\n```\n[no](no)\n```\n[h]: i.md\n";
    let found = links(text);
    assert_eq!(found, [(1, "b.md#c".into()), (1, "e f.png".into()), (5, "i.md".into())]);
}

// --- Reading ---------------------------------------------------------------------------------------------------------

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// Fails with a list of all faults.
fn check(rule: &str, faults: Vec<String>) {
    assert!(faults.is_empty(), "{rule}\n  {}\n", faults.join("\n  "));
}

/// The files below `folder` with this extension, sorted, relative to the root, with `/`.
fn files(folder: &str, extension: &str) -> Vec<String> {
    let wanted = Some(std::ffi::OsStr::new(extension));
    tree(folder).into_iter().filter(|file| Path::new(file).extension() == wanted).collect()
}

/// All files below `folder` that git does not ignore. Of `.gitignore` it supports only lines such as `/name/` and
/// `name`.
fn tree(folder: &str) -> Vec<String> {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap_or_default();
    let ignored: BTreeSet<PathBuf> =
        ignored.lines().map(|line| root().join(line.trim_matches('/'))).collect();
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if path.ends_with(".git") || ignored.contains(&path) || kind.is_symlink() {
                continue;
            }
            if kind.is_dir() {
                open.push(path);
            } else {
                let parts: Vec<_> =
                    path.strip_prefix(root()).unwrap().iter().map(|p| p.to_string_lossy()).collect();
                found.push(parts.join("/"));
            }
        }
    }
    found.sort();
    found
}

fn stem(file: &str) -> &str {
    file.rsplit('/').next().and_then(|name| name.split('.').next()).unwrap_or_default()
}

/// The other two files of an operation.
fn twins(file: &str) -> Vec<String> {
    let all = TWINS.iter().map(|(place, extension)| format!("{place}/{}.{extension}", stem(file)));
    all.filter(|twin| twin != file).collect()
}
