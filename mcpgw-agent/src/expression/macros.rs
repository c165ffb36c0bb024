//! What CEL calls macros: `has`, and whether elements of a list, or keys of an object, satisfy something.

use cel::common::ast::{Expr, IdedExpr};

use super::{
    Refused, Value,
    check::{Check, Typed},
    node::{Node, Quantifier, Type},
};

impl Check<'_> {
    /// `has(object.member)`. Of a variable: whether it is not empty.
    pub(super) fn has(&mut self, of: &IdedExpr) -> Result<Typed, Refused> {
        if !matches!(of.expr, Expr::Select(_)) {
            return self.refuse(of, "has() needs a member of an object: has(mcp.arguments.path)");
        }
        let (node, kind) = self.check(of)?;
        Ok(match (node, kind) {
            (Node::Member(of, name), _) => (Node::Has(of, name), Type::Bool),
            (text, Type::Text) => {
                let sides = Box::new([text, Node::Constant(Value::text(""))]);
                (Node::Equal { sides, negated: true }, Type::Bool)
            }
            _ => return self.refuse(of, "is always there"),
        })
    }

    pub(super) fn quantified(
        &mut self,
        part: &IdedExpr,
        name: &str,
        range: &IdedExpr,
        element: &IdedExpr,
        body: &IdedExpr,
    ) -> Result<Typed, Refused> {
        let quantifier = match name {
            "all" => Quantifier::All,
            "exists" => Quantifier::Exists,
            _ => Quantifier::ExistsOne,
        };
        let (range_node, kind) = self.check(range)?;
        if !kind.may_be(Type::List) && !kind.may_be(Type::Map) {
            return self.refuse(range, format!("{} has no elements", kind.name()));
        }
        let Expr::Ident(element) = &element.expr else {
            return self.refuse(part, format!("{name}() needs a name for the elements: {name}(x, …)"));
        };
        self.elements.push(element.clone());
        let body = self.truth(body, "what the elements satisfy");
        self.elements.pop();
        let node = Node::Quantified {
            quantifier,
            range: Box::new(range_node),
            body: Box::new(body?),
        };
        Ok((node, Type::Bool))
    }
}
