//! Which kinds exist, which of them are ours, and what somebody may have meant who wrote one that does not.
//!
//! A kind of a group that is listed here must be listed too; other groups may hold anything.

use super::Kind;

/// What to do with an object of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// Read it.
    Ours(Kind),
    /// It is none of our business.
    PassedOver,
}

/// A kind or an apiVersion that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unrecognised {
    /// `kind` or `apiVersion`.
    pub field: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

const GATEWAY: &str = "gateway.networking.k8s.io";

/// Ours: group, versions (the first is the one to use), kind.
const OURS: [(&str, &[&str], Kind); 23] = [
    ("", &["v1"], Kind::Service),
    ("", &["v1"], Kind::Pod),
    ("discovery.k8s.io", &["v1"], Kind::EndpointSlice),
    ("beeline.dev", &["v1alpha1"], Kind::Upstream),
    (GATEWAY, &["v1", "v1beta1"], Kind::Gateway),
    (GATEWAY, &["v1", "v1beta1"], Kind::GatewayClass),
    (GATEWAY, &["v1", "v1beta1", "v1alpha2"], Kind::ReferenceGrant),
    (GATEWAY, &["v1", "v1alpha2"], Kind::TcpRoute),
    (GATEWAY, &["v1", "v1alpha2"], Kind::UdpRoute),
    ("", &["v1"], Kind::Namespace),
    ("", &["v1"], Kind::Node),
    ("beeline.dev", &["v1alpha1"], Kind::AddressPool),
    ("beeline.dev", &["v1alpha1"], Kind::ClusterLink),
    (GATEWAY, &["v1", "v1beta1"], Kind::HttpRoute),
    (GATEWAY, &["v1", "v1alpha2"], Kind::GrpcRoute),
    (GATEWAY, &["v1", "v1alpha3", "v1alpha2"], Kind::TlsRoute),
    (GATEWAY, &["v1"], Kind::ListenerSet),
    (GATEWAY, &["v1", "v1alpha3"], Kind::BackendTlsPolicy),
    ("", &["v1"], Kind::Secret),
    ("", &["v1"], Kind::ConfigMap),
    ("networking.k8s.io", &["v1", "v1beta1"], Kind::Ingress),
    ("extensions", &["v1beta1"], Kind::Ingress),
    ("networking.k8s.io", &["v1", "v1beta1"], Kind::IngressClass),
];

/// The rest of the groups that we know completely: group, current version, kinds.
const OTHERS: &[(&str, &str, &[&str])] = &[
    (
        "",
        "v1",
        &[
            "Binding",
            "ComponentStatus",
            "Endpoints",
            "Event",
            "LimitRange",
            "PersistentVolume",
            "PersistentVolumeClaim",
            "PodTemplate",
            "ReplicationController",
            "ResourceQuota",
            "ServiceAccount",
        ],
    ),
    ("apps", "v1", &["ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"]),
    ("autoscaling", "v2", &["HorizontalPodAutoscaler", "Scale"]),
    ("batch", "v1", &["CronJob", "Job"]),
    ("beeline.dev", "v1alpha1", &[]),
    ("discovery.k8s.io", "v1", &[]),
    (GATEWAY, "v1", &[]),
    ("networking.k8s.io", "v1", &["IPAddress", "NetworkPolicy", "ServiceCIDR"]),
    ("policy", "v1", &["Eviction", "PodDisruptionBudget"]),
    ("rbac.authorization.k8s.io", "v1", &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]),
];

/// What an object of this apiVersion and kind is to us.
pub fn recognise(api_version: &str, kind: &str) -> Result<Recognised, Unrecognised> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let ours = OURS.iter().find(|(of, _, ours)| *of == group && ours.name() == kind);
    if let Some((_, versions, ours)) = ours {
        if versions.contains(&version) {
            return Ok(Recognised::Ours(*ours));
        }
        let message = format!("`{api_version}` has no {kind}: use `{}`", join(group, versions[0]));
        return Err(Unrecognised { field: "apiVersion", message });
    }
    let Some((_, _, kinds)) = OTHERS.iter().find(|(of, ..)| *of == group) else {
        return foreign(api_version, group, version);
    };
    if !is_version(version) {
        let message = format!("`{version}` is not a version: use something like `{}`", join(group, "v1"));
        return Err(Unrecognised { field: "apiVersion", message });
    }
    if kinds.contains(&kind) {
        return Ok(Recognised::PassedOver);
    }
    Err(Unrecognised { field: "kind", message: unknown_kind(api_version, group, kind) })
}

/// The one of the candidates that differs from the text by a slip of the finger, if one does.
pub fn closest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = text.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// A group we do not know: somebody else's, unless it looks like a slip.
fn foreign(api_version: &str, group: &str, version: &str) -> Result<Recognised, Unrecognised> {
    let near = OTHERS.iter().find(|(known, ..)| !known.is_empty() && strsim::damerau_levenshtein(known, group) <= 2);
    let message = match near {
        Some((known, ..)) => {
            format!("unknown API group in `{api_version}`: did you mean `{}`?", join(known, version))
        }
        None if !group.contains('.') || !group.chars().all(is_group_character) => {
            format!("`{api_version}` is not an apiVersion: use `v1` or `group.example/v1`")
        }
        None if !is_version(version) => format!("`{version}` is not a version: use something like `{group}/v1`"),
        None => return Ok(Recognised::PassedOver),
    };
    Err(Unrecognised { field: "apiVersion", message })
}

fn unknown_kind(api_version: &str, group: &str, kind: &str) -> String {
    let elsewhere = every_kind().find(|(_, _, known)| *known == kind);
    if let Some((other, version, _)) = elsewhere {
        return format!("`{api_version}` has no kind `{kind}`: did you mean apiVersion `{}`?", join(other, version));
    }
    let same_group = every_kind().filter(|(of, ..)| *of == group).map(|(.., known)| known);
    match closest(kind, same_group) {
        Some(meant) => format!("unknown kind `{kind}` in `{api_version}`: did you mean `{meant}`?"),
        None => match every_kind().find(|(.., known)| closest(kind, [*known]).is_some()) {
            Some((other, version, meant)) => format!(
                "unknown kind `{kind}` in `{api_version}`: did you mean `{meant}` of `{}`?",
                join(other, version)
            ),
            None => format!("unknown kind `{kind}` in `{api_version}`: check kind and apiVersion"),
        },
    }
}

/// Group, version to use and kind of all that is listed.
fn every_kind() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let ours = OURS.iter().map(|(group, versions, kind)| (*group, versions[0], kind.name()));
    let others =
        OTHERS.iter().flat_map(|(group, version, kinds)| kinds.iter().map(move |kind| (*group, *version, *kind)));
    ours.chain(others)
}

fn join(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_string() } else { format!("{group}/{version}") }
}

fn is_group_character(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit() || matches!(character, '.' | '-')
}

/// `v1`, `v2beta1`, `v1alpha2`.
fn is_version(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('v') else { return false };
    let number = |text: &str| !text.is_empty() && text.chars().all(|character| character.is_ascii_digit());
    let stage = ["alpha", "beta"].into_iter().find_map(|stage| rest.split_once(stage));
    stage.map_or_else(|| number(rest), |(major, minor)| number(major) && number(minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(api_version: &str, kind: &str) -> String {
        recognise(api_version, kind).unwrap_err().message
    }

    #[test]
    fn our_kinds_are_known_under_every_version_that_is_served() {
        assert_eq!(recognise("v1", "Service"), Ok(Recognised::Ours(Kind::Service)));
        for version in ["v1", "v1alpha2"] {
            let api_version = format!("gateway.networking.k8s.io/{version}");
            assert_eq!(recognise(&api_version, "TCPRoute"), Ok(Recognised::Ours(Kind::TcpRoute)));
        }
        assert_eq!(
            message("discovery.k8s.io/v1beta1", "EndpointSlice"),
            "`discovery.k8s.io/v1beta1` has no EndpointSlice: use `discovery.k8s.io/v1`"
        );
    }

    #[test]
    fn kinds_of_others_are_passed_over() {
        for (api_version, kind) in [
            ("apps/v1", "Deployment"),
            ("v1", "ServiceAccount"),
            ("cert-manager.io/v1", "Certificate"),
            ("monitoring.coreos.com/v1", "ServiceMonitor"),
        ] {
            assert_eq!(recognise(api_version, kind), Ok(Recognised::PassedOver), "{api_version} {kind}");
        }
    }

    #[test]
    fn a_kind_that_does_not_exist_is_an_error_with_a_suggestion() {
        assert_eq!(message("v1", "Servise"), "unknown kind `Servise` in `v1`: did you mean `Service`?");
        assert_eq!(
            message("beeline.dev/v1alpha1", "Upstraem"),
            "unknown kind `Upstraem` in `beeline.dev/v1alpha1`: did you mean `Upstream`?"
        );
        assert_eq!(message("v1", "Frobnicator"), "unknown kind `Frobnicator` in `v1`: check kind and apiVersion");
        assert_eq!(
            message("v1", "Gateway"),
            "`v1` has no kind `Gateway`: did you mean apiVersion `gateway.networking.k8s.io/v1`?"
        );
    }

    #[test]
    fn a_misspelt_group_is_an_error_with_a_suggestion() {
        assert_eq!(
            message("gateway.networking.k8.io/v1", "Gateway"),
            "unknown API group in `gateway.networking.k8.io/v1`: did you mean `gateway.networking.k8s.io/v1`?"
        );
        assert_eq!(message("shop/v1", "Order"), "`shop/v1` is not an apiVersion: use `v1` or `group.example/v1`");
    }
}
