//! What a rule wants of a tool's annotations. They only ever restrict: what is not known of a tool is the worst, and
//! no rule can allow the worst by name.

use super::{
    Action, Annotated,
    fields::{Field, Schema, Sink},
};
use crate::mcp::annotations::Hints;

const ANNOTATIONS: Schema = Schema {
    known: &["readOnly", "destructive", "idempotent", "openWorld"],
    later: &[],
};

/// Reads the annotations at `field`, of a rule that does this.
pub(super) fn read(field: &Field, action: Action, sink: &mut Sink) -> Option<Annotated> {
    let fields = field.fields(&ANNOTATIONS, sink)?;
    let worst = Hints::default();
    let mut hint = |name: &str, worst: bool| {
        let field = fields.optional(name)?;
        let wanted = field.flag(sink)?;
        let sensible = match action {
            Action::Allow => !worst,
            Action::Deny => worst,
        };
        if wanted == sensible {
            return Some(wanted);
        }
        let reason = match action {
            Action::Allow => format!(
                "must be {sensible} in a rule that allows: annotations only ever restrict, and a tool of which nothing \
                 is known counts as the worst; leave it out to allow both"
            ),
            Action::Deny => format!(
                "must be {sensible} in a rule that denies: annotations only ever restrict, and what a server says to \
                 seem harmless denies nothing"
            ),
        };
        field.report(sink, reason);
        None
    };
    let annotated = Annotated {
        read_only: hint("readOnly", worst.read_only),
        destructive: hint("destructive", worst.destructive),
        idempotent: hint("idempotent", worst.idempotent),
        open_world: hint("openWorld", worst.open_world),
    };
    if !ANNOTATIONS.known.iter().any(|name| fields.has(name)) {
        let known = ANNOTATIONS.known.join(", ");
        fields.report(
            sink,
            format!("must name one of {known}; leave annotations out to mean every tool"),
        );
    }
    Some(annotated)
}
