package agent

import (
	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/notify"
)

// DefaultKubeletRoots are kubelet's default for --cgroup-root, and what kind gives it.
func DefaultKubeletRoots() []string { return cgroups.DefaultRoots }

// CauseNames are what a cause may be, nearest limit first.
func CauseNames() []string { return events.CauseNames() }

// CheckKubeletRoots says what is wrong with values for Options.KubeletRoots.
func CheckKubeletRoots(roots []string) error {
	_, err := cgroups.NewKubelet(roots)
	return err
}

// CheckAnnotation says what is wrong with a value for Kubernetes.Annotation.
func CheckAnnotation(pair string) error {
	_, err := notify.ParseAnnotation(pair)
	return err
}

// CheckLabel says what is wrong with a value for Kubernetes.Label.
func CheckLabel(pair string) error {
	_, err := notify.ParseLabel(pair)
	return err
}
