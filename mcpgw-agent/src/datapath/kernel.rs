//! The programs in the kernel: load, attach, take over from an earlier agent, remove.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    programs::{CgroupAttachMode, Program, ProgramFd, links::FdLink},
};
use mcpgw_common::layout::name;

use super::{
    DatapathError, NodeOptions,
    error::{link_io, pin_io},
    status::ProgramStatus,
    sys,
};

/// The compiled programs. Rebuilt by `cargo xtask bpf`.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/../mcpgw-ebpf/object/mcpgw.bpf.o"));

/// The programs in the order in which they are attached: those that redirect come last, so that everything
/// that a redirected connection needs is there before it.
const PROGRAMS: [&str; 7] = [
    "bind4",
    "bind6",
    "getpeername4",
    "getpeername6",
    "sock_ops",
    "connect4",
    "connect6",
];

/// The loaded programs of one node, and where they are pinned.
pub struct Kernel {
    ebpf: Ebpf,
    pins: PathBuf,
}

impl Kernel {
    /// Loads the programs. Maps that an earlier agent pinned are used on; else they are made and pinned,
    /// all or none, and taken back if the programs cannot be loaded. Nothing is attached.
    pub fn load(options: &NodeOptions) -> Result<Self, DatapathError> {
        let pins = options.pins();
        if pins.exists() {
            return load_programs(load_object(options, &pins)?, pins);
        }
        let building = options.node_pins().join("building");
        // What a start that was cut short has left.
        remove_tree(&building, &mut Vec::new());
        let published = create(&building.join("maps"))
            .and_then(|()| create(&building.join("links")))
            .and_then(|()| load_object(options, &building))
            .and_then(|ebpf| {
                fs::rename(&building, &pins).map_err(|source| DatapathError::Io {
                    action: "publish the pins",
                    path: pins.clone(),
                    source,
                })?;
                load_programs(ebpf, pins)
            });
        published.inspect_err(|_| drop(remove_pins(&options.node_pins())))
    }

    /// The object, for its log.
    pub fn ebpf_mut(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Sees to it that every program is attached to `cgroup` (whose id is `cgroup_id`) and is this agent's.
    ///
    /// A link that is there is updated, which leaves no moment without a program; one that died with its
    /// cgroup, or that is at another one, is replaced.
    pub fn attach(&mut self, cgroup: &Path, cgroup_id: u64) -> Result<(), DatapathError> {
        let directory = File::open(cgroup).map_err(|source| DatapathError::Io {
            action: "open the cgroup",
            path: cgroup.to_owned(),
            source,
        })?;
        for name in PROGRAMS {
            let pin = link_path(&self.pins, name);
            if !pin.exists() {
                self.attach_new(name, &directory, &pin)?;
                continue;
            }
            let fail = DatapathError::link("take over", name);
            let link = sys::open_pin(&pin).map_err(&fail)?;
            let info = sys::link_info(&link).map_err(&fail)?;
            let program = program_fd(&mut self.ebpf, name)?;
            if info.cgroup_id != cgroup_id {
                let replacement = link_path(&self.pins, &format!("{name}-new"));
                let _ = fs::remove_file(&replacement);
                self.attach_new(name, &directory, &replacement)?;
                // A dead link cannot be detached any more; the rename drops its pin.
                let _ = sys::link_detach(&link);
                fs::rename(&replacement, &pin).map_err(&fail)?;
            } else if info.program_id != program_id(&mut self.ebpf, name)? {
                sys::link_update(&link, &program).map_err(&fail)?;
            }
        }
        remove_other_schemas(&self.pins);
        Ok(())
    }

    fn attach_new(&mut self, name: &'static str, cgroup: &File, pin: &Path) -> Result<(), DatapathError> {
        let failed = DatapathError::program("attach", name);
        let not_a_link = |error| DatapathError::link("attach", name)(link_io(error));
        // `Single` is what a bpf_link takes; a link never excludes other programs.
        let link: FdLink = match program(&mut self.ebpf, name)? {
            Program::CgroupSockAddr(program) => {
                let id = program.attach(cgroup, CgroupAttachMode::Single).map_err(&failed)?;
                program.take_link(id).map_err(&failed)?.try_into().map_err(not_a_link)
            }
            Program::SockOps(program) => {
                let id = program.attach(cgroup, CgroupAttachMode::Single).map_err(&failed)?;
                program.take_link(id).map_err(&failed)?.try_into().map_err(not_a_link)
            }
            _ => Err(DatapathError::link("attach", name)(io::Error::other(
                "it is of an unknown type",
            ))),
        }?;
        link.pin(pin).map_err(|e| DatapathError::link("pin", name)(pin_io(e)))?;
        Ok(())
    }

    /// Detaches every program, in the reverse order. Maps stay.
    pub fn detach(&mut self) -> Result<(), DatapathError> {
        for name in PROGRAMS.into_iter().rev() {
            let pin = link_path(&self.pins, name);
            if !pin.exists() {
                continue;
            }
            let fail = DatapathError::link("detach", name);
            let _ = sys::open_pin(&pin).and_then(sys::link_detach);
            fs::remove_file(&pin).map_err(fail)?;
        }
        Ok(())
    }
}

/// The attached programs below `pins`, as the kernel reports them. A link whose cgroup is gone is left out.
pub fn attached(pins: &Path) -> Vec<ProgramStatus> {
    let status = |name: &str| {
        let info = sys::open_pin(&link_path(pins, name)).and_then(sys::link_info).ok()?;
        (info.cgroup_id != 0).then(|| ProgramStatus {
            name: name.to_owned(),
            program_id: info.program_id,
            link_id: info.id,
            cgroup_id: info.cgroup_id,
        })
    };
    PROGRAMS.into_iter().filter_map(status).collect()
}

/// How many programs there are when all are attached.
pub const fn program_count() -> usize {
    PROGRAMS.len()
}

/// Removes what an agent of another version has left, whose maps are of other layouts. Our programs are in force
/// already: at no moment is there none.
fn remove_other_schemas(pins: &Path) {
    let Some(node_pins) = pins.parent() else { return };
    for schema in subdirectories(node_pins).iter().filter(|schema| *schema != pins) {
        let mut removed = Vec::new();
        detach_all(schema, &mut removed);
        remove_tree(schema, &mut removed);
        tracing::info!(schema = %schema.display(), "took over from an agent of another version");
    }
}

/// Detaches the links that are pinned below a schema's directory.
fn detach_all(schema: &Path, removed: &mut Vec<String>) {
    // First what redirects, then what a redirected connection needs.
    for name in PROGRAMS.into_iter().rev() {
        let pin = link_path(schema, name);
        let Ok(link) = sys::open_pin(&pin) else { continue };
        let id = sys::link_info(&link).map(|info| info.id).unwrap_or_default();
        let _ = sys::link_detach(&link);
        if fs::remove_file(&pin).is_ok() {
            removed.push(format!("link {name} (id {id})"));
        }
    }
}

/// Detaches all links and removes all pins of a node, of every schema; tells what it removed.
pub fn remove_pins(node_pins: &Path) -> Vec<String> {
    let mut removed = Vec::new();
    for schema in subdirectories(node_pins) {
        detach_all(&schema, &mut removed);
    }
    remove_tree(node_pins, &mut removed);
    // The directory of all nodes, when this was the last.
    if let Some(all) = node_pins.parent() {
        let _ = fs::remove_dir(all);
    }
    removed
}

fn subdirectories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Removes a directory of pins; `removed` gets a line for each.
fn remove_tree(path: &Path, removed: &mut Vec<String>) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            remove_tree(&path, removed);
        } else if fs::remove_file(&path).is_ok() {
            removed.push(format!("pin {}", path.display()));
        }
    }
    let _ = fs::remove_dir(path);
}

fn load_object(options: &NodeOptions, pins: &Path) -> Result<Ebpf, DatapathError> {
    let mut loader = EbpfLoader::new();
    for name in name::ALL {
        loader.map_pin_path(name, pins.join("maps").join(name));
    }
    let level = options.bpf_log.unwrap_or(0);
    loader.override_global(aya_log::LEVEL, &level, false);
    Ok(loader.load(OBJECT)?)
}

fn load_programs(mut ebpf: Ebpf, pins: PathBuf) -> Result<Kernel, DatapathError> {
    for name in PROGRAMS {
        match program(&mut ebpf, name)? {
            Program::CgroupSockAddr(program) => program.load(),
            Program::SockOps(program) => program.load(),
            _ => Ok(()),
        }
        .map_err(DatapathError::program("load", name))?;
    }
    Ok(Kernel { ebpf, pins })
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Program, DatapathError> {
    ebpf.program_mut(name)
        .ok_or_else(|| DatapathError::link("find", name)(io::Error::other("the embedded object does not have it")))
}

fn program_fd(ebpf: &mut Ebpf, name: &'static str) -> Result<ProgramFd, DatapathError> {
    let failed = DatapathError::program("open", name);
    let fd = program(ebpf, name)?.fd().map_err(&failed)?;
    fd.try_clone()
        .map_err(|source| DatapathError::link("open", name)(source))
}

fn program_id(ebpf: &mut Ebpf, name: &'static str) -> Result<u32, DatapathError> {
    let failed = DatapathError::program("identify", name);
    match program(ebpf, name)? {
        Program::CgroupSockAddr(program) => program.info(),
        Program::SockOps(program) => program.info(),
        _ => return Ok(0),
    }
    .map(|info| info.id())
    .map_err(failed)
}

fn link_path(pins: &Path, name: &str) -> PathBuf {
    pins.join("links").join(name)
}

fn create(path: &Path) -> Result<(), DatapathError> {
    fs::create_dir_all(path).map_err(|source| DatapathError::Io {
        action: "create the directory of pins",
        path: path.to_owned(),
        source,
    })
}
