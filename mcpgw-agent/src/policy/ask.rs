//! What is asked: by whom, what for, with which arguments.

use std::{cell::OnceCell, sync::LazyLock};

use serde_json::{Map, Value as Json};

use crate::{
    expression::{Failure, Fault, Value, Variable, Variables},
    identity::Caller,
    mcp::{
        annotations::Annotations,
        governed::{Governed, Kind},
        part::Part,
    },
};

/// Size of arguments that rules look into, in bytes; what is larger fails to be evaluated, and so is not allowed.
pub const MAX_ARGUMENTS: usize = 256 * 1024;

static EMPTY: LazyLock<Map<String, Json>> = LazyLock::new(Map::new);

/// A request that is to be decided.
pub struct Ask<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// The JSON-RPC method.
    pub method: &'a str,
    /// What it is about.
    pub kind: Kind,
    /// The server's own name for that.
    pub name: &'a str,
    /// What the server says of it, where it is a tool.
    pub annotations: Annotations,
    /// With which arguments.
    pub arguments: Arguments<'a>,
}

impl<'a> Ask<'a> {
    /// A request as it came.
    pub fn new(
        caller: &'a Caller,
        governed: Governed<'a>,
        annotations: Annotations,
        arguments: Option<Part<'a>>,
    ) -> Self {
        let Governed { method, kind, name } = governed;
        Self {
            caller,
            method,
            kind,
            name,
            annotations,
            arguments: Arguments::given(arguments),
        }
    }

    /// Whether something could be asked for, whatever the arguments: so that it may be shown.
    pub fn whether(caller: &'a Caller, kind: Kind, name: &'a str, annotations: Annotations) -> Self {
        Self {
            caller,
            method: kind.main_method(),
            kind,
            name,
            annotations,
            arguments: Arguments::unknown(),
        }
    }
}

/// The arguments of a request, read when a rule first asks for them.
pub struct Arguments<'a> {
    given: Given<'a>,
    read: OnceCell<Result<Json, String>>,
}

enum Given<'a> {
    /// They are not known yet.
    Unknown,
    /// There are none.
    Nothing,
    /// As they were written.
    Written(Part<'a>),
}

impl<'a> Arguments<'a> {
    /// Those of a request, as they were written.
    pub fn given(written: Option<Part<'a>>) -> Self {
        Self {
            given: match written {
                Some(part) if !part.is_null() => Given::Written(part),
                _ => Given::Nothing,
            },
            read: OnceCell::new(),
        }
    }

    /// Whatever they will be.
    pub fn unknown() -> Self {
        Self {
            given: Given::Unknown,
            read: OnceCell::new(),
        }
    }

    pub(super) fn are_known(&self) -> bool {
        !matches!(self.given, Given::Unknown)
    }

    #[cfg(test)]
    pub(super) fn were_read(&self) -> bool {
        self.read.get().is_some()
    }

    fn value(&self) -> Result<Value<'_>, Fault> {
        let part = match &self.given {
            Given::Unknown => return Err(Fault::Unknown),
            Given::Nothing => return Ok(Value::Object(&EMPTY)),
            Given::Written(part) => part,
        };
        let read = self.read.get_or_init(|| match part.get().len() {
            size if size > MAX_ARGUMENTS => Err(format!("they are {size} bytes long")),
            _ => part.value().map_err(|error| error.to_string()),
        });
        match read {
            Ok(json) => Ok(Value::of_json(json)),
            Err(reason) => Err(Failure::Arguments(reason.clone()).into()),
        }
    }
}

/// What an expression finds at a request to a server.
pub(super) struct Facts<'a> {
    pub(super) ask: &'a Ask<'a>,
    /// `namespace/name`.
    pub(super) server: &'a str,
}

impl Variables for Facts<'_> {
    fn value(&self, variable: Variable) -> Result<Value<'_>, Fault> {
        let Ask {
            caller,
            method,
            kind,
            name,
            arguments,
            annotations: _,
        } = self.ask;
        let if_kind = |wanted: Kind| if *kind == wanted { *name } else { "" };
        let account = caller.account();
        let process = caller.process.as_ref();
        Ok(match variable {
            Variable::HttpMethod => Value::text("POST"),
            Variable::Method => Value::text(*method),
            Variable::Server => Value::text(self.server),
            Variable::Tool => Value::text(if_kind(Kind::Tool)),
            Variable::Prompt => Value::text(if_kind(Kind::Prompt)),
            Variable::Resource => Value::text(if_kind(Kind::Resource)),
            Variable::Arguments => return arguments.value(),
            Variable::Workload => {
                let workload = caller.workload.as_ref();
                Value::text(workload.map_or_else(String::new, |workload| workload.workload.to_string()))
            }
            Variable::Namespace => Value::text(account.map_or("", |(namespace, _)| &**namespace)),
            Variable::ServiceAccount => Value::text(account.map_or("", |(_, name)| &**name)),
            Variable::Principal => Value::text(caller.principal()),
            Variable::Claims => Value::Object(caller.token.as_ref().map_or(&EMPTY, |token| &token.claims)),
            Variable::Executable => {
                let executable = process.and_then(|process| process.executable.as_ref());
                Value::text(executable.map_or_else(String::new, |path| path.to_string_lossy().into_owned()))
            }
            Variable::Pid => Value::Int(process.map_or(0, |process| process.pid.into())),
        })
    }
}
