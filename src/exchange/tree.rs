//! The names of tensors as a tree, and the search for the tree of a network in the tree of a file.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The most parts of a name. Longer names are ignored.
const MAX_PARTS: usize = 48;

/// The most parts of all names together; further names are ignored. The deepest network of this crate has 28,000.
const MAX_PARTS_OF_ALL: usize = 1 << 18;

/// Names, split at the dots.
pub struct Tree<'a> {
    nodes: Vec<Node<'a>>,
    /// All parts of the names.
    parts: BTreeSet<&'a str>,
}

#[derive(Default)]
struct Node<'a> {
    parent: usize,
    depth: usize,
    part: &'a str,
    children: BTreeMap<&'a str, usize>,
    tensor: Option<&'a str>,
}

/// The place of a network in a file.
pub struct Place<'a> {
    /// The name in the file by the name in the network.
    pub tensors: BTreeMap<&'a str, &'a str>,
    /// The common prefix of the names in the file.
    pub root: Vec<&'a str>,
    /// The nodes of the file that are the top modules of the network.
    modules: BTreeSet<usize>,
}

impl<'a> Place<'a> {
    /// A place that was not found by names.
    pub fn of(tensors: BTreeMap<&'a str, &'a str>) -> Self {
        Self { tensors, root: Vec::new(), modules: BTreeSet::new() }
    }
}

impl<'a> Tree<'a> {
    pub fn new(names: impl Iterator<Item = &'a str>) -> Self {
        let mut tree = Self { nodes: vec![Node::default()], parts: BTreeSet::new() };
        let mut parts = 0;
        for name in names {
            let own = name.split('.').take(MAX_PARTS + 1).count();
            if own > MAX_PARTS {
                continue;
            }
            parts += own;
            if parts > MAX_PARTS_OF_ALL {
                break;
            }
            let mut at = 0;
            for part in name.split('.') {
                at = match tree.child(at, part) {
                    Some(child) => child,
                    None => tree.add(at, part),
                };
            }
            if let Some(node) = tree.nodes.get_mut(at) {
                node.tensor = Some(name);
            }
        }
        tree
    }

    fn add(&mut self, parent: usize, part: &'a str) -> usize {
        let place = self.nodes.len();
        let depth = self.nodes.get(parent).map_or(0, |node| node.depth + 1);
        self.parts.insert(part);
        self.nodes.push(Node { parent, depth, part, ..Node::default() });
        if let Some(node) = self.nodes.get_mut(parent) {
            node.children.insert(part, place);
        }
        place
    }

    fn child(&self, node: usize, part: &str) -> Option<usize> {
        self.nodes.get(node)?.children.get(part).copied()
    }

    /// A node and all nodes below it, breadth first.
    fn below(&self, node: usize) -> impl Iterator<Item = usize> {
        let mut waiting = VecDeque::from([node]);
        std::iter::from_fn(move || {
            let next = waiting.pop_front()?;
            waiting.extend(self.nodes.get(next)?.children.values());
            Some(next)
        })
    }

    fn path(&self, mut node: usize) -> Vec<&'a str> {
        let mut parts = Vec::new();
        while node != 0
            && let Some(found) = self.nodes.get(node)
        {
            parts.push(found.part);
            node = found.parent;
        }
        parts.reverse();
        parts
    }

    /// All places of a network in this file. Its modules have their own names and may be wrapped in other modules: either all top modules
    /// in the same one, or, if there is no such place, each top module in a different one.
    pub fn places(&self, network: &Tree<'a>) -> Vec<Place<'a>> {
        // This quick test fails for most networks.
        if !network.parts.is_subset(&self.parts) {
            return Vec::new();
        }
        let together: Vec<Place> = self
            .below(0)
            .filter_map(|node| self.children_at(network, 0, node))
            .map(|f| self.place(f))
            .collect();
        if !together.is_empty() {
            return together;
        }
        self.apart(network).map(|found| self.place(found)).into_iter().collect()
    }

    fn place(&self, found: Found<'a>) -> Place<'a> {
        let Found { tensors, modules } = found;
        let mut paths = modules.iter().map(|node| {
            let mut path = self.path(*node);
            path.pop();
            path
        });
        let mut root = paths.next().unwrap_or_default();
        for path in paths {
            let common = root.iter().zip(&path).take_while(|(a, b)| a == b).count();
            root.truncate(common);
        }
        Place { tensors: tensors.into_iter().collect(), root, modules }
    }

    /// Each top module at the place nearest to the root, if there is only one such place.
    fn apart(&self, network: &Tree<'a>) -> Option<Found<'a>> {
        let mut all = Found::default();
        for (part, child) in &network.nodes.first()?.children {
            let mut best: Option<(usize, Found<'a>)> = None;
            for node in self.below(0) {
                let depth = self.nodes.get(node)?.depth;
                if best.as_ref().is_some_and(|(least, _)| *least < depth) {
                    break;
                }
                let mut found = Found::default();
                if let Some(module) = self.child(node, part)
                    && self.fits(network, *child, module, &mut found.tensors)
                {
                    if best.is_some() {
                        return None;
                    }
                    found.modules.insert(module);
                    best = Some((depth, found));
                }
            }
            let (_, found) = best?;
            all.tensors.extend(found.tensors);
            all.modules.extend(found.modules);
        }
        // No tensor of the file may be used twice.
        let once: BTreeSet<_> = all.tensors.iter().map(|(_, theirs)| theirs).collect();
        (once.len() == all.tensors.len()).then_some(all)
    }

    /// Matches the children of a node of the network with those of a node of the file.
    fn children_at(&self, network: &Tree<'a>, theirs: usize, ours: usize) -> Option<Found<'a>> {
        let mut found = Found::default();
        for (part, child) in &network.nodes.get(theirs)?.children {
            let module = self.child(ours, part)?;
            if !self.fits(network, *child, module, &mut found.tensors) {
                return None;
            }
            found.modules.insert(module);
        }
        Some(found)
    }

    /// Whether a node of the network matches a node of the file, or its children match those of a node below.
    fn fits(
        &self,
        network: &Tree<'a>,
        theirs: usize,
        ours: usize,
        tensors: &mut Vec<(&'a str, &'a str)>,
    ) -> bool {
        let (Some(node), Some(here)) = (network.nodes.get(theirs), self.nodes.get(ours)) else {
            return false;
        };
        if node.children.is_empty() {
            let pair = node.tensor.zip(here.tensor);
            tensors.extend(pair);
            return pair.is_some();
        }
        self.below(ours).any(|place| match self.children_at(network, theirs, place) {
            Some(found) => {
                tensors.extend(found.tensors);
                true
            }
            None => false,
        })
    }

    /// Whether a tensor of the file is in one of the top modules of a network.
    pub fn is_within(&self, place: &Place, name: &str) -> bool {
        let mut at = 0;
        for part in name.split('.') {
            match self.child(at, part) {
                Some(child) => at = child,
                None => return false,
            }
            if place.modules.contains(&at) {
                return true;
            }
        }
        false
    }
}

#[derive(Default)]
struct Found<'a> {
    tensors: Vec<(&'a str, &'a str)>,
    modules: BTreeSet<usize>,
}
