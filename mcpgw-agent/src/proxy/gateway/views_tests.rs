use std::time::SystemTime;

use super::*;
use crate::{
    discovery::{Capabilities, Catalogue, Speaks},
    resources::{CatalogServer, Desired, Expose, ObjectName, Server},
};

fn name(name: &str) -> ObjectName {
    ObjectName {
        namespace: "tools".into(),
        name: name.into(),
    }
}

/// Of a server that says this of itself.
fn catalogue(instructions: &str) -> Arc<Catalogue> {
    Arc::new(Catalogue {
        speaks: Speaks::default(),
        features: Capabilities::default(),
        extensions: Default::default(),
        instructions: Some(instructions.to_owned()),
        tools: Vec::new().into(),
        prompts: Vec::new(),
        resources: Vec::new(),
        templates: Vec::new(),
        templates_left_out: 0,
        fetched: SystemTime::UNIX_EPOCH,
        is_private: false,
        ttl: None,
    })
}

/// Two servers, and a catalog with each of them alone.
struct World {
    plan: Plan,
    catalogs: [Arc<Catalog>; 2],
    caller: Caller,
    views: Views,
}

impl World {
    fn new() -> Self {
        let server = |server: &str| {
            let mut server = Server::at(name(server), vec!["10.0.0.1:1".parse().unwrap()]);
            server.expose_to = Expose::Everyone;
            Arc::new(server)
        };
        let catalog = |server: &str| {
            Arc::new(Catalog {
                name: name(server),
                servers: vec![CatalogServer {
                    server: name(server),
                    include: Vec::new(),
                    exclude: Vec::new(),
                }],
            })
        };
        Self {
            plan: Plan::compile(&Desired {
                generation: 1,
                servers: ["a", "b"].map(server).to_vec(),
                ..Desired::default()
            }),
            catalogs: ["a", "b"].map(catalog),
            caller: Caller {
                workload: None,
                destination: "10.0.0.2:1".parse().unwrap(),
                client: None,
                process: None,
                token: None,
                observed: false,
            },
            views: Views::default(),
        }
    }

    /// What is seen of one server, or of both.
    fn see(&self, catalog: Option<usize>, snapshot: &Snapshot) -> Arc<View> {
        let catalog = catalog.map(|catalog| &self.catalogs[catalog]);
        let (own, pins) = (Own::default(), pins::Table::default());
        let owner = Owner::of("o");
        self.views
            .of(&self.caller, owner, catalog, &self.plan, snapshot, &own, &pins)
    }
}

fn said(view: &View) -> Vec<&str> {
    let said = view.servers.iter().map(|seen| seen.catalogue.instructions.as_deref());
    said.map(Option::unwrap).collect()
}

#[test]
fn where_one_server_changes_only_the_views_that_have_it_are_made_anew() {
    let world = World::new();
    let nothing = Snapshot::default();
    let first = nothing
        .with(&name("a"), &catalogue("a1"))
        .with(&name("b"), &catalogue("b1"));
    let [a, b, both] = [Some(0), Some(1), None].map(|catalog| world.see(catalog, &first));
    assert_eq!(
        (said(&a), said(&b), said(&both)),
        (vec!["a1"], vec!["b1"], vec!["a1", "b1"])
    );
    let second = first.with(&name("b"), &catalogue("b2"));
    assert!(
        Arc::ptr_eq(&world.see(Some(0), &second), &a),
        "it has nothing of that server"
    );
    assert_eq!(said(&world.see(Some(1), &second)), ["b2"]);
    assert_eq!(said(&world.see(None, &second)), ["a1", "b2"]);
    assert!(
        Arc::ptr_eq(&world.see(Some(0), &second), &a),
        "others were made meanwhile"
    );
    // The same again is no change.
    let same = second.with(&name("b"), &catalogue("b2"));
    assert!(Arc::ptr_eq(&world.see(None, &same), &world.see(None, &second)));
    // What is no longer known is seen no more, and what is right for nobody is not kept.
    assert_eq!(said(&world.see(None, &nothing)), Vec::<&str>::new());
    assert_eq!(world.views.made.load().views.len(), 1);
}

#[test]
fn who_needs_one_view_does_not_wait_for_another_to_be_made() {
    let world = World::new();
    let snapshot = Snapshot::default().with(&name("a"), &catalogue("a1"));
    let key = (
        world.plan.face(&world.caller),
        Some(Arc::clone(&world.catalogs[1].name.name)),
    );
    let turn = Arc::clone(lock(&world.views.making).entry(key).or_default());
    let being_made = lock(&turn);
    assert_eq!(said(&world.see(Some(0), &snapshot)), ["a1"]);
    drop(being_made);
    drop(turn);
    world.see(Some(1), &snapshot);
    assert!(lock(&world.views.making).is_empty(), "nothing is left of what was made");
}
