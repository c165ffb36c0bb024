//! Files that one command sees in place of the machine's.

use std::{
    ffi::{CStr, CString},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::Command,
};

use anyhow::Result;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// Lets a command see `file` in place of `target`, in a mount namespace of its own.
pub(crate) fn over(command: &mut Command, file: PathBuf, target: &'static CStr) -> Result<()> {
    let file = CString::new(file.into_os_string().into_encoded_bytes())?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    // SAFETY: between `fork` and `exec` it does nothing but three system calls; the paths were made before.
    unsafe {
        command.pre_exec(move || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            mount(None::<&CStr>, c"/", None::<&CStr>, private, None::<&CStr>)?;
            mount(Some(&*file), target, None::<&CStr>, MsFlags::MS_BIND, None::<&CStr>)?;
            Ok(())
        });
    }
    Ok(())
}
