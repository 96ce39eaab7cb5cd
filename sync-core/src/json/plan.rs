//! The columns of a stream as a tree of member names, made once: what to read of a record, and where it goes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::choice::{Choice, From, Place, Source};
use super::convert::Column;
use super::pointer;

/// What to read of a record.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) columns: Vec<Column>,
    /// The columns that need a value.
    pub(super) required: Vec<usize>,
    pub(super) root: Node,
    /// For each column, whether its values may be taken as the parser gives them: as long as each one is of the JSON
    /// type that the kind suggests. Others are read from their text.
    direct: Vec<AtomicBool>,
    /// Columns that hold the whole record.
    pub(super) whole: Vec<usize>,
    /// Columns whose value is chosen when the record has been read. The places behind those of the columns are for
    /// what they choose from, in this order.
    pub(super) choices: Vec<Choice>,
    pub(super) slots: usize,
    /// The number of nodes and of members: the sizes of what a walk remembers about them.
    pub(super) nodes: usize,
    pub(super) members: usize,
}

/// An object (or array) with members that are wanted.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) id: usize,
    pub(super) members: Vec<Member>,
    by_name: HashMap<Box<str>, usize>,
    by_position: HashMap<usize, usize>,
}

/// A wanted member: columns that take its value, members of its own, or both.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: usize,
    pub(super) name: Box<str>,
    pub(super) columns: Vec<usize>,
    pub(super) inner: Option<Node>,
}

impl Node {
    pub(super) fn named(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(super) fn positioned(&self, position: usize) -> Option<usize> {
        self.by_position.get(&position).copied()
    }

    fn member(&mut self, step: &str) -> usize {
        if let Some(at) = self.named(step) {
            return at;
        }
        let at = self.members.len();
        self.by_name.insert(step.into(), at);
        if let Some(position) = pointer::position(step) {
            self.by_position.insert(position, at);
        }
        self.members.push(Member { id: 0, name: step.into(), columns: Vec::new(), inner: None });
        at
    }

    /// The first place here or below that a value of its own cannot serve: a column's, not one to choose from.
    pub(super) fn place_below(&self, columns: usize) -> Option<usize> {
        let below = |member: &Member| {
            let own = member.columns.iter().copied().find(|place| *place < columns);
            own.or_else(|| member.inner.as_ref()?.place_below(columns))
        };
        self.members.iter().find_map(below)
    }

    /// Gives every node and member a number of its own.
    fn number(&mut self, nodes: &mut usize, members: &mut usize) {
        self.id = *nodes;
        *nodes += 1;
        for member in &mut self.members {
            member.id = *members;
            *members += 1;
            if let Some(inner) = &mut member.inner {
                inner.number(nodes, members);
            }
        }
    }
}

impl Plan {
    /// A plan for columns, each with where its values come from.
    pub(super) fn new(sources: impl IntoIterator<Item = (Column, Source)>) -> Self {
        let (columns, sources): (Vec<_>, Vec<_>) = sources.into_iter().unzip();
        let mut plan = Self {
            required: (0..columns.len()).filter(|place| columns[*place].required).collect(),
            direct: columns.iter().map(|column| AtomicBool::new(column.is_direct())).collect(),
            columns,
            root: Node::default(),
            whole: Vec::new(),
            choices: Vec::new(),
            slots: 0,
            nodes: 0,
            members: 0,
        };
        for (place, source) in sources.into_iter().enumerate() {
            match source {
                Source::At(steps) => plan.put(place, &steps),
                Source::Chosen { stands, constant } => {
                    let mut from: Vec<From> = stands.into_iter().map(|stand| plan.from(stand)).collect();
                    from.extend(constant.map(|(column, value)| From::Constant(column, value)));
                    plan.choices.push(Choice { place, from });
                }
            }
        }
        plan.root.number(&mut plan.nodes, &mut plan.members);
        plan
    }

    /// A plan without columns, that only keeps the values at these pointers, in this order.
    pub(super) fn slots(pointers: impl IntoIterator<Item = Vec<String>>) -> Self {
        let mut plan = Self::new([]);
        for steps in pointers {
            plan.from(Place::Here(steps));
        }
        (plan.nodes, plan.members) = (0, 0);
        plan.root.number(&mut plan.nodes, &mut plan.members);
        plan
    }

    /// Lets a place take the value at a pointer.
    fn put(&mut self, place: usize, steps: &[String]) {
        let Some((last, outer)) = steps.split_last() else {
            self.whole.push(place);
            return;
        };
        let mut node = &mut self.root;
        for step in outer {
            let at = node.member(step);
            node = node.members[at].inner.get_or_insert_default();
        }
        let at = node.member(last);
        node.members[at].columns.push(place);
    }

    fn from(&mut self, stand: Place) -> From {
        match stand {
            Place::Outer(outer) => From::Outer(outer),
            Place::Listed(list, finder) => From::Listed(Box::new(self.from(*list)), finder),
            Place::Hash(parts) => From::Hash(parts.into_iter().map(|part| self.from(part)).collect()),
            Place::Here(steps) => {
                let slot = self.slots;
                self.slots += 1;
                self.direct.push(AtomicBool::new(false));
                self.put(self.columns.len() + slot, &steps);
                From::Slot(slot)
            }
        }
    }

    #[inline]
    pub(super) fn is_direct(&self, place: usize) -> bool {
        self.direct[place].load(Ordering::Relaxed)
    }

    /// From now on, the values of this column are read from their text.
    pub(super) fn by_text(&self, place: usize) {
        self.direct[place].store(false, Ordering::Relaxed);
    }
}
