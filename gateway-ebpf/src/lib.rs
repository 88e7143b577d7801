//! Beeline's datapath: what happens to a packet, in plain Rust.
//!
//! [`ingress`] and [`egress`] tell the story of a packet. They read it, ask the [`Tables`] and return a
//! [`Verdict`]; they change nothing in the packet. The programs in `bin/datapath` answer the questions with maps
//! and apply the verdict; the tests answer with ordinary collections.

#![cfg_attr(not(test), no_std)]

mod affinity;
pub mod checksum;
pub mod collect;
pub mod complaint;
mod conntrack;
pub mod delivery;
pub mod draft;
pub mod establish;
pub mod headers;
pub mod packet;
pub mod parse;
pub mod quoted;
pub mod rewrite;
mod select;
pub mod socket;
pub mod solicitation;
pub mod source_port;
pub mod tables;
pub mod verdict;

#[cfg(test)]
mod tests;

use gateway_common::{ConntrackEntry, Direction, DropReason, Event, Flow, FrontendKey};

use crate::conntrack::{ReplyStanding, Standing};
use crate::draft::Established;
use crate::headers::TcpFlags;
use crate::packet::Packet;
use crate::parse::{Headers, LinkHeader, Located, Transport};
use crate::quoted::{Quote, QuotedRewrite};
use crate::rewrite::Rewrite;
use crate::tables::Tables;
use crate::verdict::{Shortage, Verdict};

/// A packet that a device has received: does it go to a VIP, and to which backend then? Is it the reply of a Pod
/// elsewhere? Does somebody ask the segment for a VIP?
#[inline(always)]
pub fn ingress<'a, T: Tables>(
    packet: &Packet,
    link: LinkHeader,
    headers: &'a mut Headers,
    tables: &'a T,
) -> Verdict<'a> {
    match headers.locate(packet, link) {
        Located::Ip => {}
        Located::Arp => {
            let target = solicitation::arp_target(packet, headers);
            return target.map_or(Verdict::Pass, |target| solicitation::judge(&target, tables));
        }
        Located::NotIp => return Verdict::Pass,
        Located::Truncated => return Verdict::Truncated(Shortage::Unknown),
    }
    if let Some(target) = solicitation::ndp_target(packet, headers) {
        return solicitation::judge(&target, tables);
    }
    if !tables.may_be_vip(&headers.flow.destination) {
        return Verdict::Pass;
    }
    let transport = headers.read_transport(packet);
    let headers = headers.settle();
    if headers.claims_ipv4() {
        return Verdict::Pass;
    }
    match transport {
        Transport::Tcp(flags) => to_vip(headers, Some(flags), tables),
        Transport::Udp => to_vip(headers, None, tables),
        Transport::Icmp => Verdict::Icmp,
        Transport::FirstFragment if is_redirected_reply(&headers.flow, tables) => Verdict::Drop(DropReason::Fragment),
        Transport::FirstFragment | Transport::Fragment => at_vip(headers, Verdict::Drop(DropReason::Fragment), tables),
        Transport::Other => at_vip(headers, Verdict::Drop(DropReason::Protocol), tables),
        Transport::Malformed => at_vip(headers, Verdict::Drop(DropReason::Malformed), tables),
        Transport::Truncated if tables.is_vip(&headers.flow.destination) => Verdict::Truncated(Shortage::Ours),
        // It may be the reply of a Pod elsewhere.
        Transport::Truncated => Verdict::Truncated(Shortage::Unknown),
    }
}

/// A packet that a device is about to send: is it a backend's reply, and which VIP does it come from then?
#[inline(always)]
pub fn egress<'a, T: Tables>(
    packet: &Packet,
    link: LinkHeader,
    headers: &'a mut Headers,
    tables: &'a T,
) -> Verdict<'a> {
    match headers.locate(packet, link) {
        Located::Ip => {}
        Located::Arp | Located::NotIp => return Verdict::Pass,
        Located::Truncated => return Verdict::Truncated(Shortage::Unknown),
    }
    if !tables.may_be_backend(&headers.flow.source) && !headers.may_be_icmp() {
        return Verdict::Pass;
    }
    let transport = headers.read_transport(packet);
    let headers = headers.settle();
    if headers.claims_ipv4() {
        return Verdict::Pass;
    }
    match transport {
        Transport::Tcp(flags) => from_backend(headers, Some(flags), tables),
        Transport::Udp => from_backend(headers, None, tables),
        Transport::Icmp => Verdict::Icmp,
        // Without the first fragment, which alone has ports, the others are of no use to the client.
        Transport::FirstFragment if reply_entry(&headers.flow, tables).is_some() => Verdict::Drop(DropReason::Fragment),
        Transport::FirstFragment | Transport::Fragment | Transport::Other | Transport::Malformed => Verdict::Pass,
        Transport::Truncated => Verdict::Truncated(Shortage::Unknown),
    }
}

/// An ICMP message, of either direction: the plan for it if it is an error about a flow of ours.
#[inline(always)]
pub fn icmp<'a, T: Tables>(
    packet: &Packet,
    link: LinkHeader,
    outer: &'a mut Headers,
    quote: &'a mut Quote,
    tables: &T,
) -> Option<QuotedRewrite<'a>> {
    if outer.locate(packet, link) != Located::Ip || outer.read_transport(packet) != Transport::Icmp {
        return None;
    }
    quoted::plan(packet, outer, quote, tables)
}

#[inline(always)]
fn at_vip<'a, T: Tables>(headers: &Headers, verdict: Verdict<'a>, tables: &T) -> Verdict<'a> {
    if tables.is_vip(&headers.flow.destination) { verdict } else { Verdict::Pass }
}

#[inline(always)]
fn to_vip<'a, T: Tables>(headers: &'a Headers, flags: Option<TcpFlags>, tables: &'a T) -> Verdict<'a> {
    let flow = &headers.flow;
    if let Some(entry) = tables.conntrack(flow) {
        if entry.direction == Direction::Reverse as u8 {
            // One that the host routes is not rewritten before it is sent.
            return if entry.is_redirected() { reply(headers, entry, flags, tables) } else { Verdict::Pass };
        }
        let standing = conntrack::standing(entry, flags, tables);
        if standing == Standing::Alive {
            conntrack::advance(entry, flags, flow.protocol, tables);
            return forward(headers, entry, tables);
        }
        conntrack::forget(flow, entry, tables);
        let Standing::Renew(event) = standing else { return of_no_flow(headers, DropReason::BackendGone, tables) };
        tables.count_event(event);
    } else if let Some(flags) = flags {
        if !flags.opens() {
            return of_no_flow(headers, DropReason::NoFlow, tables);
        }
    } else if !tables.is_vip(&flow.destination) {
        // Datagrams to this node itself may be many: a tunnel's.
        return Verdict::Pass;
    }
    let entry = match tables.establish(flow) {
        Ok(Established::Begun) => tables.draft().map(|draft| &draft.entry),
        Ok(Established::Known) => tables.conntrack(flow).map(|entry| &*entry),
        Ok(Established::Steered) => return Verdict::Pass,
        Err(reason @ (DropReason::SourceDenied | DropReason::NoRoute)) => return Verdict::Drop(reason),
        Err(reason) => return at_vip(headers, Verdict::Refuse(reason), tables),
    };
    match entry {
        Some(entry) => forward(headers, entry, tables),
        None => Verdict::Refuse(DropReason::ConntrackFull),
    }
}

/// A TCP segment of no flow that is known here, or none any more: at a steered frontend it is the host's, and where it is
/// nobody's here, the node that answered for the VIP before may know it.
#[inline(always)]
fn of_no_flow<'a, T: Tables>(headers: &'a Headers, reason: DropReason, tables: &T) -> Verdict<'a> {
    let flow = &headers.flow;
    let Some(vip) = tables.vip(&flow.destination) else { return Verdict::Pass };
    let is_steered = tables.is_steered(&FrontendKey::of(flow));
    match vip.relay() {
        Some(node) if !is_steered || !tables.has_socket(flow) => {
            tables.count_event(Event::Relayed);
            Verdict::Relay(headers, node)
        }
        Some(_) | None if is_steered => Verdict::Pass,
        Some(_) | None => Verdict::Refuse(reason),
    }
}

#[inline(always)]
fn from_backend<'a, T: Tables>(headers: &'a Headers, flags: Option<TcpFlags>, tables: &'a T) -> Verdict<'a> {
    let Some(entry) = reply_entry(&headers.flow, tables) else { return Verdict::Pass };
    reply(headers, entry, flags, tables)
}

/// A packet that has met the entry of its flow's replies.
#[inline(always)]
fn reply<'a, T: Tables>(
    headers: &'a Headers,
    entry: &'a mut ConntrackEntry,
    flags: Option<TcpFlags>,
    tables: &'a T,
) -> Verdict<'a> {
    let flow = &headers.flow;
    match conntrack::reply_standing(flow, entry, flags, tables) {
        ReplyStanding::Alive => {
            conntrack::advance_reply(entry, flags, flow.protocol, tables);
            forward(headers, entry, tables)
        }
        ReplyStanding::Gone => Verdict::Drop(DropReason::StaleReply),
        ReplyStanding::Foreign => {
            conntrack::forget(flow, entry, tables);
            Verdict::Pass
        }
    }
}

/// The entry of replies that the host routes.
#[inline(always)]
fn reply_entry<'a, T: Tables>(flow: &Flow, tables: &'a T) -> Option<&'a mut ConntrackEntry> {
    tables.conntrack(flow).filter(|entry| entry.direction == Direction::Reverse as u8 && !entry.is_redirected())
}

#[inline(always)]
fn is_redirected_reply<T: Tables>(flow: &Flow, tables: &T) -> bool {
    tables.conntrack(flow).is_some_and(|entry| entry.direction == Direction::Reverse as u8 && entry.is_redirected())
}

#[inline(always)]
fn forward<'a, T: Tables>(headers: &'a Headers, entry: &'a ConntrackEntry, tables: &T) -> Verdict<'a> {
    tables.count_packet(entry.frontend, entry.backend);
    let rewrite = Rewrite { headers, entry };
    if entry.is_redirected() { Verdict::Redirect(rewrite) } else { Verdict::Forward(rewrite) }
}
