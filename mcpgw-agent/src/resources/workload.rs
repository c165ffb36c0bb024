//! `Workload`: whom to govern. Standalone only; in Kubernetes these are pods.

use super::{
    Mode, NetworkNamespace, ObjectName, Workload,
    document::Spot,
    fields::{Field, Schema, Sink},
    name, path,
    problem::quote,
    yaml::Value,
};

const DEFAULT_SERVICE_ACCOUNT: &str = "default";

const MODES: [(&str, Mode); 3] = [
    ("enforce", Mode::Enforce),
    ("observe", Mode::Observe),
    ("off", Mode::Off),
];

const SPEC: Schema = Schema {
    known: &["serviceAccount", "cgroup", "networkNamespace", "mode"],
    later: &["failurePolicy", "allowHostNetwork"],
};
const NETWORK_NAMESPACE: Schema = Schema {
    known: &["path", "ofCgroup"],
    later: &[],
};
const OF_CGROUP: Schema = Schema { known: &[], later: &[] };

/// A workload, and where its cgroup stands.
pub(super) struct Parsed {
    pub workload: Workload,
    pub cgroup_spot: Spot,
}

pub(super) fn read(name: ObjectName, spec: &Field, sink: &mut Sink) -> Option<Parsed> {
    let spec = spec.fields(&SPEC, sink)?;
    let service_account = match spec.optional("serviceAccount") {
        Some(field) => name::name(&field, sink),
        None => Some(DEFAULT_SERVICE_ACCOUNT),
    };
    let network_namespace = match spec.optional("networkNamespace") {
        Some(field) => network_namespace(&field, sink),
        None => Some(NetworkNamespace::OfCgroup),
    };
    let mode = spec
        .required("mode", sink)
        .and_then(|field| field.choice(&MODES, &[], sink));
    let cgroup_field = spec.required("cgroup", sink)?;
    let workload = Workload {
        name,
        cgroup: path::cgroup(&cgroup_field, sink)?,
        service_account: service_account?.into(),
        network_namespace: network_namespace?,
        mode: mode?,
    };
    Some(Parsed {
        workload,
        cgroup_spot: Spot::from(&cgroup_field),
    })
}

fn network_namespace(field: &Field, sink: &mut Sink) -> Option<NetworkNamespace> {
    if let Value::Text(path) = &field.node.value {
        field.report(
            sink,
            format!("must be a mapping, but is a string: write {{path: {}}}", quote(path)),
        );
        return None;
    }
    let fields = field.fields(&NETWORK_NAMESPACE, sink)?;
    match (fields.optional("path"), fields.optional("ofCgroup")) {
        (Some(path), None) => path::network_namespace(&path, sink).map(NetworkNamespace::Path),
        (None, Some(of_cgroup)) => of_cgroup.fields(&OF_CGROUP, sink).map(|_| NetworkNamespace::OfCgroup),
        _ => {
            fields.report(sink, "must have one of: path, ofCgroup (written \"ofCgroup: {}\")");
            None
        }
    }
}
