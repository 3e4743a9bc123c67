//go:build linux

package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The modules of the cluster's programs. Each program comes from a module of its own, since
// their requirements differ from each other's and from ours.
const (
	etcdCmd          = "go.etcd.io/etcd/server/v3"
	kubernetesModule = "k8s.io/kubernetes"
)

var kubernetesCmds = []string{
	"k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes/cmd/kube-controller-manager",
	"k8s.io/kubernetes/cmd/kube-scheduler", "k8s.io/kubernetes/cmd/kubectl", "k8s.io/kubernetes/cmd/kubelet",
}

// clusterModules returns the folders of etcd's and Kubernetes' modules.
func (c Config) clusterModules() (etcd, kubernetes string) {
	return filepath.Join(c.Repo, "integration/etcd"), filepath.Join(c.Repo, "integration/kubernetes")
}

// ClusterDir returns the folder of the cluster's programs, whether they are built or not. The
// programs run on this machine too.
func (c Config) ClusterDir() (string, error) {
	modules, err := moduleKey(c.clusterModules())
	if err != nil {
		return "", err
	}
	return filepath.Join(c.Cache, "cluster-"+modules), nil
}

// PrepareCluster builds the cluster's programs and nothing else of the node, unless
// the cache has them. It returns their folder.
func PrepareCluster(ctx context.Context, c Config) (string, error) {
	return c.locked(ctx, c.ensureCluster)
}

// ensureCluster builds the cluster's programs unless the cache has them. It
// returns their folder.
func (c Config) ensureCluster(ctx context.Context) (string, error) {
	dir, err := c.ClusterDir()
	if err != nil {
		return "", err
	}
	etcd, kubernetes := c.clusterModules()
	if exists(dir) {
		c.step(3, "cluster")
		return dir, used(dir, "cluster-")
	}
	err = build(dir, func(tmp string) error {
		c.step(3, "cluster: building etcd")
		if err := (goBuild{module: etcd, dir: tmp}).run(ctx, etcdCmd); err != nil {
			return err
		}
		// Go names the program after its folder.
		if err := os.Rename(filepath.Join(tmp, "server"), filepath.Join(tmp, "etcd")); err != nil {
			return fmt.Errorf("name etcd: %w", err)
		}
		c.step(3, "cluster: building Kubernetes, which takes minutes at the first time")
		version, err := versionVariables(ctx, kubernetes)
		if err != nil {
			return err
		}
		return goBuild{module: kubernetes, dir: tmp, set: version}.run(ctx, kubernetesCmds...)
	})
	if err != nil {
		return "", fmt.Errorf("cluster: %w", err)
	}
	return dir, used(dir, "cluster-")
}

// versionVariables returns the linker variables that set the programs' version.
func versionVariables(ctx context.Context, module string) ([]string, error) {
	version, err := output(ctx, module, []string{"GOFLAGS=", "GOWORK=off"}, "go", "list", "-m", "-f", "{{.Version}}", kubernetesModule)
	if err != nil {
		return nil, err
	}
	version = strings.TrimSpace(version)
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(parts) < 3 {
		return nil, fmt.Errorf("version %q of %s: want vMAJOR.MINOR.PATCH", version, kubernetesModule)
	}
	var set []string
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		set = append(set, pkg+".gitVersion="+version, pkg+".gitMajor="+parts[0], pkg+".gitMinor="+parts[1])
	}
	return set, nil
}
