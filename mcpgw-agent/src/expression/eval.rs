//! Evaluates, within a budget.
//!
//! What fails on one side of `&&`, `||` or of a macro over a list does not matter where the other side settles it, as
//! CEL has it. So it is with what is not known yet.

use serde_json::{Map, Value as Json};

use super::{
    MAX_COST, Value, Variables,
    node::{Arithmetic, Node, Quantifier, TextTest, Type},
    value::compare,
};
use crate::mcp::members::looks_like;

/// Bytes of text that cost as much as one step.
pub(super) const TEXT_STEP: usize = 32;
/// Bytes of text that a regular expression looks at for the cost of one step.
const REGEX_STEP: usize = 4;

/// Names of members that cost as much as one step.
const NAMES_STEP: usize = 8;

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It depends on something that is not known yet.
    Unknown,
    /// It cannot be evaluated.
    Failed(Failure),
}

/// Why an expression cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// An object has no such member, or a list no such element.
    #[error("there is no {0}")]
    Missing(String),
    /// An object has a member of this name in another case, so that its reader may take that for it.
    #[error("there is {0}, which may be taken for another name")]
    Alike(String),
    /// A value has another type than is needed.
    #[error("{found} is where {wanted} should be")]
    Type {
        /// What is needed.
        wanted: &'static str,
        /// What there is.
        found: &'static str,
    },
    /// A number is out of range.
    #[error("a number is out of range")]
    Overflow,
    /// A division by zero.
    #[error("a division by zero")]
    DivisionByZero,
    /// It takes too long.
    #[error("the evaluation takes more than {MAX_COST} steps")]
    TooCostly,
    /// The arguments of the call cannot be read, or are too large to be looked into.
    #[error("the arguments cannot be read: {0}")]
    Arguments(String),
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Whether the expression holds.
pub(super) fn holds(tree: &Node, variables: &dyn Variables) -> Result<bool, Fault> {
    Run::new(variables).truth(tree)
}

/// The value of a tree without variables.
pub(super) fn constant(tree: &Node) -> Result<Value<'_>, Fault> {
    Run::new(&super::variables::Nothing).value(tree)
}

struct Run<'v> {
    variables: &'v dyn Variables,
    left: u64,
    /// Of the macros around the step at hand, the outermost first.
    elements: Vec<Value<'v>>,
}

impl<'v> Run<'v> {
    fn new(variables: &'v dyn Variables) -> Self {
        Self {
            variables,
            left: MAX_COST,
            elements: Vec::new(),
        }
    }

    fn spend(&mut self, cost: usize) -> Result<(), Fault> {
        match self.left.checked_sub(cost as u64) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Failure::TooCostly.into())
            }
        }
    }

    fn value(&mut self, node: &'v Node) -> Result<Value<'v>, Fault> {
        self.spend(1)?;
        match node {
            Node::Constant(value) => Ok(value.again()),
            Node::List(nodes) => {
                let elements = nodes.iter().map(|node| self.value(node));
                Ok(Value::List(elements.collect::<Result<_, _>>()?))
            }
            Node::Variable(variable) => self.variables.value(*variable),
            Node::Element(index) => Ok(self.elements.get(*index).cloned().unwrap_or(Value::Null)),
            Node::Member(of, name) => match self.value(of)? {
                Value::Object(members) => match self.member(members, name)? {
                    Some(json) => Ok(Value::of_json(json)),
                    None => Err(Failure::Missing(format!("{name:?}")).into()),
                },
                other => Err(wrong(Type::Map, &other)),
            },
            Node::Index(of, at) => {
                let (of, at) = (self.value(of)?, self.value(at)?);
                if let (Value::Object(members), Value::Text(name)) = (&of, &at) {
                    self.member(members, name)?;
                }
                index(of, &at)
            }
            Node::Has(of, name) => match self.value(of)? {
                Value::Object(members) => Ok(Value::Bool(self.member(members, name)?.is_some())),
                other => Err(wrong(Type::Map, &other)),
            },
            Node::Negate(of) => match self.value(of)? {
                Value::Int(whole) => in_range(whole.checked_neg()),
                Value::Double(number) => Ok(Value::Double(-number)),
                other => Err(wrong(Type::Number, &other)),
            },
            Node::Choose(nodes) => {
                let [condition, yes, no] = &**nodes;
                match self.truth(condition)? {
                    true => self.value(yes),
                    false => self.value(no),
                }
            }
            Node::Arithmetic(operation, sides) => {
                let (a, b) = self.both(sides)?;
                self.arithmetic(*operation, a, b)
            }
            Node::Size(of) => {
                let of = self.value(of)?;
                if let Value::Text(text) = &of {
                    self.spend(text.len() / TEXT_STEP)?;
                }
                match of.size() {
                    Some(size) => Ok(Value::Int(size as i128)),
                    None => Err(wrong(Type::List, &of)),
                }
            }
            // These have a truth, and no other value.
            _ => self.truth(node).map(Value::Bool),
        }
    }

    fn truth(&mut self, node: &'v Node) -> Result<bool, Fault> {
        match node {
            Node::Not(of) => Ok(!self.truth(of)?),
            Node::And(a, b) => {
                let left = self.truth(a);
                self.either(left, b, false)
            }
            Node::Or(a, b) => {
                let left = self.truth(a);
                self.either(left, b, true)
            }
            Node::Equal { sides, negated } => {
                let (a, b) = self.both(sides)?;
                Ok(self.equal(&a, &b)? != *negated)
            }
            Node::Order(order, sides) => {
                let (a, b) = self.both(sides)?;
                let ordering = match (&a, &b) {
                    (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
                    (a, b) => compare(a, b),
                };
                let wanted = if a.kind() == Type::Text {
                    Type::Text
                } else {
                    Type::Number
                };
                match ordering {
                    Some(ordering) => Ok(order.holds(ordering)),
                    None => Err(wrong(wanted, if a.kind() == wanted { &b } else { &a })),
                }
            }
            Node::In(sides) => {
                let (needle, range) = self.both(sides)?;
                self.is_in(&needle, &range)
            }
            Node::Text(test, sides) => {
                let (text, other) = match self.both(sides)? {
                    (Value::Text(text), Value::Text(other)) => (text, other),
                    (Value::Text(_), found) | (found, _) => return Err(wrong(Type::Text, &found)),
                };
                self.spend((text.len() + other.len()) / TEXT_STEP)?;
                Ok(match test {
                    TextTest::Contains => text.contains(&*other),
                    TextTest::StartsWith => text.starts_with(&*other),
                    TextTest::EndsWith => text.ends_with(&*other),
                })
            }
            Node::Matches(of, regex) => match self.value(of)? {
                Value::Text(text) => {
                    self.spend(text.len() / REGEX_STEP)?;
                    Ok(regex.is_match(&text))
                }
                other => Err(wrong(Type::Text, &other)),
            },
            Node::Quantified {
                quantifier,
                range,
                body,
            } => self.quantified(*quantifier, range, body),
            value => match self.value(value)? {
                Value::Bool(truth) => Ok(truth),
                other => Err(wrong(Type::Bool, &other)),
            },
        }
    }

    /// The truth of two sides of which either settles it by being `settles`.
    fn either(&mut self, left: Result<bool, Fault>, right: &'v Node, settles: bool) -> Result<bool, Fault> {
        if left == Ok(settles) {
            return left;
        }
        let right = self.truth(right);
        settled(left, right, settles)
    }

    /// A member of an object. Some readers of JSON, Go's among them, do not look at the case of names: where another
    /// member could be taken for this one, nobody knows what the server will read.
    fn member<'j>(&mut self, members: &'j Map<String, Json>, name: &str) -> Result<Option<&'j Json>, Fault> {
        self.spend(members.len() / NAMES_STEP)?;
        match members.keys().find(|key| looks_like(key, &[name])) {
            Some(alike) => Err(Failure::Alike(format!("{alike:?}")).into()),
            None => Ok(members.get(name)),
        }
    }

    fn both(&mut self, sides: &'v [Node; 2]) -> Result<(Value<'v>, Value<'v>), Fault> {
        self.spend(1)?;
        // What is not known beats what fails: with what is known then it may be another failure, or none.
        match (self.value(&sides[0]), self.value(&sides[1])) {
            (Ok(a), Ok(b)) => Ok((a, b)),
            (Err(a), Err(b)) => Err(worse(a, b)),
            (Err(fault), Ok(_)) | (Ok(_), Err(fault)) => Err(fault),
        }
    }

    fn quantified(&mut self, quantifier: Quantifier, range: &'v Node, body: &'v Node) -> Result<bool, Fault> {
        let range = self.value(range)?;
        let elements = match &range {
            Value::Object(members) => {
                self.spend(members.len())?;
                members.keys().map(|key| Value::text(key.as_str())).collect()
            }
            list => {
                self.spend(list.size().unwrap_or_default())?;
                list.elements().ok_or_else(|| wrong(Type::List, list))?
            }
        };
        let settles = quantifier == Quantifier::Exists;
        let (mut found, mut so_far) = (0_usize, Ok(!settles));
        for element in elements {
            self.spend(1)?;
            self.elements.push(element);
            let truth = self.truth(body);
            self.elements.pop();
            match quantifier {
                Quantifier::ExistsOne => found += usize::from(truth?),
                Quantifier::All | Quantifier::Exists => {
                    so_far = settled(so_far, truth, settles);
                    if so_far == Ok(settles) {
                        return so_far;
                    }
                }
            }
        }
        match quantifier {
            Quantifier::ExistsOne => Ok(found == 1),
            Quantifier::All | Quantifier::Exists => so_far,
        }
    }

    fn is_in(&mut self, needle: &Value<'v>, range: &Value<'v>) -> Result<bool, Fault> {
        if let Value::Object(members) = range {
            return match needle {
                Value::Text(key) => Ok(self.member(members, key)?.is_some()),
                other => Err(wrong(Type::Text, other)),
            };
        }
        self.spend(range.size().unwrap_or_default())?;
        let elements = range.elements().ok_or_else(|| wrong(Type::List, range))?;
        for element in &elements {
            if self.equal(needle, element)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Values of different types are not equal, as CEL has it.
    fn equal(&mut self, a: &Value<'_>, b: &Value<'_>) -> Result<bool, Fault> {
        self.spend(1)?;
        Ok(match (a, b) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => {
                self.spend(a.len().min(b.len()) / TEXT_STEP)?;
                a == b
            }
            (Value::Object(a), Value::Object(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (key, value) in *a {
                    let Some(other) = b.get(key) else { return Ok(false) };
                    if !self.equal(&Value::of_json(value), &Value::of_json(other))? {
                        return Ok(false);
                    }
                }
                true
            }
            (a, b) if a.kind() == Type::List && b.kind() == Type::List => {
                if a.size() != b.size() {
                    return Ok(false);
                }
                self.spend(a.size().unwrap_or_default())?;
                let (a, b) = (a.elements().unwrap_or_default(), b.elements().unwrap_or_default());
                for (a, b) in a.iter().zip(&b) {
                    if !self.equal(a, b)? {
                        return Ok(false);
                    }
                }
                true
            }
            (a, b) => compare(a, b) == Some(std::cmp::Ordering::Equal),
        })
    }

    fn arithmetic(&mut self, operation: Arithmetic, a: Value<'v>, b: Value<'v>) -> Result<Value<'v>, Fault> {
        match (a, b) {
            (Value::Text(a), Value::Text(b)) if operation == Arithmetic::Add => {
                self.spend((a.len() + b.len()) / TEXT_STEP)?;
                Ok(Value::text([a, b].concat()))
            }
            (Value::Int(a), Value::Int(b)) => {
                if b == 0 && matches!(operation, Arithmetic::Divide | Arithmetic::Remainder) {
                    return Err(Failure::DivisionByZero.into());
                }
                in_range(match operation {
                    Arithmetic::Add => a.checked_add(b),
                    Arithmetic::Subtract => a.checked_sub(b),
                    Arithmetic::Multiply => a.checked_mul(b),
                    Arithmetic::Divide => a.checked_div(b),
                    Arithmetic::Remainder => a.checked_rem(b),
                })
            }
            // CEL has no arithmetic over two kinds of numbers; but in JSON 1 and 1.0 are one kind.
            (a, b) => {
                let (Some(x), Some(y)) = (double(&a), double(&b)) else {
                    return Err(wrong(Type::Number, if double(&a).is_some() { &b } else { &a }));
                };
                Ok(Value::Double(match operation {
                    Arithmetic::Add => x + y,
                    Arithmetic::Subtract => x - y,
                    Arithmetic::Multiply => x * y,
                    Arithmetic::Divide => x / y,
                    Arithmetic::Remainder => return Err(wrong(Type::Number, &a)),
                }))
            }
        }
    }
}

/// The truth of two sides of which either settles it by being `settles`.
fn settled(left: Result<bool, Fault>, right: Result<bool, Fault>, settles: bool) -> Result<bool, Fault> {
    match (left, right) {
        (left, right) if left == Ok(settles) || right == Ok(settles) => Ok(settles),
        (Err(left), Err(right)) => Err(worse(left, right)),
        (Err(fault), Ok(_)) | (Ok(_), Err(fault)) => Err(fault),
        (Ok(_), Ok(_)) => Ok(!settles),
    }
}

/// Of two faults the one that leaves more open.
fn worse(a: Fault, b: Fault) -> Fault {
    if b == Fault::Unknown { b } else { a }
}

fn index<'v>(of: Value<'v>, at: &Value<'v>) -> Result<Value<'v>, Fault> {
    let missing = |what: String| Fault::Failed(Failure::Missing(what));
    match (of, at) {
        (Value::Object(members), Value::Text(key)) => match members.get(&**key) {
            Some(json) => Ok(Value::of_json(json)),
            None => Err(missing(format!("{key:?}"))),
        },
        (Value::Object(_), other) => Err(wrong(Type::Text, other)),
        (list, Value::Int(place)) => {
            let at = usize::try_from(*place).ok();
            let element = match &list {
                Value::Array(elements) => at.and_then(|at| elements.get(at)).map(Value::of_json),
                Value::List(elements) => at.and_then(|at| elements.get(at)).cloned(),
                other => return Err(wrong(Type::List, other)),
            };
            element.ok_or_else(|| missing(format!("element {place}")))
        }
        (list, other) if list.kind() == Type::List => Err(wrong(Type::Number, other)),
        (other, _) => Err(wrong(Type::List, &other)),
    }
}

/// A whole number, which CEL has no wider than 64 bits.
fn in_range<'v>(whole: Option<i128>) -> Result<Value<'v>, Fault> {
    match whole.filter(|whole| i64::try_from(*whole).is_ok() || u64::try_from(*whole).is_ok()) {
        Some(whole) => Ok(Value::Int(whole)),
        None => Err(Failure::Overflow.into()),
    }
}

fn double(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Int(whole) => Some(*whole as f64),
        Value::Double(number) => Some(*number),
        _ => None,
    }
}

fn wrong(wanted: Type, found: &Value<'_>) -> Fault {
    let failure = Failure::Type {
        wanted: wanted.name(),
        found: found.kind().name(),
    };
    failure.into()
}
