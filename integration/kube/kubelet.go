//go:build linux

package kube

import (
	"context"
	"os"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

const (
	kubeletConfig = "/etc/kubernetes/kubelet.conf.d/50-test.conf"
	kubeletHealth = "http://127.0.0.1:10248/healthz"
)

// ConfigureKubelet starts kubelet again, with lines on top of the node's
// configuration: none puts back what was there. It comes back when kubelet is
// healthy.
func ConfigureKubelet(ctx context.Context, lines string) error {
	text := "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n" + lines + "\n"
	if err := os.WriteFile(kubeletConfig, []byte(text), 0o644); err != nil {
		return err
	}
	if err := faultkit.Run(ctx, "systemctl", "restart", "kubelet"); err != nil {
		return err
	}
	return faultkit.Until(ctx, "kubelet to be healthy", func() error {
		_, err := faultkit.Get(ctx, kubeletHealth)
		return err
	})
}
