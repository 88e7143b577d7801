//! `beeline link-role`: what to apply in a cluster that is to be linked, and how to make a kubeconfig of it.
//!
//! Nothing is sent anywhere: whoever administers the other cluster reads the manifest and applies it. It lets the link read
//! Services, slices and Pods of the named namespaces, and nothing else. The same stands under `deploy/linked-cluster`.

use super::{Outcome, print};

const EXAMPLES: &str = "\
Examples:
  beeline link-role --remote-namespace shop | kubectl --context east apply -f -
  beeline link-role --remote-namespace shop --remote-namespace bank --link east";

/// Print what to apply in a cluster that is to be linked
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Namespace over there whose Services may be named; repeatable
    #[arg(long = "remote-namespace", value_name = "NAME", required = true, value_parser = namespace)]
    remote_namespaces: Vec<String>,

    /// Name of the link here, which its Secret has too
    #[arg(long, value_name = "NAME", default_value = "east", value_parser = namespace)]
    link: String,

    /// Namespace over there that the account lives in; the manifest makes it, so let it be the link's alone
    #[arg(long, value_name = "NAME", default_value = "beeline-link", value_parser = namespace)]
    account_namespace: String,

    /// Namespace here that the agent lives in
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", default_value = "beeline-system", value_parser = namespace)]
    agent_namespace: String,
}

pub fn execute(arguments: &Arguments) -> anyhow::Result<Outcome> {
    print(&text(arguments))?;
    Ok(Outcome::Fine)
}

/// Accepts what is safe to stand in a manifest and in a shell's command line.
fn namespace(text: &str) -> Result<String, String> {
    crate::source::validate::parse_label(text).map(|()| text.to_owned())
}

fn text(arguments: &Arguments) -> String {
    let mut out = head(arguments);
    out.push_str(&account(&arguments.account_namespace));
    out.push_str(ROLE);
    for namespace in &arguments.remote_namespaces {
        out.push_str(&binding(namespace, &arguments.account_namespace));
    }
    out
}

/// How to use it, as comments, so that all of it can be applied.
fn head(Arguments { remote_namespaces, link, account_namespace, agent_namespace }: &Arguments) -> String {
    let flags: String = remote_namespaces.iter().flat_map(|name| [" --remote-namespace ", name]).collect();
    let listed = remote_namespaces.join(", ");
    format!(
        "\
# Lets the link `{link}` read what stands behind Services of: {listed}. Made by
#   beeline link-role{flags} --link {link}
#
# 1. Apply this in the cluster to be linked, whose context is called `{link}` here:
#      beeline link-role{flags} --link {link} | kubectl --context {link} apply -f -
#
# 2. Make a kubeconfig of its address, its authority and the account's token:
#      there() {{ kubectl --context {link} \"$@\"; }}
#      there -n {account_namespace} wait secret beeline-link --for jsonpath='{{.data.token}}' --timeout 30s
#      there config view --minify --raw -o jsonpath='{{.clusters[0].cluster.server}}' > server
#      there -n {account_namespace} get secret beeline-link -o jsonpath='{{.data.ca\\.crt}}' | base64 -d > ca.crt
#      there -n {account_namespace} get secret beeline-link -o jsonpath='{{.data.token}}' | base64 -d > token
#      kubectl config --kubeconfig kubeconfig set-cluster {link} --server \"$(cat server)\" \\
#        --certificate-authority ca.crt --embed-certs
#      kubectl config --kubeconfig kubeconfig set-credentials {link} --token \"$(cat token)\"
#      kubectl config --kubeconfig kubeconfig set-context {link} --cluster {link} --user {link}
#      kubectl config --kubeconfig kubeconfig use-context {link}
#
# 3. Give it to the agent, and say who may use the link:
#      kubectl -n {agent_namespace} create secret generic {link} --from-file kubeconfig
#      rm server ca.crt token kubeconfig
#      kubectl apply -f - <<END
#      apiVersion: beeline.dev/v1alpha1
#      kind: ClusterLink
#      metadata: {{name: {link}}}
#      spec:
#        kubeconfigSecretRef: {{name: {link}}}
#        allowedNamespaces: [{listed}]   # namespaces here whose Upstreams may use it; \"*\" for all
#        remoteNamespaces: [{listed}]
#      END
#
# To end it, delete the ClusterLink and the Secret here, and this manifest over there.
"
    )
}

fn account(namespace: &str) -> String {
    format!(
        "\
apiVersion: v1
kind: Namespace
metadata:
  name: {namespace}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: beeline-link
  namespace: {namespace}
automountServiceAccountToken: false
---
# A token without an end: whoever rotates it deletes this Secret and applies the manifest again.
apiVersion: v1
kind: Secret
metadata:
  name: beeline-link
  namespace: {namespace}
  annotations:
    kubernetes.io/service-account.name: beeline-link
type: kubernetes.io/service-account-token
"
    )
}

/// What a link reads. It is bound in single namespaces only.
const ROLE: &str = "\
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: beeline-link
rules:
- apiGroups: [\"\"]
  resources: [pods, services]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
";

fn binding(namespace: &str, account_namespace: &str) -> String {
    format!(
        "\
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: beeline-link
  namespace: {namespace}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: beeline-link
subjects:
- kind: ServiceAccount
  name: beeline-link
  namespace: {account_namespace}
"
    )
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use super::*;

    fn arguments(namespaces: &[&str]) -> Arguments {
        Arguments {
            remote_namespaces: namespaces.iter().map(|&name| name.to_owned()).collect(),
            link: "east".to_owned(),
            account_namespace: "beeline-link".to_owned(),
            agent_namespace: "beeline-system".to_owned(),
        }
    }

    #[test]
    fn the_committed_manifest_is_what_the_command_prints() {
        let text = text(&arguments(&["shop"]));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/linked-cluster/link-role.yaml");
        if env::var_os("BLESS").is_some() {
            fs::write(&file, &text).unwrap();
        }

        assert_eq!(fs::read_to_string(&file).unwrap(), text, "run `BLESS=1 cargo test -p gateway-userspace link_role`");
    }

    #[test]
    fn every_namespace_is_bound_and_nothing_is_bound_for_all() {
        let text = text(&arguments(&["shop", "bank"]));

        assert_eq!(text.matches("\nkind: RoleBinding\n").count(), 2);
        assert!(text.contains("  namespace: shop\n") && text.contains("  namespace: bank\n"));
        assert!(!text.contains("ClusterRoleBinding"));
    }

    #[test]
    fn what_is_no_name_never_reaches_a_shell() {
        assert!(namespace("shop").is_ok());
        for text in ["$(reboot)", "a;b", "Shop", ""] {
            assert!(namespace(text).is_err(), "{text}");
        }
    }
}
