//! Does a set of labels match a selector? The rules of Kubernetes, "Labels and Selectors".

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::source::Labels;

/// Labels that are wanted, by name.
pub(super) type Wanted = BTreeMap<String, String>;

/// One requirement beyond equality.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requirement<'a> {
    pub key: &'a str,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`; anything else matches nothing.
    pub operator: &'a str,
    pub values: &'a [String],
}

/// Whether labels match a selector; an empty one matches everything.
pub(super) fn matches(selector: &LabelSelector, labels: &Labels) -> bool {
    let requirements = selector.match_expressions.iter().flatten().map(|expression| {
        let values = expression.values.as_deref().unwrap_or_default();
        Requirement { key: &expression.key, operator: &expression.operator, values }
    });
    meets(selector.match_labels.as_ref(), requirements, labels)
}

/// The same for the parts of a selector, whatever type they come in.
pub(super) fn meets<'a>(
    wanted: Option<&Wanted>,
    mut requirements: impl Iterator<Item = Requirement<'a>>,
    labels: &Labels,
) -> bool {
    wanted.is_none_or(|wanted| labels.has_all(wanted)) && requirements.all(|requirement| requirement.is_met(labels))
}

impl Requirement<'_> {
    /// Whether labels meet the requirement. A missing label is in no set of values, so it meets `NotIn`.
    pub fn is_met(&self, labels: &Labels) -> bool {
        let value = labels.get(self.key);
        match self.operator {
            "In" => value.is_some_and(|value| self.values.iter().any(|known| known == value)),
            "NotIn" => value.is_none_or(|value| !self.values.iter().any(|known| known == value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_follow_the_rules_of_kubernetes() {
        let labels = Labels::from(&Wanted::from([("version".to_string(), "v1".to_string())]));
        let values = ["v1".to_string(), "v2".to_string()];
        let met = |key, operator| Requirement { key, operator, values: &values }.is_met(&labels);

        assert!(met("version", "In") && !met("track", "In"));
        assert!(!met("version", "NotIn") && met("track", "NotIn"));
        assert!(met("version", "Exists") && !met("track", "Exists"));
        assert!(!met("version", "DoesNotExist") && met("track", "DoesNotExist"));
    }

    #[test]
    fn an_empty_selector_matches_everything() {
        assert!(matches(&LabelSelector::default(), &Labels::default()));
    }
}
