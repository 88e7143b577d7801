//! This node's place in the cluster: which endpoints are on it, and which of the others its clients should prefer.
//!
//! A node without a name, as in a folder for one machine, has everybody on it and no preference. Hints are followed as
//! kube-proxy follows them: all ready endpoints must have them, and one of them must be for here.

use std::sync::Arc;

use crate::source::endpoint_slice::Hints;
use crate::source::{Name, Objects};

/// The label by which a Node names its zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Where an endpoint is, seen from this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// On this node.
    Here,
    /// On another one, or nobody says where.
    Elsewhere,
    /// On another one, and meant for clients of other nodes or zones.
    NotMeantForHere,
}

/// This node and its zone, as seen from the cluster whose endpoints are looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Viewpoint<'a> {
    node: Option<&'a str>,
    zone: Option<&'a str>,
    /// This node is none of that cluster's.
    is_outside: bool,
}

/// Whose hints decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preference {
    /// Nobody's.
    None,
    /// Those that name the node.
    SameNode,
    /// Those that name the zone.
    SameZone,
}

impl<'a> Viewpoint<'a> {
    /// Outside of a linked cluster: none of its endpoints is here, and its hints are for others.
    pub const OUTSIDE: Self = Self { node: None, zone: None, is_outside: true };

    /// The place of a node; without one there is only one node.
    pub fn of(objects: &'a Objects, node: Option<&'a str>) -> Self {
        let zone = node.and_then(|node| objects.nodes.get(&Name::new("", node))?.object.get(ZONE_LABEL));
        Self { node, zone, is_outside: false }
    }

    /// Whether an endpoint on that node is on this one; nothing if that is not known.
    pub fn is_here(&self, node: Option<&str>) -> Option<bool> {
        match self.node {
            None => Some(!self.is_outside),
            Some(own) => node.map(|node| node == own),
        }
    }

    /// Which hints count, given those of all endpoints that are ready.
    pub fn preference<'h>(&self, ready: impl Iterator<Item = Option<&'h Hints>>) -> Preference {
        let Some(node) = self.node else { return Preference::None };
        let (mut all_name_nodes, mut all_name_zones) = (true, true);
        let (mut one_for_node, mut one_for_zone) = (false, false);
        for hints in ready {
            all_name_nodes &= hints.is_some_and(|hints| !hints.nodes.is_empty());
            all_name_zones &= hints.is_some_and(|hints| !hints.zones.is_empty());
            one_for_node |= names(hints.map(|hints| &*hints.nodes), Some(node));
            one_for_zone |= names(hints.map(|hints| &*hints.zones), self.zone);
        }
        if all_name_nodes && one_for_node {
            Preference::SameNode
        } else if all_name_zones && one_for_zone {
            Preference::SameZone
        } else {
            Preference::None
        }
    }

    /// Whether an endpoint is meant for clients that come by this node.
    pub fn is_meant(&self, preference: Preference, hints: Option<&Hints>) -> bool {
        match preference {
            Preference::None => true,
            Preference::SameNode => names(hints.map(|hints| &*hints.nodes), self.node),
            Preference::SameZone => names(hints.map(|hints| &*hints.zones), self.zone),
        }
    }
}

fn names(hinted: Option<&[Arc<str>]>, own: Option<&str>) -> bool {
    own.is_some_and(|own| hinted.is_some_and(|hinted| hinted.iter().any(|name| **name == *own)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Viewpoint<'_> = Viewpoint { node: Some("n1"), zone: Some("a"), is_outside: false };

    fn hints(nodes: &[&str], zones: &[&str]) -> Hints {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).into()).collect();
        Hints { nodes: texts(nodes), zones: texts(zones) }
    }

    fn preference(from: Viewpoint<'_>, ready: &[Option<&Hints>]) -> Preference {
        from.preference(ready.iter().copied())
    }

    #[test]
    fn hints_count_only_if_every_ready_endpoint_has_them_and_one_is_for_here() {
        let here = hints(&["n1"], &["a"]);
        let there = hints(&["n2"], &["b"]);
        let zones_only = hints(&[], &["a"]);

        assert_eq!(preference(HERE, &[Some(&here), Some(&there)]), Preference::SameNode);
        assert_eq!(preference(HERE, &[Some(&here), Some(&zones_only)]), Preference::SameZone);
        assert_eq!(preference(HERE, &[Some(&here), None]), Preference::None);
        assert_eq!(preference(HERE, &[Some(&there)]), Preference::None);
        assert_eq!(preference(HERE, &[Some(&hints(&["n2"], &["a"])), Some(&there)]), Preference::SameZone);
        assert_eq!(preference(HERE, &[]), Preference::None);
    }

    #[test]
    fn a_node_without_a_zone_follows_no_zone_and_a_lone_machine_follows_nothing() {
        let here = hints(&[], &["a"]);

        assert_eq!(preference(Viewpoint { zone: None, ..HERE }, &[Some(&here)]), Preference::None);
        assert_eq!(preference(Viewpoint::default(), &[Some(&here)]), Preference::None);
    }

    #[test]
    fn a_preference_takes_those_that_are_meant_for_here() {
        let here = hints(&["n1"], &["a"]);
        let there = hints(&["n2"], &["a"]);

        assert!(HERE.is_meant(Preference::SameNode, Some(&here)));
        assert!(!HERE.is_meant(Preference::SameNode, Some(&there)));
        assert!(HERE.is_meant(Preference::SameZone, Some(&there)));
        assert!(!HERE.is_meant(Preference::SameZone, None));
        assert!(HERE.is_meant(Preference::None, None));
    }

    #[test]
    fn nobody_knows_where_an_endpoint_without_a_node_is_unless_there_is_only_one_node_or_none_of_ours() {
        assert_eq!(["n1", "n2"].map(|node| HERE.is_here(Some(node))), [Some(true), Some(false)]);
        assert_eq!(HERE.is_here(None), None);
        assert_eq!([None, Some("n1")].map(|node| Viewpoint::default().is_here(node)), [Some(true); 2]);
        assert_eq!([None, Some("n1")].map(|node| Viewpoint::OUTSIDE.is_here(node)), [Some(false); 2]);
    }
}
