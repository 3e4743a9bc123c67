//go:build linux

package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/guest/wire"
)

// rebootFile keeps over the reboot what the API showed before.
const rebootFile = "/var/lib/oomwitness/reboot.json"

// beforeReboot is what the API showed of pods that had ended, and who still ran.
type beforeReboot struct {
	Ended   map[string]corev1.PodStatus
	Running string
	Seed    uint64
}

// TestReboot restarts the guest on the same disk: pods that had ended are shown as
// they were, and the ledger is loaded again before any pod runs. It is run once
// in each boot.
func TestReboot(t *testing.T) {
	switch os.Getenv(wire.BootEnv) {
	case "1":
		if os.Getenv("KUBE_REBOOT") == "" {
			t.Skip("needs a guest that may reboot, and KUBE_REBOOT: make kube-reboot")
		}
		reboot(t)
	case "2":
		afterReboot(t)
	default:
		t.Skip("needs the node's guest: make kube-reboot")
	}
}

func reboot(t *testing.T) {
	s := setUp(t)
	require.NoError(t, faultkit.Run(t.Context(), faultkit.Command, "install", "--systemd-unit", "true"))
	subjects := s.pod(t, s.class(), faultkit.Kinds[:len(faultkit.Kinds)-1]...)
	running := s.pod(t, s.class(), faultkit.KindStop)
	require.NoError(t, s.stand(t.Context(), startTime(2), append(running, subjects...)))
	for _, m := range subjects {
		require.NoError(t, s.end(t.Context(), m))
	}
	require.NoError(t, s.over(t.Context(), startTime(2), subjects))
	s.judge(t, "before-reboot", subjects)
	text, err := json.Marshal(beforeReboot{
		Ended:   map[string]corev1.PodStatus{subjects[0].pod: s.Pods()[subjects[0].pod].Pod.Status},
		Running: running[0].pod, Seed: s.Seed,
	})
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(rebootFile), 0o755))
	require.NoError(t, os.WriteFile(rebootFile, text, 0o600))
	require.NoError(t, faultkit.Run(t.Context(), "systemctl", "reboot"))
	select {} // until the guest ends
}

func afterReboot(t *testing.T) {
	require.DirExists(t, bpf.DefaultDir, "the ledger, before any pod runs")
	text, err := os.ReadFile(rebootFile)
	require.NoError(t, err)
	var before beforeReboot
	require.NoError(t, json.Unmarshal(text, &before))
	c, err := Connect()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	// kubelet has looked at all pods when it has seen that this one is gone.
	require.NoError(t, faultkit.Until(t.Context(), before.Running+" to end with the reboot", func() error {
		pod, err := c.Get(t.Context(), before.Running)
		switch {
		case err != nil:
			return err
		case pod.Status.Phase == corev1.PodRunning:
			return errors.New("it is shown as running")
		}
		return nil
	}))
	for name, want := range before.Ended {
		pod, err := c.Get(t.Context(), name)
		require.NoError(t, err)
		require.Equal(t, want.Phase, pod.Status.Phase)
		for i, status := range want.ContainerStatuses {
			require.Equal(t, status.State, pod.Status.ContainerStatuses[i].State, status.Name)
		}
		faultkit.Keep(t, fmt.Sprintf("kube case=rebooted n=%d right=%[1]d wrong=0 seed=%d", len(want.ContainerStatuses), before.Seed))
	}
}
