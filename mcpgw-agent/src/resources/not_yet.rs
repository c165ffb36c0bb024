//! What the schema knows and the agent cannot do yet. It is refused rather than ignored: who asks to be observed must
//! not be governed.

use std::sync::Arc;

use super::{Desired, Mode, Problem};

/// What of these resources cannot be done yet.
pub fn not_yet(desired: &Desired) -> Vec<Problem> {
    let observed = desired
        .workloads
        .iter()
        .filter(|workload| workload.mode == Mode::Observe);
    let problem = |object: String| Problem {
        file: Arc::from("configuration"),
        line: 0,
        column: 0,
        object,
        field: "spec.mode: observe".to_owned(),
        reason: "not supported yet".to_owned(),
    };
    observed
        .map(|workload| problem(format!("Workload {}", workload.name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::{NetworkNamespace, ObjectName, Workload};

    #[test]
    fn what_cannot_be_done_is_named_and_all_else_passes() {
        let workload = |mode| {
            Arc::new(Workload {
                name: ObjectName {
                    namespace: "agents".into(),
                    name: "ci".into(),
                },
                service_account: "ci".into(),
                cgroup: "/agents/ci".into(),
                network_namespace: NetworkNamespace::OfCgroup,
                mode,
            })
        };
        let of = |mode| {
            let desired = Desired {
                workloads: vec![workload(mode)],
                ..Desired::default()
            };
            not_yet(&desired).iter().map(Problem::to_string).collect::<Vec<_>>()
        };
        assert!(of(Mode::Enforce).is_empty() && of(Mode::Off).is_empty());
        assert_eq!(
            of(Mode::Observe),
            ["configuration: Workload agents/ci: spec.mode: observe: not supported yet"]
        );
    }
}
