//! One document: which API, which kind, what name; the rest is the kind's.

use std::sync::Arc;

use super::{
    Labels, ObjectName, catalog,
    fields::{Field, Fields, Schema, Sink},
    labels, name, namespace,
    policy::{self, Scope},
    problem::{At, Problem, quote},
    server, settings, workload,
    yaml::{Node, Value},
};

/// The API group and version that every document names.
pub const API_VERSION: &str = "mcpgw.dev/v1alpha1";

const DEFAULT_NAMESPACE: &str = "default";
const KINDS: &str = "MCPServer, MCPPolicy, ClusterMCPPolicy, MCPCatalog, Workload, ClusterMCPSettings, Namespace";
/// The one kind of which there is only one.
const SETTINGS: &str = "ClusterMCPSettings";

const DOCUMENT: Schema = Schema {
    known: &["apiVersion", "kind", "metadata", "spec"],
    later: &[],
};
const METADATA: Schema = Schema {
    known: &["name", "namespace", "labels"],
    later: &["annotations"],
};

/// A resource and where it stands.
pub(super) struct Document {
    pub origin: Origin,
    /// `None` when something is wrong with it, which is then reported: its name still counts.
    pub resource: Option<Resource>,
}

/// Where a resource stands, for what only all of them together can show.
#[derive(Clone)]
pub(super) struct Origin {
    pub file: Arc<str>,
    /// Its name's place.
    pub at: At,
    /// Kind and name, as messages show them.
    pub object: String,
}

impl Origin {
    /// The place of its name.
    pub fn spot(&self) -> Spot {
        Spot {
            at: self.at,
            path: "metadata.name".to_owned(),
        }
    }

    pub fn report(&self, spot: &Spot, reason: String, problems: &mut Vec<Problem>) {
        Sink {
            file: &self.file,
            object: self.object.clone(),
            problems,
        }
        .report(spot.at, &spot.path, reason);
    }
}

/// The place of a field that may turn out to conflict with another resource.
#[derive(Clone)]
pub(super) struct Spot {
    pub at: At,
    pub path: String,
}

impl From<&Field<'_>> for Spot {
    fn from(field: &Field) -> Self {
        Self {
            at: field.node.at,
            path: field.path.clone(),
        }
    }
}

pub(super) enum Resource {
    Server(server::Parsed),
    Workload(workload::Parsed),
    Policy(policy::Parsed),
    Catalog(catalog::Parsed),
    Settings(super::Settings),
    Namespace(Arc<str>, Labels),
}

/// Reads a document, and reports what is wrong with it. `None` when it doesn't even say what it is.
pub(super) fn read(file: &Arc<str>, node: &Node, problems: &mut Vec<Problem>) -> Option<Document> {
    let before = problems.len();
    let mut sink = Sink {
        file,
        object: String::new(),
        problems,
    };
    if says(node, "kind", namespace::KIND) {
        return namespace(node, sink);
    }
    let fields = Field::root(node).fields(&DOCUMENT, &mut sink)?;
    check_api_version(&fields, API_VERSION, &mut sink);
    let kind_field = fields.required("kind", &mut sink)?;
    let kind = kind_field.text(&mut sink)?;
    let cluster_scoped = match kind {
        "MCPServer" | "MCPPolicy" | "MCPCatalog" | "Workload" => false,
        "ClusterMCPPolicy" | SETTINGS => true,
        unknown => {
            kind_field.report(&mut sink, format!("unknown kind {}; known: {KINDS}", quote(unknown)));
            return None;
        }
    };
    sink.object = object(kind, cluster_scoped, node);
    let metadata = metadata(&fields, kind, cluster_scoped, &mut sink);
    let spec = fields.required("spec", &mut sink);
    // The spec of a resource without a valid name is checked as well: all at once is kinder than one by one.
    let nameless = ObjectName {
        namespace: DEFAULT_NAMESPACE.into(),
        name: "".into(),
    };
    let Metadata { name, at, labels } = metadata.clone().unwrap_or(Metadata {
        name: nameless,
        at: node.at,
        labels: Labels::new(),
    });
    let resource = spec.and_then(|spec| match kind {
        "MCPServer" => server::read(name, labels, &spec, &mut sink).map(Resource::Server),
        "MCPPolicy" => policy::read(name, Scope::Namespace, &spec, &mut sink).map(Resource::Policy),
        "ClusterMCPPolicy" => policy::read(name, Scope::Cluster, &spec, &mut sink).map(Resource::Policy),
        "MCPCatalog" => catalog::read(name, &spec, &mut sink).map(Resource::Catalog),
        "Workload" => workload::read(name, &spec, &mut sink).map(Resource::Workload),
        _ => settings::read(&spec, &mut sink).map(Resource::Settings),
    });
    let origin = Origin {
        file: file.clone(),
        at,
        object: sink.object,
    };
    let resource = resource.filter(|_| problems.len() == before);
    metadata.map(|_| Document { origin, resource })
}

/// The one kind that is not ours.
fn namespace(node: &Node, mut sink: Sink) -> Option<Document> {
    let before = sink.problems.len();
    sink.object = object(namespace::KIND, true, node);
    let fields = Field::root(node).fields(&namespace::DOCUMENT, &mut sink)?;
    check_api_version(&fields, namespace::API_VERSION, &mut sink);
    let metadata = fields.required("metadata", &mut sink)?;
    let namespace::Parsed { name, at, labels } = namespace::read(&metadata, &mut sink)?;
    let resource = labels.map(|labels| Resource::Namespace(name, labels));
    let resource = resource.filter(|_| sink.problems.len() == before);
    let origin = Origin {
        file: sink.file.clone(),
        at,
        object: sink.object,
    };
    Some(Document { origin, resource })
}

fn check_api_version(fields: &Fields, wanted: &str, sink: &mut Sink) {
    let Some(field) = fields.required("apiVersion", sink) else {
        return;
    };
    let Some(text) = field.text(sink) else { return };
    if text != wanted {
        field.report(sink, format!("{} is not supported; write \"{wanted}\"", quote(text)));
    }
}

/// What messages call the resource, from names that are not checked yet.
fn object(kind: &str, cluster_scoped: bool, document: &Node) -> String {
    let metadata = child(document, "metadata");
    let text = |key: &str| match &child(metadata?, key)?.value {
        Value::Text(text) if text.len() <= name::MAX_SUBDOMAIN && text.chars().all(|c| c.is_ascii_graphic()) => {
            Some(text)
        }
        _ => None,
    };
    match (text("name"), text("namespace")) {
        (Some(name), _) if cluster_scoped => format!("{kind} {name}"),
        (Some(name), Some(namespace)) => format!("{kind} {namespace}/{name}"),
        (Some(name), None) => format!("{kind} {DEFAULT_NAMESPACE}/{name}"),
        _ => kind.to_owned(),
    }
}

fn says(document: &Node, key: &str, wanted: &str) -> bool {
    matches!(child(document, key), Some(Node { value: Value::Text(text), .. }) if text == wanted)
}

fn child<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let Value::Map(entries) = &node.value else { return None };
    let is_key = |name: &Node| matches!(&name.value, Value::Text(text) if text == key);
    entries.iter().find(|(name, _)| is_key(name)).map(|(_, value)| value)
}

/// What `metadata` says.
#[derive(Clone)]
struct Metadata {
    name: ObjectName,
    /// Where the name stands.
    at: At,
    labels: Labels,
}

fn metadata(fields: &Fields, kind: &str, cluster_scoped: bool, sink: &mut Sink) -> Option<Metadata> {
    let metadata = fields.required("metadata", sink)?.fields(&METADATA, sink)?;
    let name_field = metadata.required("name", sink)?;
    let name = name::name(&name_field, sink)?;
    let namespace = match metadata.optional("namespace") {
        Some(field) if cluster_scoped => {
            field.report(sink, "this kind is cluster-scoped: leave the namespace out");
            return None;
        }
        Some(field) => name::namespace(&field, sink)?,
        // What belongs to the cluster is in no namespace.
        None if cluster_scoped && kind != SETTINGS => "",
        None => DEFAULT_NAMESPACE,
    };
    let labels = match metadata.optional("labels") {
        Some(field) => labels::read(&field, sink)?,
        None => Labels::new(),
    };
    if kind == SETTINGS && name != "default" {
        name_field.report(
            sink,
            format!(
                "{} is not \"default\", the one name that settings can have",
                quote(name)
            ),
        );
        return None;
    }
    Some(Metadata {
        name: ObjectName {
            namespace: namespace.into(),
            name: name.into(),
        },
        at: name_field.node.at,
        labels,
    })
}
