//! Rules by what they are about, so that a request is compared with few of many.

use std::collections::{BTreeMap, HashMap};

use super::{Ask, bucket::Bucket, rule::Rule, rules::Number};
use crate::mcp::governed::Kind;

/// Rules of one action.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Those that name no tool, prompt or resource.
    everything: Bucket,
    tools: Names,
    prompts: Names,
    resources: Names,
}

/// Rules by the names that they are about: each name under itself, each glob under the longer of its ends. A glob
/// without any is compared with every name.
#[derive(Debug, Default)]
struct Names {
    literal: HashMap<Box<str>, Bucket>,
    /// By the length of the end, and the end.
    heads: BTreeMap<usize, HashMap<Box<str>, Bucket>>,
    tails: BTreeMap<usize, HashMap<Box<str>, Bucket>>,
}

impl Index {
    pub(super) fn insert(&mut self, number: Number, rule: &Rule) {
        if rule.names(Kind::Tool).is_none() {
            self.everything.insert(number, rule);
            return;
        }
        for (kind, names) in [
            (Kind::Tool, &mut self.tools),
            (Kind::Prompt, &mut self.prompts),
            (Kind::Resource, &mut self.resources),
        ] {
            names.insert(number, rule, kind);
        }
    }

    /// The rules that can be about a request, in their order.
    pub(super) fn find(&self, ask: &Ask<'_>) -> Vec<Number> {
        let mut found = Vec::new();
        self.everything.find(ask.caller, &mut found);
        let names = match ask.kind {
            Kind::Tool => Some(&self.tools),
            Kind::Prompt => Some(&self.prompts),
            Kind::Resource => Some(&self.resources),
            Kind::Task | Kind::Other => None,
        };
        if let Some(names) = names {
            names.find(ask, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Names {
    fn insert(&mut self, number: Number, rule: &Rule, kind: Kind) {
        for pattern in rule.names(kind).unwrap_or_default() {
            let (head, tail) = pattern.ends();
            let bucket = match pattern.literal() {
                Some(name) => self.literal.entry(name.into()).or_default(),
                None if head.len() >= tail.len() => filed(&mut self.heads, head),
                None => filed(&mut self.tails, tail),
            };
            bucket.insert(number, rule);
        }
    }

    fn find(&self, ask: &Ask<'_>, found: &mut Vec<Number>) {
        let name = ask.name;
        let mut add = |bucket: Option<&Bucket>| {
            if let Some(bucket) = bucket {
                bucket.find(ask.caller, found);
            }
        };
        add(self.literal.get(name));
        for (length, ends) in self.heads.range(..=name.len()) {
            add(name.get(..*length).and_then(|head| ends.get(head)));
        }
        for (length, ends) in self.tails.range(..=name.len()) {
            add(name.get(name.len() - length..).and_then(|tail| ends.get(tail)));
        }
    }
}

fn filed<'b>(ends: &'b mut BTreeMap<usize, HashMap<Box<str>, Bucket>>, end: &str) -> &'b mut Bucket {
    ends.entry(end.len()).or_default().entry(end.into()).or_default()
}
