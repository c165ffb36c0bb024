//! Links, addresses and routes, over rtnetlink.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd},
};

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use rtnetlink::{
    Handle, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags},
};

use crate::netns::NetNs;

/// One end of a pod's cable.
pub struct End<'a> {
    /// The namespace that it lies in.
    pub netns: &'a NetNs,
    /// Its name there.
    pub name: &'a str,
    /// Its addresses with prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// Lays a veth pair between two namespaces, gives it addresses and sets it up.
pub fn cable(near: &End<'_>, far: &End<'_>) -> Result<()> {
    let far_fd = far.netns.as_fd().as_raw_fd();
    in_netns(near.netns, async |handle| {
        // Made under its own name and moved: names are unique per namespace only, and `eth0` may be taken here.
        let temporary = format!("{}-peer", near.name);
        handle
            .link()
            .add(LinkVeth::new(near.name, &temporary).build())
            .execute()
            .await?;
        let index = index(&handle, &temporary).await?;
        handle
            .link()
            .set(
                LinkUnspec::new_with_index(index)
                    .name(far.name.to_owned())
                    .setns_by_fd(far_fd)
                    .build(),
            )
            .execute()
            .await
    })
    .with_context(|| format!("make the veth pair {} – {}", near.name, far.name))?;
    for end in [far, near] {
        in_netns(end.netns, async |handle| configure(&handle, end).await)
            .with_context(|| format!("configure the link {}", end.name))?;
    }
    Ok(())
}

/// Sets a link up or down.
pub fn set_up(netns: &NetNs, name: &str, up: bool) -> Result<()> {
    in_netns(netns, async |handle| {
        let link = LinkUnspec::new_with_index(index(&handle, name).await?);
        handle
            .link()
            .set(if up { link.up() } else { link.down() }.build())
            .execute()
            .await
    })
    .with_context(|| format!("set the link {name} {}", if up { "up" } else { "down" }))
}

/// Adds a route to a prefix by way of a gateway of the same family.
pub fn route(netns: &NetNs, prefix: (IpAddr, u8), gateway: IpAddr) -> Result<()> {
    in_netns(netns, async |handle| {
        let message = match (prefix.0, gateway) {
            (IpAddr::V4(to), IpAddr::V4(by)) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(to, prefix.1)
                .gateway(by)
                .build(),
            (IpAddr::V6(to), IpAddr::V6(by)) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(to, prefix.1)
                .gateway(by)
                .build(),
            _ => return Err(rtnetlink::Error::InvalidAddress(Vec::new(), Vec::new())),
        };
        handle.route().add(message).execute().await
    })
    .with_context(|| format!("add the route to {}/{} by {gateway}", prefix.0, prefix.1))
}

async fn configure(handle: &Handle, end: &End<'_>) -> Result<(), rtnetlink::Error> {
    let index = index(handle, end.name).await?;
    for (address, prefix) in &end.addresses {
        let mut request = handle.address().add(index, *address, *prefix);
        if address.is_ipv6() {
            // Without duplicate address detection: usable at once.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
            request
                .message_mut()
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        request.execute().await?;
    }
    handle
        .link()
        .set(LinkUnspec::new_with_index(index).up().build())
        .execute()
        .await
}

async fn index(handle: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    let found = handle
        .link()
        .get()
        .match_name(name.to_owned())
        .execute()
        .try_next()
        .await?;
    found
        .map(|link| link.header.index)
        .ok_or(rtnetlink::Error::RequestFailed)
}

/// Runs a conversation with the kernel's routing tables in a namespace.
fn in_netns(netns: &NetNs, talk: impl AsyncFnOnce(Handle) -> Result<(), rtnetlink::Error> + Send) -> Result<()> {
    netns.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            tokio::spawn(connection);
            Ok(talk(handle).await?)
        })
    })
}
