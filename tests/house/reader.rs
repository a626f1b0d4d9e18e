//! Minimal parsers of Rust and Markdown for the rules of the project.

pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The code before the unit tests, which are at the end of a file.
pub fn without_tests(code: &str) -> &str {
    code.split("#[cfg(test)]").next().unwrap_or_default()
}

/// Rust code without comments and without the contents of strings and characters. Line numbers do not change.
pub fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let in_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let hashes = rest.bytes().skip(1).take_while(|b| *b == b'#').count();
        let (kept, length) = if rest.starts_with("//") {
            (String::new(), rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (String::new(), block_comment(rest))
        } else if c == '"' {
            ("\"\"".to_owned(), string(rest))
        } else if c == 'r' && !in_word && rest[1 + hashes..].starts_with('"') {
            let fence = "#".repeat(hashes);
            let end =
                rest[2 + hashes..].find(&format!("\"{fence}")).map_or(rest.len(), |n| n + 3 + 2 * hashes);
            (format!("r{fence}\"\"{fence}"), end)
        } else if let Some(length) = character(rest) {
            ("''".to_owned(), length)
        } else {
            (c.to_string(), c.len_utf8())
        };
        code.push_str(&kept);
        if length > c.len_utf8() {
            code.extend(rest[..length].chars().filter(|c| *c == '\n'));
        }
        rest = &rest[length..];
    }
    code
}

/// The length of a block comment; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let here = &text.as_bytes()[at..];
        let step: (i32, usize) = if here.starts_with(b"/*") {
            (1, 2)
        } else if here.starts_with(b"*/") {
            (-1, 2)
        } else {
            (0, 1)
        };
        depth += step.0;
        at += step.1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a string literal.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (i, b) in text.bytes().enumerate().skip(1) {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return i + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character literal. `None` for a lifetime.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    if inside.starts_with('\\') {
        return inside[2..].find('\'').map(|n| n + 4);
    }
    let length = inside.chars().next()?.len_utf8();
    inside[length..].starts_with('\'').then_some(length + 2)
}

/// The names directly after `crate::`, with their lines: both a and c of `crate::{a::b, c}`.
pub fn uses(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = code[at + prefix.len()..].trim_start();
        let list = rest.strip_prefix('{').unwrap_or(rest);
        let mut depth = if rest.starts_with('{') { 1 } else { 0 };
        let mut name = String::new();
        let mut in_name = true;
        for c in list.chars() {
            match c {
                _ if c.is_alphanumeric() || c == '_' => {
                    if in_name {
                        name.push(c);
                    }
                    continue;
                }
                _ if c.is_whitespace() && name.is_empty() => continue,
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            in_name = false;
            if depth <= 1 && c == ',' || depth == 0 {
                found.push((line_of(code, at), std::mem::take(&mut name)));
                in_name = true;
            }
            if depth == 0 {
                break;
            }
        }
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

/// The targets of the links in Markdown, with their lines. Links in code do not count.
pub fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (i, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect();
        let inline = prose.split("](").skip(1);
        let named = prose.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target);
        for target in inline.chain(named) {
            let end = if target.starts_with('<') { '>' } else { ')' };
            let target = target.trim_start_matches('<').split(end).next().unwrap_or_default();
            let target = if end == ')' { target.split(' ').next().unwrap_or_default() } else { target };
            found.push((i + 1, target.to_owned()));
        }
    }
    found
}
