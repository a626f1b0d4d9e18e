//! Finds the tensors of a network in a file with other names, by the shapes and the order of its modules.

use crate::models::Names;
use std::collections::{BTreeMap, BTreeSet};

/// Words in the names of shortcuts. The shortcut of a block may have the shapes of the convolution before it.
const SHORTCUT: [&str; 6] = ["downsample", "shortcut", "skip", "proj", "identity", "branch1"];

/// A module: its path, and the names and shapes of its tensors.
type Module<'a> = (&'a str, BTreeMap<&'a str, &'a [usize]>);

/// The modules in the order of their first tensors.
fn modules<'a>(tensors: impl Iterator<Item = (&'a str, &'a [usize])>) -> Vec<Module<'a>> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut modules: Vec<Module> = Vec::new();
    for (name, shape) in tensors {
        let (path, tensor) = name.rsplit_once('.').unwrap_or(("", name));
        let place = *places.entry(path).or_insert(modules.len());
        if place == modules.len() {
            modules.push((path, BTreeMap::new()));
        }
        if let Some((_, inside)) = modules.get_mut(place) {
            inside.insert(tensor, shape);
        }
    }
    modules
}

/// A name with `#` for each number, and the numbers.
fn split(name: &str) -> (String, Vec<u64>) {
    let (mut words, mut numbers, mut digits) = (String::new(), Vec::new(), String::new());
    for c in name.chars().chain(['.']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        if !digits.is_empty() {
            numbers.push(digits.parse().unwrap_or(u64::MAX));
            digits.clear();
            words.push('#');
        }
        words.push(c);
    }
    (words, numbers)
}

fn is_shortcut(path: &str) -> bool {
    let path = path.to_lowercase();
    SHORTCUT.iter().any(|word| path.contains(word))
}

/// The names and shapes of the tensors of a module. The number of classes is left out of those of the last layer.
fn signature<'a>((_, tensors): &Module<'a>, is_head: bool) -> Vec<(&'a str, &'a [usize])> {
    let cut = |shape: &'a [usize]| {
        if is_head { shape.split_first().map_or(shape, |(_, rest)| rest) } else { shape }
    };
    tensors.iter().map(|(name, shape)| (*name, cut(shape))).collect()
}

/// The name in the file of each tensor of the network, by the name in the network. `order` is that in which the tensors were saved, if the
/// file has kept it. `None` unless there is exactly one assignment of the modules.
pub fn by_order<'a>(
    network: &'a [(String, String, Vec<usize>)],
    file: &'a Names,
    order: Option<&'a [String]>,
) -> Option<BTreeMap<&'a str, &'a str>> {
    // Each tensor of the file must be one of the network. Most files end here, because they have another number of tensors.
    if file.len() != network.len() {
        return None;
    }
    let theirs = modules(network.iter().map(|(name, _, shape)| (name.as_str(), shape.as_slice())));
    let head = theirs.len().checked_sub(1)?;
    let ours = match order {
        Some(order) => {
            let tensors = order.iter().filter_map(|name| file.get_key_value(name));
            modules(tensors.map(|(name, shape)| (name.as_str(), shape.as_slice())))
        }
        None => {
            let mut all = modules(file.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())));
            if all.len() != theirs.len() {
                return None;
            }
            all.sort_by_cached_key(|(path, _)| split(path));
            in_classes(&theirs, all, head)?
        }
    };
    if ours.len() != theirs.len() || !are_apart(&theirs, &ours, head) {
        return None;
    }
    let mut tensors = BTreeMap::new();
    // The last numbers for each signature and each name without its numbers.
    let mut last: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for (i, (their, our)) in theirs.iter().zip(&ours).enumerate() {
        let same = signature(their, i == head);
        if same != signature(our, i == head) || is_shortcut(their.0) != is_shortcut(our.0) {
            return None;
        }
        // The order of the file must be that of the numbers in the names.
        let (words, numbers) = split(our.0);
        if let Some(before) = last.insert((same, words), numbers.clone())
            && before >= numbers
        {
            return None;
        }
        for (name, _, _) in network {
            let (path, tensor) = name.rsplit_once('.').unwrap_or(("", name));
            if path == their.0 {
                let (name_of_file, _) = our.1.get_key_value(tensor)?;
                let path = if our.0.is_empty() { String::new() } else { format!("{}.", our.0) };
                let (original, _) = file.get_key_value(&format!("{path}{name_of_file}"))?;
                tensors.insert(name.as_str(), original.as_str());
            }
        }
    }
    Some(tensors)
}

/// Whether no module can be confused with one of another block. If blocks have modules of the same shapes, their names must differ in
/// a single number, or each block must be a separate module of the file. A counterexample is a file with the first convolutions of all
/// blocks in one list and the second ones in another.
fn are_apart(theirs: &[Module], ours: &[Module], head: usize) -> bool {
    let pairs: Vec<(&str, &str)> =
        theirs.iter().zip(ours).map(|(their, our)| (block_of(their), our.0)).collect();
    let mut alike: BTreeMap<_, Vec<(&str, &str)>> = BTreeMap::new();
    for (i, (module, pair)) in theirs.iter().zip(&pairs).enumerate() {
        alike.entry(signature(module, i == head)).or_default().push(*pair);
    }
    let mut blocks: BTreeSet<&str> = BTreeSet::new();
    for pairs in alike.values() {
        let of: BTreeSet<&str> = pairs.iter().map(|(block, _)| *block).collect();
        if of.len() > 1 && !one_number_tells(pairs.iter().map(|(_, our)| *our)) {
            blocks.extend(of);
        }
    }
    blocks.iter().filter(|block| !block.is_empty()).all(|block| {
        let mut inside = pairs.iter().filter(|(of, _)| of == block).map(|(_, our)| our.split('.'));
        let mut common: Vec<&str> = inside.next().map(Iterator::collect).unwrap_or_default();
        for path in inside {
            let same = common.iter().zip(path).take_while(|(a, b)| **a == *b).count();
            common.truncate(same);
        }
        pairs.iter().all(|(of, our)| {
            let nested = of.strip_prefix(block).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            let within = our.split('.').take(common.len()).eq(common.iter().copied());
            nested || !within
        })
    })
}

/// The block of a module of the network: the module that contains it.
fn block_of<'a>((path, _): &Module<'a>) -> &'a str {
    path.rsplit_once('.').map_or("", |(block, _)| block)
}

/// Whether names differ only in one of their numbers.
fn one_number_tells<'a>(names: impl Iterator<Item = &'a str>) -> bool {
    let names: Vec<(String, Vec<u64>)> = names.map(split).collect();
    let Some((words, numbers)) = names.first() else { return true };
    let differs = |place: usize| names.iter().any(|(_, other)| other.get(place) != numbers.get(place));
    names.iter().all(|(other, _)| other == words) && (0..numbers.len()).filter(|i| differs(*i)).count() <= 1
}

/// Puts the modules of a file without an order in the order of the network. Modules are assigned by their shapes. Modules of the same shapes
/// are sorted by the numbers in their names, which must not differ otherwise.
fn in_classes<'a>(theirs: &[Module<'a>], ours: Vec<Module<'a>>, head: usize) -> Option<Vec<Module<'a>>> {
    let width = theirs.get(head).map(|module| signature(module, true))?;
    let mut classes: BTreeMap<Vec<(&str, &[usize])>, Vec<Module>> = BTreeMap::new();
    let mut heads = Vec::new();
    let others: BTreeSet<_> = theirs.iter().take(head).map(|their| signature(their, false)).collect();
    for module in ours {
        let own = signature(&module, false);
        // A module that takes the output of the network and has the shapes of no other module is the last layer.
        if !others.contains(&own) && signature(&module, true) == width {
            heads.push(module);
        } else {
            classes.entry(own).or_default().push(module);
        }
    }
    for class in classes.values_mut() {
        let words: Vec<String> = class.iter().map(|(path, _)| split(path).0).collect();
        if words.windows(2).any(|pair| pair.first() != pair.last()) {
            return None;
        }
        class.reverse();
    }
    let mut placed = Vec::with_capacity(theirs.len());
    for their in theirs.iter().take(head) {
        placed.push(classes.get_mut(&signature(their, false))?.pop()?);
    }
    placed.push(heads.pop().filter(|_| heads.is_empty())?);
    classes.values().all(Vec::is_empty).then_some(placed)
}
