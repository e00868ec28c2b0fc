//! MQTT's filters with wildcards (MQTT 5, section 4.7), found in a time that grows with the depth of the topic.
//!
//! A tree of levels, kept in three tables rather than in a map for each node; where only one filter goes on from a node,
//! the node holds that filter, and no nodes follow. So a million filters are as many small entries. Knows no protocol but
//! the rules of `+`, `#` and `$`.

use super::router::{Name, Receiver, Receivers};
use memchr::memchr;
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
    /// The only filter that goes on from here, by more than a `#`: there are no nodes below, and `here` is its receivers.
    lone: Option<Name>,
    /// Where in it the levels begin that are to come.
    offset: u32,
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
    /// Scratch of [`Filters::matches`]: the topic's levels and where they begin, and the nodes yet to be looked at.
    topic: Vec<(Option<Number>, u32)>,
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

/// The first level of `rest`, and where the next one begins, if there is one.
fn first_level(rest: &[u8]) -> (&[u8], Option<usize>) {
    match memchr(b'/', rest) {
        Some(end) => (rest.get(..end).unwrap_or_default(), Some(end + 1)),
        None => (rest, None),
    }
}

/// Whether the levels of a filter that are to come match those of a topic.
fn rest_matches(filter: &[u8], topic: &[u8]) -> bool {
    let mut names = topic.split(|byte| *byte == b'/');
    for level in filter.split(|byte| *byte == b'/') {
        if level == b"#" {
            return true;
        }
        match names.next() {
            Some(name) if level == b"+" || level == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

fn add(receivers: &mut Receivers, count: &mut usize, receiver: Receiver) {
    *count += usize::from(receivers.is_empty());
    receivers.insert(receiver);
}

impl Filters {
    /// Filters that somebody receives.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Adds a receiver of `filter`, which is valid and has a wildcard.
    pub(super) fn insert(&mut self, filter: &Name, receiver: Receiver) {
        let mut at = ROOT;
        let mut left = Some(0);
        loop {
            let lone = &self.nodes[at as usize].lone;
            if lone.as_ref().is_some_and(|lone| lone == filter) {
                self.nodes[at as usize].here.insert(receiver);
                return;
            } else if lone.is_some() {
                self.push_down(at);
            }
            let rest = left.and_then(|left| filter.get(left..));
            let node = &mut self.nodes[at as usize];
            let (level, next) = match rest {
                None => return add(&mut node.here, &mut self.count, receiver),
                Some(b"#") => return add(&mut node.below, &mut self.count, receiver),
                Some(rest) => first_level(rest),
            };
            left = left.and_then(|left| Some(left + next?));
            if let Some(child) = self.child(at, level) {
                at = child;
                continue;
            }
            at = self.grow(at, level);
            if self.stay(at, filter, left) {
                return add(&mut self.nodes[at as usize].here, &mut self.count, receiver);
            }
        }
    }

    /// Makes `filter` the lone one of a new node, if it goes on from there; `left`: where.
    fn stay(&mut self, at: Number, filter: &Name, left: Option<usize>) -> bool {
        let Some(left) = left.filter(|left| filter.get(*left..) != Some(b"#")) else {
            return false;
        };
        let node = &mut self.nodes[at as usize];
        node.lone = Some(filter.clone());
        node.offset = left as u32;
        true
    }

    /// The lone filter of a node moves on to one below, since it is no longer alone.
    fn push_down(&mut self, at: Number) {
        let node = &mut self.nodes[at as usize];
        let Some(filter) = node.lone.take() else {
            return;
        };
        let receivers = std::mem::take(&mut node.here);
        let offset = node.offset as usize;
        let (level, next) = first_level(filter.get(offset..).unwrap_or_default());
        let left = next.map(|next| offset + next);
        let below = self.grow(at, level);
        let stays = self.stay(below, &filter, left);
        let node = &mut self.nodes[below as usize];
        match left {
            Some(_) if !stays => node.below = receivers,
            _ => node.here = receivers,
        }
    }

    /// Takes a receiver of `filter` away. False: there is no such.
    pub(super) fn remove(&mut self, filter: &[u8], subscriber: u32) -> bool {
        let mut at = ROOT;
        let mut left = Some(0);
        let mut path = Vec::new();
        let receivers = loop {
            let node = &mut self.nodes[at as usize];
            match (&node.lone, left.and_then(|left| filter.get(left..))) {
                (Some(lone), _) if **lone != *filter => return false,
                (Some(_), _) | (None, None) => break &mut node.here,
                (None, Some(b"#")) => break &mut node.below,
                (None, Some(rest)) => {
                    let (level, next) = first_level(rest);
                    left = left.and_then(|left| Some(left + next?));
                    match self.child(at, level) {
                        Some(child) => at = child,
                        None => return false,
                    }
                    path.push(level);
                }
            }
        };
        if !receivers.remove(subscriber) {
            return false;
        }
        if receivers.is_empty() {
            self.count -= 1;
            self.nodes[at as usize].lone = None;
        }
        self.prune(at, path);
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
        let mut start = 0;
        for level in topic.split(|byte| *byte == b'/') {
            texts.push((levels.find(level), start as u32));
            start += level.len() + 1;
        }
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
            let text = texts.get(depth as usize);
            if let Some(lone) = &node.lone {
                let rest = lone.get(node.offset as usize..).unwrap_or_default();
                let names = text.and_then(|(_, start)| topic.get(*start as usize..));
                if names.is_some_and(|names| rest_matches(rest, names)) {
                    node.here.iter().for_each(&mut each);
                }
                continue;
            }
            let Some((text, _)) = text else {
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
