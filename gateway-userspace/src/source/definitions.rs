//! What a cluster has of Gateway API: the bundle that its definitions come from.

/// Gateway API as it is installed, by the annotations that each of its definitions bears
/// (`gateway.networking.k8s.io/bundle-version` and `/channel`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definitions {
    /// The version, as in `v1.6.3`; empty if they do not say it.
    pub version: String,
    /// Whether they carry the fields that are still tried out.
    pub experimental: bool,
}

/// The newest minor version of Gateway API 1 that is known here.
pub const NEWEST_MINOR: u32 = 6;

impl Definitions {
    /// Whether what they say is understood here.
    pub fn is_supported(&self) -> bool {
        let minor = self.version.strip_prefix("v1.").and_then(|rest| rest.split('.').next());
        minor.and_then(|minor| minor.parse().ok()).is_some_and(|minor: u32| minor <= NEWEST_MINOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_without_a_version_or_with_one_that_is_not_known_are_not_supported() {
        let is_supported = |version: &str| Definitions { version: version.into(), experimental: false }.is_supported();

        for known in ["v1.0.0", "v1.5.1", "v1.6.3", "v1.6.0-rc.1"] {
            assert!(is_supported(known), "{known}");
        }
        for unknown in ["", "v0.8.1", "v1.7.0", "v2.0.0", "v1", "v1.x.0", "main"] {
            assert!(!is_supported(unknown), "{unknown}");
        }
    }
}
