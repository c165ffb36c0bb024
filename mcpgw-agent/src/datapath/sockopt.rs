//! The few socket options that neither socket2 nor nix has.

use std::{io, os::fd::AsRawFd};

/// Switches the saving of SYN headers on, for sockets that this listener accepts.
pub fn save_syn(listener: &impl AsRawFd) -> io::Result<()> {
    set(listener, libc::IPPROTO_TCP, libc::TCP_SAVE_SYN, 1)
}

/// Switches Fast Open off for a listener, whatever its namespace's default.
pub fn no_fast_open(listener: &impl AsRawFd) -> io::Result<()> {
    set(listener, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, 0)
}

/// The cookie of a socket's network namespace, as the eBPF programs see it.
pub fn netns_cookie(socket: &impl AsRawFd) -> io::Result<u64> {
    let mut cookie = [0; 8];
    get(socket, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, &mut cookie)?;
    Ok(u64::from_ne_bytes(cookie))
}

/// The network and TCP headers of an accepted connection's SYN. The kernel gives them once; empty if it has none.
pub fn saved_syn<'a>(accepted: &impl AsRawFd, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let length = get(accepted, libc::IPPROTO_TCP, libc::TCP_SAVED_SYN, buffer)?;
    Ok(&buffer[..length])
}

fn set(socket: &impl AsRawFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    let length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the value is valid for reads of `length` bytes.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn get(socket: &impl AsRawFd, level: i32, option: i32, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = buffer.len() as libc::socklen_t;
    // SAFETY: the buffer is valid for writes of `length` bytes, and the kernel sets `length` to at most that.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            buffer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(length as usize)
    } else {
        Err(io::Error::last_os_error())
    }
}
