//! The few `bpf(2)` commands on links that aya has no call for: update, detach, information.

use std::{
    ffi::CString,
    io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    os::unix::ffi::OsStrExt,
    path::Path,
};

const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;

/// What the kernel says about a link to a cgroup (`struct bpf_link_info`, as far as it is ours).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CgroupLinkInfo {
    kind: u32,
    /// Id of the link.
    pub id: u32,
    /// Id of the program.
    pub program_id: u32,
    _padding: u32,
    /// Id of the cgroup; 0 when the cgroup was removed and the link is dead.
    pub cgroup_id: u64,
    attach_type: u32,
    _rest: [u32; 7],
}

/// Opens a pinned object.
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        path: u64,
        fd: u32,
        flags: u32,
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    let fd = bpf(
        BPF_OBJ_GET,
        &mut Attr {
            path: path.as_ptr() as u64,
            fd: 0,
            flags: 0,
        },
    )?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Swaps the program of a link, atomically: there is no moment without a program.
pub fn link_update(link: impl AsFd, program: impl AsFd) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        link: i32,
        program: i32,
        flags: u32,
        old_program: u32,
    }
    let (link, program) = (link.as_fd().as_raw_fd(), program.as_fd().as_raw_fd());
    bpf(
        BPF_LINK_UPDATE,
        &mut Attr {
            link,
            program,
            flags: 0,
            old_program: 0,
        },
    )
    .map(drop)
}

/// Detaches a link at once, whoever else holds it.
pub fn link_detach(link: impl AsFd) -> io::Result<()> {
    bpf(BPF_LINK_DETACH, &mut link.as_fd().as_raw_fd()).map(drop)
}

/// What the kernel says about a link.
pub fn link_info(link: impl AsFd) -> io::Result<CgroupLinkInfo> {
    #[repr(C)]
    struct Attr {
        fd: i32,
        length: u32,
        info: u64,
    }
    let mut info = CgroupLinkInfo::default();
    let mut attr = Attr {
        fd: link.as_fd().as_raw_fd(),
        length: size_of::<CgroupLinkInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

/// `bpf(2)`. `T` is the leading part of `union bpf_attr` for the command; the kernel takes the rest as zero.
fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<i32> {
    // SAFETY: `attr` is valid for reads and writes of its size, which the kernel is told. Pointers in it
    // are to buffers that outlive the call and whose lengths it is told as well (a path ends with NUL).
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr as *mut T, size_of::<T>()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as i32)
    }
}
