//! What an expression can ask for, by name.

use super::{Fault, Value, node::Type};

/// A variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variable {
    /// `request.method`: the HTTP method.
    HttpMethod,
    /// `mcp.method`: the JSON-RPC method.
    Method,
    /// `mcp.server`: the server, as `namespace/name`.
    Server,
    /// `mcp.tool`: the tool, by the server's own name; empty where the call is about none. So are the next two.
    Tool,
    /// `mcp.prompt`.
    Prompt,
    /// `mcp.resource`: its URI.
    Resource,
    /// `mcp.arguments`: an object, empty where there is none.
    Arguments,
    /// `identity.workload`, as `namespace/name`; empty where the kernel attests none.
    Workload,
    /// `identity.namespace`: of the ServiceAccount; empty where there is none. So is the next.
    Namespace,
    /// `identity.serviceAccount`: its name in its namespace.
    ServiceAccount,
    /// `identity.principal`.
    Principal,
    /// `jwt.claims`: an object, empty without a token.
    Claims,
    /// `source.executable`; empty where it is not known.
    Executable,
    /// `source.pid`; 0 where it is not known.
    Pid,
}

/// The values of the variables at one call.
pub trait Variables {
    /// The value of one. [`Fault::Unknown`] where it is not known yet.
    fn value(&self, variable: Variable) -> Result<Value<'_>, Fault>;
}

/// No call: for what is known without one.
pub(super) struct Nothing;

impl Variables for Nothing {
    fn value(&self, _: Variable) -> Result<Value<'_>, Fault> {
        Err(Fault::Unknown)
    }
}

type Group = (&'static str, &'static [(&'static str, Variable, Type)]);

/// Every variable, by its two names.
pub(super) const VARIABLES: [Group; 5] = {
    use Type::{Map, Number, Text};
    use Variable as V;
    [
        ("request", &[("method", V::HttpMethod, Text)]),
        (
            "mcp",
            &[
                ("method", V::Method, Text),
                ("server", V::Server, Text),
                ("tool", V::Tool, Text),
                ("prompt", V::Prompt, Text),
                ("resource", V::Resource, Text),
                ("arguments", V::Arguments, Map),
            ],
        ),
        (
            "identity",
            &[
                ("workload", V::Workload, Text),
                ("namespace", V::Namespace, Text),
                ("serviceAccount", V::ServiceAccount, Text),
                ("principal", V::Principal, Text),
            ],
        ),
        ("jwt", &[("claims", V::Claims, Map)]),
        (
            "source",
            &[("executable", V::Executable, Text), ("pid", V::Pid, Number)],
        ),
    ]
};
