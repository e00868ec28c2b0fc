//! MQTT's filters with wildcards (MQTT 5, section 4.7), found in a time that grows with the depth of the topic.
//!
//! A tree of levels, kept in three tables rather than in a map for each node: a million filters are as many small
//! entries. Knows no protocol but the rules of `+`, `#` and `$`.

use super::router::{Receiver, Receivers};
use std::collections::HashMap;

/// The number of a level's text, or of a node.
type Number = u32;

/// The node where every filter begins.
const ROOT: Number = 0;

#[derive(Debug, Default)]
struct Node {
    parent: Number,
    /// What leads from the parent to here; unused for a `+`.
    level: Number,
    /// Nodes below this one, the one of `+` included.
    children: u32,
    /// The node of `+` below this one; [`ROOT`] where there is none.
    plus: Number,
    is_plus: bool,
    /// Of the filter that ends here.
    here: Receivers,
    /// Of the filter that goes on with `#` and ends.
    below: Receivers,
}

/// Texts of levels, each once, with how many nodes use it.
#[derive(Debug, Default)]
struct Levels {
    numbers: HashMap<Box<[u8]>, (Number, u32)>,
    next: Number,
    free: Vec<Number>,
}

impl Levels {
    fn find(&self, level: &[u8]) -> Option<Number> {
        self.numbers.get(level).map(|(number, _)| *number)
    }

    fn take(&mut self, level: &[u8]) -> Number {
        if let Some((number, uses)) = self.numbers.get_mut(level) {
            *uses += 1;
            return *number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next
        });
        self.numbers.insert(level.into(), (number, 1));
        number
    }

    fn give_back(&mut self, level: &[u8]) {
        if let Some((number, uses)) = self.numbers.get_mut(level) {
            *uses -= 1;
            if *uses == 0 {
                self.free.push(*number);
                self.numbers.remove(level);
            }
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Filters {
    levels: Levels,
    /// From a node and a level's number to the node below.
    edges: HashMap<(Number, Number), Number>,
    nodes: Vec<Node>,
    free: Vec<Number>,
    /// Filters that somebody receives.
    count: usize,
    /// Scratch of [`Filters::matches`]: the topic's levels, and the nodes yet to be looked at.
    topic: Vec<Option<Number>>,
    todo: Vec<(Number, u32)>,
}

impl Default for Filters {
    fn default() -> Self {
        Filters {
            levels: Levels::default(),
            edges: HashMap::new(),
            nodes: vec![Node::default()],
            free: Vec::new(),
            count: 0,
            topic: Vec::new(),
            todo: Vec::new(),
        }
    }
}

/// The levels above a last `#`, and whether there is one. A filter `#` has none above it.
fn parts(filter: &[u8]) -> (Option<&[u8]>, bool) {
    match filter {
        b"#" => (None, true),
        [above @ .., b'/', b'#'] => (Some(above), true),
        _ => (Some(filter), false),
    }
}

fn levels(filter: Option<&[u8]>) -> impl Iterator<Item = &[u8]> {
    filter
        .into_iter()
        .flat_map(|above| above.split(|byte| *byte == b'/'))
}

impl Filters {
    /// Filters that somebody receives.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Adds a receiver of `filter`, which is valid and has a wildcard.
    pub(super) fn insert(&mut self, filter: &[u8], receiver: Receiver) {
        let (above, rest) = parts(filter);
        let mut at = ROOT;
        for level in levels(above) {
            at = match self.child(at, level) {
                Some(child) => child,
                None => self.grow(at, level),
            };
        }
        let node = &mut self.nodes[at as usize];
        let receivers = if rest {
            &mut node.below
        } else {
            &mut node.here
        };
        self.count += usize::from(receivers.is_empty());
        receivers.insert(receiver);
    }

    /// Takes a receiver of `filter` away. False: there is no such.
    pub(super) fn remove(&mut self, filter: &[u8], subscriber: u32) -> bool {
        let Some((at, rest)) = self.find(filter) else {
            return false;
        };
        let node = &mut self.nodes[at as usize];
        let receivers = if rest {
            &mut node.below
        } else {
            &mut node.here
        };
        if !receivers.remove(subscriber) {
            return false;
        }
        self.count -= usize::from(receivers.is_empty());
        self.prune(at, levels(parts(filter).0).collect());
        true
    }

    /// Calls `each` for every receiver whose filter matches `topic`.
    pub(super) fn matches(&mut self, topic: &[u8], mut each: impl FnMut(Receiver)) {
        if self.count == 0 {
            return;
        }
        let Filters {
            levels,
            edges,
            nodes,
            topic: texts,
            todo,
            ..
        } = self;
        texts.clear();
        texts.extend(
            topic
                .split(|byte| *byte == b'/')
                .map(|level| levels.find(level)),
        );
        // No filter that begins with a wildcard matches a topic that begins with `$` (section 4.7.2).
        let hidden = topic.first() == Some(&b'$');
        todo.clear();
        todo.push((ROOT, 0));
        while let Some((at, depth)) = todo.pop() {
            let node = &nodes[at as usize];
            let wild = !(hidden && at == ROOT);
            if wild {
                node.below.iter().for_each(&mut each);
            }
            let Some(text) = texts.get(depth as usize) else {
                node.here.iter().for_each(&mut each);
                continue;
            };
            if node.plus != ROOT && wild {
                todo.push((node.plus, depth + 1));
            }
            if let Some(child) = text.and_then(|text| edges.get(&(at, text))) {
                todo.push((*child, depth + 1));
            }
        }
    }

    fn find(&self, filter: &[u8]) -> Option<(Number, bool)> {
        let (above, rest) = parts(filter);
        let at = levels(above).try_fold(ROOT, |at, level| self.child(at, level))?;
        Some((at, rest))
    }

    fn child(&self, at: Number, level: &[u8]) -> Option<Number> {
        if level == b"+" {
            return Some(self.nodes[at as usize].plus).filter(|plus| *plus != ROOT);
        }
        let level = self.levels.find(level)?;
        self.edges.get(&(at, level)).copied()
    }

    fn grow(&mut self, parent: Number, level: &[u8]) -> Number {
        let is_plus = level == b"+";
        let number = if is_plus { 0 } else { self.levels.take(level) };
        let node = Node {
            parent,
            level: number,
            is_plus,
            ..Node::default()
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as Number
            }
        };
        let above = &mut self.nodes[parent as usize];
        above.children += 1;
        if is_plus {
            above.plus = at;
        } else {
            self.edges.insert((parent, number), at);
        }
        at
    }

    /// Frees `at` and what is above it, as far as nothing needs them; `path`: the levels that lead there.
    fn prune(&mut self, mut at: Number, mut path: Vec<&[u8]>) {
        while at != ROOT {
            let node = &self.nodes[at as usize];
            if node.children > 0 || !node.here.is_empty() || !node.below.is_empty() {
                return;
            }
            let (parent, level, is_plus) = (node.parent, node.level, node.is_plus);
            let text = path.pop().unwrap_or_default();
            let above = &mut self.nodes[parent as usize];
            above.children -= 1;
            if is_plus {
                above.plus = ROOT;
            } else {
                self.edges.remove(&(parent, level));
                self.levels.give_back(text);
            }
            self.free.push(at);
            at = parent;
        }
        if self.count == 0 {
            // Nothing is left: neither is the memory of a rush.
            *self = Filters::default();
        }
    }
}
