package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// serverNames are the names and addresses of API server, etcd and kubelet.
var serverNames = []string{
	"node", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
	"kubernetes.default.svc.cluster.local", "127.0.0.1", "10.0.0.1", "10.96.0.1",
}

// servers and clients are the certificates, by authority. etcd and the front proxy have
// authorities of their own: a client of the cluster is no client of theirs.
var (
	servers = map[string][]string{"ca": {"apiserver", "kubelet-server"}, "etcd-ca": {"etcd-server"}}
	clients = map[string][]subject{
		"ca": {
			{file: "apiserver-kubelet-client", name: apiServer},
			{file: admin, name: "kubernetes-admin", group: "system:masters"},
		},
		"etcd-ca":        {{file: "apiserver-etcd-client", name: "kube-apiserver"}},
		"front-proxy-ca": {{file: "front-proxy-client", name: "front-proxy-client"}},
	}
	kubeconfigs = []subject{
		{file: "admin", name: "kubernetes-admin", group: "system:masters"},
		{file: "controller-manager", name: "system:kube-controller-manager"},
		{file: "scheduler", name: "system:kube-scheduler"},
		{file: "kubelet", name: "system:node:node", group: "system:nodes"},
	}
)

// serviceAccounts is the base name of the key files for service accounts.
const serviceAccounts = "sa"

// subject is a client: its name and group, and the base name of its files.
type subject struct{ file, name, group string }

// makeCertificates makes the files by which the parts of the cluster trust each other:
// certificates of three authorities, the key of service accounts, and a kubeconfig for each
// client.
func makeCertificates(dir string) error {
	pki := filepath.Join(dir, "pki")
	if err := os.MkdirAll(pki, 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	for _, name := range []string{"ca", "etcd-ca", "front-proxy-ca"} {
		authority, err := newAuthority(name)
		if err != nil {
			return fmt.Errorf("authority %s: %w", name, err)
		}
		if err := authority.write(filepath.Join(pki, name)); err != nil {
			return err
		}
		for _, file := range servers[name] {
			if err := authority.issue(filepath.Join(pki, file), subject{name: "node"}, serverNames); err != nil {
				return err
			}
		}
		for _, client := range clients[name] {
			if err := authority.issue(filepath.Join(pki, client.file), client, nil); err != nil {
				return err
			}
		}
		if name != "ca" {
			continue
		}
		for _, client := range kubeconfigs {
			if err := authority.kubeconfig(filepath.Join(dir, client.file+".conf"), client); err != nil {
				return err
			}
		}
	}
	return writeServiceAccounts(filepath.Join(pki, serviceAccounts))
}
