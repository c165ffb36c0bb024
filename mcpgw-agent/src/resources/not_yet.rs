//! What the schema knows and the agent cannot do yet. It is refused rather than ignored: who asks for TLS must not
//! get a plain connection.

use std::sync::Arc;

use super::{Desired, Mode, Pin, Problem};

/// What of these resources cannot be done yet.
pub fn not_yet(desired: &Desired) -> Vec<Problem> {
    let problem = |object: String, field: &str| Problem {
        file: Arc::from("configuration"),
        line: 0,
        column: 0,
        object,
        field: field.to_owned(),
        reason: "not supported yet".to_owned(),
    };
    let pinned = desired.servers.iter().filter(|server| server.pin != Pin::Off);
    let observed = desired
        .workloads
        .iter()
        .filter(|workload| workload.mode == Mode::Observe);
    let pinned = pinned.map(|server| problem(format!("MCPServer {}", server.name), "spec.pin"));
    let observed = observed.map(|workload| problem(format!("Workload {}", workload.name), "spec.mode: observe"));
    pinned.chain(observed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::{ObjectName, Server};

    #[test]
    fn what_cannot_be_done_is_named_and_all_else_passes() {
        let name = ObjectName {
            namespace: "tools".into(),
            name: "calc".into(),
        };
        let plain = Server::at(name, vec![]);
        let pinned = Server {
            pin: Pin::Enforce,
            ..plain.clone()
        };
        let of = |server: &Server| {
            not_yet(&Desired {
                servers: vec![Arc::new(server.clone())],
                ..Desired::default()
            })
        };
        assert_eq!(of(&plain), []);
        let lines: Vec<String> = of(&pinned).iter().map(Problem::to_string).collect();
        assert_eq!(
            lines,
            ["configuration: MCPServer tools/calc: spec.pin: not supported yet"]
        );
    }
}
