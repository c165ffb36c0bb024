//! `MCPCatalog`: a virtual server, made of others.

use super::{
    Catalog, CatalogServer, ObjectName,
    bounds::MAX_CATALOG_SERVERS,
    document::Spot,
    fields::{Field, Schema, Sink},
    globs, name,
    problem::quote,
};

const SPEC: Schema = Schema {
    known: &["servers"],
    later: &["selector"],
};
const SERVER: Schema = Schema {
    known: &["name", "tools"],
    later: &["prompts", "resources"],
};
const TOOLS: Schema = Schema {
    known: &["include", "exclude"],
    later: &[],
};

/// A catalog, and where the names of its servers stand (in their order).
pub(super) struct Parsed {
    pub catalog: Catalog,
    pub spots: Vec<Spot>,
}

pub(super) fn read(name: ObjectName, spec: &Field, sink: &mut Sink) -> Option<Parsed> {
    let spec = spec.fields(&SPEC, sink)?;
    let advice = "a catalog needs one server at least";
    let list = spec
        .required("servers", sink)?
        .list(MAX_CATALOG_SERVERS, advice, sink)?;
    let mut parsed = Parsed {
        catalog: Catalog {
            name,
            servers: Vec::new(),
        },
        spots: Vec::new(),
    };
    for field in &list {
        entry(field, &mut parsed, sink);
    }
    Some(parsed)
}

/// Reads one server, and adds it.
fn entry(field: &Field, parsed: &mut Parsed, sink: &mut Sink) -> Option<()> {
    let fields = field.fields(&SERVER, sink)?;
    let (include, exclude) = match fields.optional("tools") {
        Some(tools) => {
            let tools = tools.fields(&TOOLS, sink)?;
            (
                globs::list(&tools, "include", "leave include out to offer every tool", sink),
                globs::list(&tools, "exclude", "leave exclude out to leave no tool out", sink),
            )
        }
        None => Default::default(),
    };
    let name_field = fields.required("name", sink)?;
    let name = name::name(&name_field, sink)?;
    let Parsed { catalog, spots } = parsed;
    if catalog.servers.iter().any(|entry| *entry.server.name == *name) {
        name_field.report(sink, format!("{} is listed twice", quote(name)));
        return None;
    }
    catalog.servers.push(CatalogServer {
        server: ObjectName {
            namespace: catalog.name.namespace.clone(),
            name: name.into(),
        },
        include,
        exclude,
    });
    spots.push(Spot::from(&name_field));
    Some(())
}
