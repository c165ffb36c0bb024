//! An expression is refused or compiled, and what is compiled has one answer for each call, within its budget. The
//! input: a line of arguments, then the expression.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpgw_agent::expression::{Expression, Fault, Value, Variable, Variables};
use serde_json::{Map, Value as Json};

/// A call with these arguments, of a caller with a token that says the same.
struct Call(Map<String, Json>);

impl Variables for Call {
    fn value(&self, variable: Variable) -> Result<Value<'_>, Fault> {
        Ok(match variable {
            Variable::Arguments | Variable::Claims => Value::Object(&self.0),
            Variable::Pid => Value::Int(1),
            _ => Value::text("tools/call"),
        })
    }
}

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some((arguments, source)) = text.split_once('\n') else {
        return;
    };
    let Ok(expression) = Expression::compile(source) else {
        return;
    };
    assert_eq!(expression.source(), source);
    // Whoever says that anything fits hears no more than was found out at the beginning.
    assert!(expression.can_hold(|_| true).is_ok());
    let Ok(arguments) = serde_json::from_str(arguments) else {
        return;
    };
    let call = Call(arguments);
    let answer = || format!("{:?}", expression.holds(&call));
    assert_eq!(answer(), answer());
});
