//! Conditions of rules, in CEL (Common Expression Language). Pure: no I/O, no clock.
//!
//! ```text
//! variables  what an expression can ask for, by name
//! check      syntax tree → checked tree: names, types, what never holds
//! node       the checked tree
//! macros     has, all, exists, exists_one
//! fold       what is known before any call
//! narrow     what variables must be for it to hold
//! eval       evaluates, within a budget
//! value      values, and how they compare
//! ```
//!
//! The syntax is that of the `cel` crate's parser. Its evaluator is not used: it bounds no cost, compiles a regular
//! expression again with every evaluation, copies the arguments of a call, and finds an unknown name only when it
//! gets there. Here names and types are checked once, when a policy is loaded; and every evaluation has a budget,
//! whatever the arguments are.

mod check;
mod eval;
mod fold;
mod macros;
mod narrow;
mod node;
#[cfg(test)]
mod tests;
mod value;
mod variables;

use std::sync::Arc;

pub use eval::{Failure, Fault};
pub use narrow::{Narrow, Never};
pub use value::Value;
pub use variables::{Variable, Variables};

use node::Node;

/// Length of an expression, in bytes.
pub const MAX_BYTES: usize = 4096;
/// How deeply an expression may be nested; `a + b + c` is two deep, `a && b && c && d` too.
pub const MAX_DEPTH: usize = 48;
/// How deeply brackets may be nested.
pub const MAX_BRACKETS: usize = 16;
/// Stack of the thread that parses: the parser is generated, and each level of its grammar takes many frames.
const PARSER_STACK: usize = 64 * 1024 * 1024;
/// Size of a compiled regular expression, in bytes.
const MAX_REGEX_BYTES: usize = 256 * 1024;
/// What one evaluation may cost: one for each step, and for each `TEXT_STEP` bytes of text that it looks at.
/// At worst a few milliseconds.
pub const MAX_COST: u64 = 100_000;

/// A compiled expression, which says yes or no.
#[derive(Debug)]
pub struct Expression {
    source: Box<str>,
    tree: Node,
    reads: Reads,
}

/// What an expression reads that is not the same for every call of a ServiceAccount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// The variables.
    pub variables: Vec<Variable>,
    /// The claims: names of members, from the outside in. Empty paths stand for all claims.
    pub claims: Vec<Vec<Arc<str>>>,
}

impl Reads {
    /// Whether it reads a variable.
    pub fn has(&self, variable: Variable) -> bool {
        self.variables.contains(&variable)
    }
}

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", self.place())]
pub struct Refused {
    /// Line and column in the expression, from 1; `None`: it is about the whole.
    pub at: Option<(usize, usize)>,
    /// What is wrong.
    pub reason: String,
}

impl Refused {
    fn place(&self) -> String {
        match self.at {
            Some((1, column)) => format!("column {column} of the expression: "),
            Some((line, column)) => format!("line {line}, column {column} of the expression: "),
            None => String::new(),
        }
    }

    fn whole(reason: impl Into<String>) -> Self {
        Self {
            at: None,
            reason: reason.into(),
        }
    }
}

impl Expression {
    /// Compiles an expression.
    pub fn compile(source: &str) -> Result<Self, Refused> {
        if source.len() > MAX_BYTES {
            let length = source.len();
            return Err(Refused::whole(format!(
                "is {length} bytes long; at most {MAX_BYTES} are allowed"
            )));
        }
        if brackets(source) > MAX_BRACKETS {
            return Err(Refused::whole(format!(
                "has brackets in more than {MAX_BRACKETS} others"
            )));
        }
        let (tree, reads) = apart(|| parse(source))?;
        let tree = fold::fold(tree)?;
        if let Node::Constant(Value::Bool(false)) = tree {
            return Err(Refused::whole("is always false: the rule would never match"));
        }
        if let Err(never) = narrow::narrow(&tree, &|_| true) {
            return Err(Refused::whole(format!("is always false: {never}")));
        }
        Ok(Self {
            source: source.into(),
            tree,
            reads,
        })
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it reads.
    pub fn reads(&self) -> &Reads {
        &self.reads
    }

    /// Whether it can hold where `fits` says whether variables can be this; else what they would have to be. It is
    /// asked about parts of the expression too, and may be true of what cannot be: then less is found.
    pub fn can_hold(&self, fits: impl Fn(&Narrow<'_>) -> bool) -> Result<(), Never> {
        narrow::narrow(&self.tree, &fits).map(|_| ())
    }

    /// Whether it holds.
    pub fn holds(&self, variables: &dyn Variables) -> Result<bool, Fault> {
        eval::holds(&self.tree, variables)
    }
}

/// Parses and checks.
fn parse(source: &str) -> Result<(Node, Reads), Refused> {
    // No macros: they are checked as they are written.
    let parser = cel::Env::default().with_optional_support(false).parser();
    let parsed = parser.parse_with_source_info(source);
    let (syntax, places) = parsed.map_err(|errors| syntax_error(&errors))?;
    check::check(&syntax, &places)
}

/// Runs on a thread of its own. The text is a tenant's, and the parser is generated: whatever it makes of the text,
/// it must not take the agent down.
fn apart<T: Send>(parse: impl FnOnce() -> Result<T, Refused> + Send) -> Result<T, Refused> {
    let failed = || Refused::whole("cannot be parsed");
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("expression".to_owned())
            .stack_size(PARSER_STACK);
        let parsing = thread.spawn_scoped(scope, parse).map_err(|_| failed())?;
        parsing.join().map_err(|_| failed())?
    })
}

/// How deeply brackets are nested, at most: those in strings count, which is more than there are.
fn brackets(source: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The same text is the same expression.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

fn syntax_error(errors: &cel::ParseErrors) -> Refused {
    let Some(first) = errors.errors.first() else {
        return Refused::whole("cannot be parsed");
    };
    let place = |at: isize| usize::try_from(at).ok().filter(|at| *at > 0);
    Refused {
        at: place(first.pos.0).zip(place(first.pos.1)),
        reason: first.msg.clone(),
    }
}
