//! What is known before any call: parts of an expression without variables.

use std::borrow::Cow;

use super::{Fault, Refused, Value, eval, node::Node};

/// The tree with what is known in place of how it is found. What cannot be evaluated without a call cannot be with
/// one: that is refused.
pub(super) fn fold(node: Node) -> Result<Node, Refused> {
    let node = match node {
        Node::And(a, b) => return sides(*a, *b, false),
        Node::Or(a, b) => return sides(*a, *b, true),
        Node::Not(of) => Node::Not(Box::new(fold(*of)?)),
        Node::Choose(nodes) => {
            let [condition, yes, no] = *nodes;
            match (fold(condition)?, fold(yes)?, fold(no)?) {
                (Node::Constant(Value::Bool(true)), yes, _) => return Ok(yes),
                (Node::Constant(Value::Bool(false)), _, no) => return Ok(no),
                nodes => Node::Choose(Box::new(nodes.into())),
            }
        }
        other => other,
    };
    let value = match eval::constant(&node) {
        Ok(value) => owned(value),
        Err(Fault::Unknown) => None,
        Err(Fault::Failed(failure)) => return Err(Refused::whole(format!("always fails: {failure}"))),
    };
    Ok(value.map_or(node, Node::Constant))
}

fn sides(a: Node, b: Node, settles: bool) -> Result<Node, Refused> {
    let (a, b) = (fold(a)?, fold(b)?);
    let truth = |node: &Node| match node {
        Node::Constant(Value::Bool(truth)) => Some(*truth),
        _ => None,
    };
    Ok(match (truth(&a), truth(&b)) {
        (Some(truth), _) | (_, Some(truth)) if truth == settles => Node::Constant(Value::Bool(settles)),
        (Some(_), _) => b,
        (_, Some(_)) => a,
        (None, None) if settles => Node::Or(Box::new(a), Box::new(b)),
        (None, None) => Node::And(Box::new(a), Box::new(b)),
    })
}

/// A value that stands by itself.
fn owned(value: Value<'_>) -> Option<Value<'static>> {
    Some(match value {
        Value::Null => Value::Null,
        Value::Bool(truth) => Value::Bool(truth),
        Value::Int(whole) => Value::Int(whole),
        Value::Double(number) => Value::Double(number),
        Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
        Value::List(elements) => Value::List(elements.into_iter().map(owned).collect::<Option<_>>()?),
        // Without a call there is no JSON.
        Value::Array(_) | Value::Object(_) => return None,
    })
}
