//! What the schema knows and the agent cannot do yet. It is refused rather than ignored: who asks for TLS must not
//! get a plain connection.

use std::sync::Arc;

use super::{Backend, Capture, Desired, Mode, Problem, Server};

/// What of these resources cannot be done yet.
pub fn not_yet(desired: &Desired) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut report = |object: String, field: &str| {
        problems.push(Problem {
            file: Arc::from("configuration"),
            line: 0,
            column: 0,
            object,
            field: field.to_owned(),
            reason: "not supported yet".to_owned(),
        });
    };
    for server in &desired.servers {
        for field in of_server(server) {
            report(format!("MCPServer {}", server.name), field);
        }
    }
    for workload in desired
        .workloads
        .iter()
        .filter(|workload| workload.mode == Mode::Observe)
    {
        report(format!("Workload {}", workload.name), "spec.mode: observe");
    }
    problems
}

fn of_server(server: &Server) -> impl Iterator<Item = &'static str> {
    // What a name resolves to is dialled by the gateway, and not governed yet.
    let host = matches!(server.backend, Backend::Host { .. });
    let found = [(host && server.capture != Capture::Off, "spec.capture of a host")];
    found.into_iter().filter_map(|(asked, field)| asked.then_some(field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::ObjectName;

    #[test]
    fn what_cannot_be_done_is_named_and_all_else_passes() {
        let name = ObjectName {
            namespace: "tools".into(),
            name: "calc".into(),
        };
        let plain = Server::at(name, vec![]);
        let captured = Server {
            backend: Backend::Host {
                name: "calc.example".into(),
                port: 80,
                h2c: false,
            },
            ..plain.clone()
        };
        let of = |server: &Server| {
            not_yet(&Desired {
                servers: vec![Arc::new(server.clone())],
                ..Desired::default()
            })
        };
        assert_eq!(of(&plain), []);
        let lines: Vec<String> = of(&captured).iter().map(Problem::to_string).collect();
        assert_eq!(
            lines,
            ["configuration: MCPServer tools/calc: spec.capture of a host: not supported yet",]
        );
    }
}
