//go:build tools

// Package cluster pins the programs of the development cluster. Nothing here is compiled into Beeline: `cargo xtask
// cluster up` builds each of these packages by its path, with the versions that go.mod and go.sum hold.
package cluster

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubectl"
	_ "k8s.io/kubernetes/cmd/kubelet"
	_ "sigs.k8s.io/gateway-api/pkg/consts"
)
