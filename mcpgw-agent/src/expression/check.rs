//! Syntax tree → checked tree: every name is known, and types fit as far as they can be known.

use std::{borrow::Cow, sync::Arc};

use cel::common::ast::{Expr, IdedExpr, LiteralValue, SourceInfo, operators};
use regex::RegexBuilder;

use super::{
    MAX_DEPTH, MAX_REGEX_BYTES, Reads, Refused, Value, Variable,
    node::{Arithmetic, Node, Order, TextTest, Type},
    variables::VARIABLES,
};

/// What rules are decided about comes by POST alone.
const HTTP_METHOD: &str = "POST";

/// The functions, as messages list them.
const FUNCTIONS: &str = "size, contains, startsWith, endsWith, matches, has, all, exists, exists_one";

/// Checks an expression that is to say yes or no.
pub(super) fn check(syntax: &IdedExpr, places: &SourceInfo) -> Result<(Node, Reads), Refused> {
    let mut check = Check {
        places,
        elements: Vec::new(),
        depth: 0,
        reads: Reads::default(),
    };
    let tree = check.truth(syntax, "the expression")?;
    claims(syntax, &mut check.reads.claims);
    Ok((tree, check.reads))
}

/// A part of the tree, and what is known of its value.
pub(super) type Typed = (Node, Type);

pub(super) struct Check<'s> {
    places: &'s SourceInfo,
    /// The names of elements, of the macros around what is checked.
    pub(super) elements: Vec<String>,
    depth: usize,
    reads: Reads,
}

impl Check<'_> {
    pub(super) fn refuse<T>(&self, part: &IdedExpr, reason: impl Into<String>) -> Result<T, Refused> {
        let at = self.places.offset_for(part.id).map(|(start, _)| {
            let before = self.places.source.get(..start as usize).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            (line, column)
        });
        Err(Refused {
            at,
            reason: reason.into(),
        })
    }

    /// Checks a part, if it is not too deep: an evaluation goes as deep as the tree.
    pub(super) fn check(&mut self, part: &IdedExpr) -> Result<Typed, Refused> {
        if self.depth == MAX_DEPTH {
            return self.refuse(part, format!("is nested more than {MAX_DEPTH} deep"));
        }
        self.depth += 1;
        let checked = self.check_part(part);
        self.depth -= 1;
        checked
    }

    fn check_part(&mut self, part: &IdedExpr) -> Result<Typed, Refused> {
        match &part.expr {
            Expr::Literal(literal) => match constant(literal) {
                Some(value) => Ok((value.0, value.1)),
                None => self.refuse(part, "bytes are not supported"),
            },
            Expr::Ident(name) => self.name(part, name),
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(group) if !self.elements.contains(group) => self.variable(part, group, &select.field),
                _ => {
                    let of = self.of_type(&select.operand, Type::Map, "the value before the dot")?;
                    Ok((Node::Member(Box::new(of), select.field.as_str().into()), Type::Any))
                }
            },
            Expr::List(list) => {
                let elements = list.elements.iter().map(|element| Ok(self.check(element)?.0));
                Ok((Node::List(elements.collect::<Result<_, Refused>>()?), Type::List))
            }
            Expr::Call(call) => match (&call.target, &*call.args) {
                (None, args) => self.function(part, &call.func_name, args),
                (Some(target), args) => self.method(part, target, &call.func_name, args),
            },
            Expr::Map(_) | Expr::Struct(_) => self.refuse(part, "objects cannot be made here"),
            Expr::Comprehension(_) | Expr::Unspecified => self.refuse(part, "is not supported"),
        }
    }

    /// A part that must be true or false.
    pub(super) fn truth(&mut self, part: &IdedExpr, what: &str) -> Result<Node, Refused> {
        self.of_type(part, Type::Bool, what)
    }

    pub(super) fn of_type(&mut self, part: &IdedExpr, wanted: Type, what: &str) -> Result<Node, Refused> {
        let (node, found) = self.check(part)?;
        match found.may_be(wanted) {
            true => Ok(node),
            false => self.refuse(
                part,
                format!("{what} must be {}, but is {}", wanted.name(), found.name()),
            ),
        }
    }

    fn name(&self, part: &IdedExpr, name: &str) -> Result<Typed, Refused> {
        if let Some(index) = self.elements.iter().rposition(|known| known == name) {
            return Ok((Node::Element(index), Type::Any));
        }
        match VARIABLES.iter().find(|(group, _)| *group == name) {
            Some((group, members)) => {
                let members: Vec<String> = members.iter().map(|(member, ..)| format!("{group}.{member}")).collect();
                self.refuse(
                    part,
                    format!("{group} is no value by itself; there is {}", members.join(", ")),
                )
            }
            None => {
                let groups: Vec<&str> = VARIABLES.iter().map(|(group, _)| *group).collect();
                self.refuse(
                    part,
                    format!("unknown variable {name:?}; there are {}", groups.join(", ")),
                )
            }
        }
    }

    fn variable(&mut self, part: &IdedExpr, group: &str, member: &str) -> Result<Typed, Refused> {
        let Some((_, members)) = VARIABLES.iter().find(|(known, _)| *known == group) else {
            return self.name(part, group);
        };
        let Some((_, variable, kind)) = members.iter().find(|(known, ..)| *known == member) else {
            let members: Vec<String> = members.iter().map(|(known, ..)| format!("{group}.{known}")).collect();
            let reason = format!("unknown variable \"{group}.{member}\"; there is {}", members.join(", "));
            return self.refuse(part, reason);
        };
        if *variable == Variable::HttpMethod {
            let method = Value::text(HTTP_METHOD);
            return Ok((Node::Constant(method), Type::Text));
        }
        if !self.reads.has(*variable) {
            self.reads.variables.push(*variable);
        }
        Ok((Node::Variable(*variable), *kind))
    }

    fn function(&mut self, part: &IdedExpr, name: &str, args: &[IdedExpr]) -> Result<Typed, Refused> {
        match (name, args) {
            (operators::LOGICAL_NOT, [of]) => Ok((Node::Not(Box::new(self.truth(of, "what ! is about")?)), Type::Bool)),
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [a, b]) => {
                let (a, b) = (self.truth(a, "the left side")?, self.truth(b, "the right side")?);
                let (a, b) = (Box::new(a), Box::new(b));
                let node = if name == operators::LOGICAL_AND {
                    Node::And(a, b)
                } else {
                    Node::Or(a, b)
                };
                Ok((node, Type::Bool))
            }
            (operators::CONDITIONAL, [condition, yes, no]) => {
                let condition = self.truth(condition, "the condition")?;
                let ((yes, first), (no, second)) = (self.check(yes)?, self.check(no)?);
                let kind = if first == second { first } else { Type::Any };
                Ok((Node::Choose(Box::new([condition, yes, no])), kind))
            }
            (operators::EQUALS | operators::NOT_EQUALS, [a, b]) => {
                let ((a, first), (b, second)) = (self.check(a)?, self.check(b)?);
                if !first.may_be(second) {
                    let reason = format!("{} and {} are never equal", first.name(), second.name());
                    return self.refuse(part, reason);
                }
                let negated = name == operators::NOT_EQUALS;
                let sides = Box::new([a, b]);
                Ok((Node::Equal { sides, negated }, Type::Bool))
            }
            (operators::IN, [needle, range]) => {
                let (needle, _) = self.check(needle)?;
                let (range_node, kind) = self.check(range)?;
                match kind {
                    Type::List | Type::Map | Type::Any => Ok((Node::In(Box::new([needle, range_node])), Type::Bool)),
                    other => self.refuse(range, format!("what is behind \"in\" is no list, but {}", other.name())),
                }
            }
            (operators::INDEX, [of, at]) => {
                let ((of_node, kind), (at_node, _)) = (self.check(of)?, self.check(at)?);
                match kind {
                    Type::List | Type::Map | Type::Any => {
                        Ok((Node::Index(Box::new(of_node), Box::new(at_node)), Type::Any))
                    }
                    other => self.refuse(of, format!("{} has no elements", other.name())),
                }
            }
            (operators::NEGATE, [of]) => {
                let of = self.of_type(of, Type::Number, "what - is about")?;
                Ok((Node::Negate(Box::new(of)), Type::Number))
            }
            ("size", [of]) => self.size(of),
            ("has", [of]) => self.has(of),
            (_, [a, b]) if order(name).is_some() || arithmetic(name).is_some() => self.binary(part, name, a, b),
            _ => self.refuse(part, format!("unknown function {name}(); known: {FUNCTIONS}")),
        }
    }

    fn binary(&mut self, part: &IdedExpr, name: &str, a: &IdedExpr, b: &IdedExpr) -> Result<Typed, Refused> {
        let ((a, first), (b, second)) = (self.check(a)?, self.check(b)?);
        let texts = order(name).is_some() || name == operators::ADD;
        let fits = |kind: Type| matches!(kind, Type::Any | Type::Number) || texts && kind == Type::Text;
        if !fits(first) || !fits(second) || !first.may_be(second) {
            let reason = format!("{} and {} do not go together here", first.name(), second.name());
            return self.refuse(part, reason);
        }
        let sides = Box::new([a, b]);
        Ok(match (order(name), arithmetic(name)) {
            (Some(order), _) => (Node::Order(order, sides), Type::Bool),
            (None, Some(operation)) => (
                Node::Arithmetic(operation, sides),
                if first == Type::Any { second } else { first },
            ),
            (None, None) => return self.refuse(part, "is not supported"),
        })
    }

    fn method(&mut self, part: &IdedExpr, target: &IdedExpr, name: &str, args: &[IdedExpr]) -> Result<Typed, Refused> {
        let test = match name {
            "contains" => Some(TextTest::Contains),
            "startsWith" => Some(TextTest::StartsWith),
            "endsWith" => Some(TextTest::EndsWith),
            _ => None,
        };
        match (name, args, test) {
            (_, [other], Some(test)) => {
                let text = self.of_type(target, Type::Text, "the value before the dot")?;
                let other = self.of_type(other, Type::Text, "the text to look for")?;
                Ok((Node::Text(test, Box::new([text, other])), Type::Bool))
            }
            ("matches", [pattern], None) => {
                let text = self.of_type(target, Type::Text, "the value before the dot")?;
                let Expr::Literal(LiteralValue::String(source)) = &pattern.expr else {
                    return self.refuse(pattern, "a regular expression must be written here, as a string");
                };
                let regex = RegexBuilder::new(source.inner()).size_limit(MAX_REGEX_BYTES).build();
                match regex {
                    Ok(regex) => Ok((Node::Matches(Box::new(text), Box::new(regex)), Type::Bool)),
                    Err(error) => self.refuse(pattern, format!("is no regular expression: {error}")),
                }
            }
            ("size", [], None) => self.size(target),
            ("all" | "exists" | "exists_one", [element, body], None) => {
                self.quantified(part, name, target, element, body)
            }
            ("map" | "filter", ..) => {
                let reason =
                    format!("{name}() is not supported: a rule only asks whether, with all, exists, exists_one");
                self.refuse(part, reason)
            }
            _ => self.refuse(part, format!("unknown function {name}(); known: {FUNCTIONS}")),
        }
    }

    fn size(&mut self, of: &IdedExpr) -> Result<Typed, Refused> {
        let (node, kind) = self.check(of)?;
        match kind {
            Type::Text | Type::List | Type::Map | Type::Any => Ok((Node::Size(Box::new(node)), Type::Number)),
            other => self.refuse(of, format!("{} has no size", other.name())),
        }
    }
}

fn constant(literal: &LiteralValue) -> Option<Typed> {
    let (value, kind) = match literal {
        LiteralValue::Boolean(truth) => (Value::Bool(*truth.inner()), Type::Bool),
        LiteralValue::Double(number) => (Value::Double(*number.inner()), Type::Number),
        LiteralValue::Int(number) => (Value::Int((*number.inner()).into()), Type::Number),
        LiteralValue::UInt(number) => (Value::Int((*number.inner()).into()), Type::Number),
        LiteralValue::Null => (Value::Null, Type::Null),
        LiteralValue::String(text) => (Value::Text(Cow::Owned(text.inner().to_owned())), Type::Text),
        LiteralValue::Bytes(_) => return None,
    };
    Some((Node::Constant(value), kind))
}

/// Finds which claims are read: of `jwt.claims.a.b` the path `a`, `b`.
fn claims(part: &IdedExpr, found: &mut Vec<Vec<Arc<str>>>) {
    if let Some(path) = claim(part) {
        if !found.contains(&path) {
            found.push(path);
        }
        return;
    }
    match &part.expr {
        Expr::Call(call) => call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .for_each(|part| claims(part, found)),
        Expr::Select(select) => claims(&select.operand, found),
        Expr::List(list) => list.elements.iter().for_each(|part| claims(part, found)),
        // Refused when they are checked.
        Expr::Map(_) | Expr::Struct(_) | Expr::Comprehension(_) => {}
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
}

/// The path of the claim that an expression spells; empty for all of them.
fn claim(part: &IdedExpr) -> Option<Vec<Arc<str>>> {
    match &part.expr {
        Expr::Select(select) => match &select.operand.expr {
            Expr::Ident(group) => (group == "jwt" && select.field == "claims").then(Vec::new),
            _ => {
                let mut path = claim(&select.operand)?;
                path.push(select.field.as_str().into());
                Some(path)
            }
        },
        Expr::Call(call) if call.func_name == operators::INDEX => {
            let [of, at] = &*call.args else { return None };
            let Expr::Literal(LiteralValue::String(key)) = &at.expr else {
                return None;
            };
            let mut path = claim(of)?;
            path.push(key.inner().into());
            Some(path)
        }
        _ => None,
    }
}

fn order(name: &str) -> Option<Order> {
    Some(match name {
        operators::LESS => Order::Less,
        operators::LESS_EQUALS => Order::LessOrEqual,
        operators::GREATER => Order::Greater,
        operators::GREATER_EQUALS => Order::GreaterOrEqual,
        _ => return None,
    })
}

fn arithmetic(name: &str) -> Option<Arithmetic> {
    Some(match name {
        operators::ADD => Arithmetic::Add,
        operators::SUBSTRACT => Arithmetic::Subtract,
        operators::MULTIPLY => Arithmetic::Multiply,
        operators::DIVIDE => Arithmetic::Divide,
        operators::MODULO => Arithmetic::Remainder,
        _ => return None,
    })
}
