//! The cards of the shaders say what a text needs of others and what it provides them with, and `src/kernels/shader.rs`
//! links kernels by that. Here both lists are held against the text: no compiler can do so, for a text is no module alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

type Names = BTreeSet<String>;

const NEEDS: &str = "// Needs:";
const PROVIDES: &str = "// Provides:";

#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "alias", "break", "case", "const", "const_assert", "continue", "continuing", "default", "diagnostic", "discard",
    "else", "enable", "false", "fn", "for", "if", "let", "loop", "override", "requires", "return", "struct", "switch",
    "true", "var", "while",
];

/// What no text declares: names of WGSL, as far as the shaders use them, and the types that `Kernel::source` puts in.
#[rustfmt::skip]
const BUILT_IN: &[&str] = &[
    "Stored", "StoredA", "StoredB", "StoredC",
    "array", "atomic", "bool", "f16", "f32", "i32", "mat2x2", "mat2x4", "mat3x3", "mat4x2", "mat4x4", "ptr", "u32",
    "vec2", "vec3", "vec4",
    "function", "private", "read", "read_write", "storage", "uniform", "workgroup", "write",
    "abs", "all", "any", "arrayLength", "atomicAdd", "atomicLoad", "atomicMax", "atomicOr", "atomicStore", "bitcast",
    "ceil", "clamp", "dot", "exp", "exp2", "floor", "fma", "log", "log2", "max", "min", "pow", "round", "select",
    "coopLoad", "coopLoadT", "coopMultiplyAdd", "coopStoreT", "coop_mat16x16", "sign", "sqrt", "subgroupBroadcast", "tanh", "transpose", "workgroupBarrier",
];

#[test]
fn a_card_needs_what_its_text_uses_and_does_not_declare() {
    let mut faults = Vec::new();
    for (file, text) in shaders() {
        compare(&mut faults, &file, NEEDS, &listed(&text, NEEDS), &read(&text).needs);
    }
    check("`// Needs:` has the names that a text uses and does not declare.", faults);
}

#[test]
fn the_card_of_a_linked_text_provides_what_it_declares_and_others_need() {
    let (shaders, linked) = (shaders(), linked());
    let contents: BTreeMap<_, _> = shaders.iter().map(|(file, text)| (file, read(text))).collect();
    let mut faults = Vec::new();
    for (file, text) in &shaders {
        let mut wanted = Names::new();
        let is_linked = linked.contains(&format!("shaders/{file}"));
        for (_, other) in contents.iter().filter(|(name, _)| is_linked && **name != file) {
            wanted.extend(contents[file].declares.intersection(&other.needs).cloned());
        }
        compare(&mut faults, file, PROVIDES, &listed(text, PROVIDES), &wanted);
    }
    check("`// Provides:` has those declarations of a linked text that other texts need.", faults);
}

/// The texts that others can need: the list of `src/kernels/shader.rs`, from `shaders/` on.
fn linked() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernels/shader.rs");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let list = text.split("];").next().unwrap_or_default();
    let paths: Vec<String> =
        list.split('"').filter(|part| part.ends_with(".wgsl")).map(|part| part.replace("../", "")).collect();
    assert!(paths.len() > 20, "the list of texts is not where this test looks for it");
    paths
}

#[test]
fn what_one_card_needs_another_one_provides() {
    let shaders = shaders();
    let provided: Names = shaders.values().flat_map(|text| listed(text, PROVIDES)).collect();
    let mut faults = Vec::new();
    for (file, text) in &shaders {
        for name in listed(text, NEEDS).difference(&provided) {
            faults.push(format!("{file}: nobody provides {name}"));
        }
    }
    check("What a text needs some other text provides.", faults);
}

#[test]
fn no_text_declares_what_these_tests_take_as_built_in() {
    let mut faults = Vec::new();
    for (file, text) in shaders() {
        for name in read(&text).declares.iter().filter(|name| BUILT_IN.contains(&name.as_str())) {
            faults.push(format!("{file}: {name}"));
        }
    }
    check("A declaration with the name of a built-in would not be found missing.", faults);
}

#[test]
fn the_reader_of_cards_reads_well() {
    let text = "// a: b\n// Needs: one, two,\n//   three\n// Provides: five,\n// six\n\n// Needs: seven\n";
    assert_eq!(listed(text, NEEDS), names(&["one", "two", "three"]));
    assert_eq!(listed(text, PROVIDES), names(&["five"]));

    let text = "
        // no: not in comments
        struct Place { i: u32, pixel: Pixel } // a type
        @group(0) @binding(SLOT) var<storage, read_write> out: array<vec4<Stored>, SIZE>;
        var<private> mine: Terms;
        override ROWS: u32 = 4u * COLS4;
        @compute @workgroup_size(THREADS)
        fn entry(@builtin(workgroup_id) group: vec3<u32>, p: ptr<private, array<f32, ROWS>>) -> Place {
            let tap = tap(group.x); // the function first, the local from here on
            var sum = 0x7fu + tap.member.y + u32(1.5e-3);
            for (var k = first(k); k < count; k++) {
                let inner = mine[k].field > limit;
                if inner { out[k] = (*p)[0]; }
            }
            switch k { case 0u: { return help(inner); } default: { return Place(sum, tap); } }
        }";
    let Contents { declares, needs } = read(text);
    assert_eq!(declares, names(&["Place", "out", "mine", "ROWS", "entry"]));
    let others =
        ["Pixel", "SLOT", "SIZE", "Terms", "COLS4", "THREADS", "tap", "first", "count", "limit", "help"];
    // Locals end with their block, and begin behind their own statement.
    assert_eq!(needs, names(&[&others[..], &["k", "inner"]].concat()));
}

// --- Reading ---------------------------------------------------------------------------------------------------------

/// What a text declares at module scope, and the names that it leaves to others.
struct Contents {
    declares: Names,
    needs: Names,
}

/// Reads a text that would compile together with others.
fn read(text: &str) -> Contents {
    // The roles of cooperative matrices are names in their types only.
    let text = [", A>", ", B>", ", C>"].iter().fold(text.to_owned(), |text, role| text.replace(role, ">"));
    let tokens = tokens(&text);
    let (mut declares, mut uses) = (BTreeSet::new(), BTreeSet::new());
    // Names of the blocks that are open, and those of a statement, which hold from its end on.
    let mut scopes: Vec<BTreeSet<&str>> = Vec::new();
    let mut new: Vec<&str> = Vec::new();
    // The block of a function, a struct or a loop is open before its brace: parameters belong to it.
    let mut is_header = false;
    for (i, &token) in tokens.iter().enumerate() {
        let before = |n: usize| if n > i { "" } else { tokens[i - n] };
        match token {
            "fn" | "struct" | "for" => {
                scopes.push(BTreeSet::new());
                is_header = true;
            }
            "{" if is_header => is_header = false,
            "{" => scopes.push(BTreeSet::new()),
            "}" => {
                scopes.pop();
            }
            ";" => {
                if let Some(scope) = scopes.last_mut() {
                    scope.extend(new.drain(..));
                }
            }
            _ => {}
        }
        let is_name = token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let is_attribute = before(1) == "@" || (before(3) == "@" && before(2) == "builtin");
        if !is_name || is_attribute || before(1) == "." || KEYWORDS.contains(&token) {
            continue;
        }
        let is_told_by = |words: &[&str]| words.contains(&before(1));
        let is_at_module_scope = scopes.is_empty();
        let is_member_or_parameter = tokens.get(i + 1) == Some(&":") && before(1) != "case";
        if is_told_by(&["fn", "struct"]) || (is_at_module_scope && is_told_by(&["var", "const", "override"]))
        {
            declares.insert(token);
        } else if is_told_by(&["let", "var", "const"]) {
            new.push(token);
        } else if is_member_or_parameter && !is_at_module_scope {
            scopes.last_mut().unwrap().insert(token);
        } else if !BUILT_IN.contains(&token) && !scopes.iter().any(|scope| scope.contains(token)) {
            uses.insert(token);
        }
    }
    assert!(scopes.is_empty(), "a block stays open:\n{text}");
    let needs = uses.difference(&declares).map(|name| (*name).to_owned()).collect();
    Contents { declares: declares.into_iter().map(str::to_owned).collect(), needs }
}

/// Names, numbers and single characters; without comments, and of `var<storage, read>` only `var`.
fn tokens(text: &str) -> Vec<&str> {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_number = first.is_ascii_digit();
        let (is_token, length) = if rest.starts_with("//") {
            (false, rest.find('\n').unwrap_or(rest.len()))
        } else if first == '<' && tokens.last() == Some(&"var") {
            (false, rest.find('>').map_or(rest.len(), |end| end + 1))
        } else if is_of_word(first) {
            let goes_on = |c: char| is_of_word(c) || (is_number && c == '.');
            (true, rest.find(|c| !goes_on(c)).unwrap_or(rest.len()))
        } else {
            (true, first.len_utf8())
        };
        if is_token {
            tokens.push(&rest[..length]);
        }
        rest = rest[length..].trim_start();
    }
    tokens
}

/// The names of a line of the card, which goes on in the next line after a comma.
fn listed(text: &str, label: &str) -> Names {
    let mut found = Names::new();
    let mut goes_on = false;
    for line in text.lines().take_while(|line| line.starts_with("//")) {
        let list = match line.strip_prefix(label) {
            Some(list) => list,
            None if goes_on => line.strip_prefix("//   ").unwrap_or_default(),
            None => continue,
        };
        goes_on = list.ends_with(',');
        found.extend(list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned));
    }
    found
}

fn names(list: &[&str]) -> Names {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// The texts by their paths below `shaders`, with `/`.
fn shaders() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut found = BTreeMap::new();
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension() == Some(OsStr::new("wgsl")) {
                let parts: Vec<_> =
                    path.strip_prefix(&root).unwrap().iter().map(|p| p.to_string_lossy()).collect();
                found.insert(parts.join("/"), fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(!found.is_empty(), "no shaders in {}", root.display());
    found
}

fn compare(faults: &mut Vec<String>, file: &str, label: &str, told: &Names, found: &Names) {
    faults.extend(found.difference(told).map(|name| format!("{file}: `{label}` lacks {name}")));
    faults.extend(told.difference(found).map(|name| format!("{file}: `{label}` has {name} without reason")));
}

/// Fails with all faults at once.
fn check(rule: &str, faults: Vec<String>) {
    assert!(faults.is_empty(), "{rule}\n  {}\n", faults.join("\n  "));
}
