package agent

import (
	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/notify"
	"github.com/oomwitness/oomwitness/agent/internal/otlp"
)

// DefaultKubeletRoots are taken where kubelet's --cgroup-root can't be learned: kubelet's
// default, and what kind gives it.
func DefaultKubeletRoots() []string { return cgroups.DefaultRoots }

// KubeletOptions say how kubelet's --cgroup-root is found. Pods are looked for below
// kubepods in it alone.
type KubeletOptions struct {
	// Roots are its values; empty to learn them.
	Roots []string
	// PodUID is the UID of the pod that this process is in, "" for none.
	PodUID string
	// Config is kubelet's configuration file, "" for none. It need not be there.
	Config string
}

func (o KubeletOptions) learn(mount string, refused func(error)) cgroups.Roots {
	return cgroups.LearnRoots(cgroups.RootOptions{
		Given: o.Roots, Mount: mount, PodUID: o.PodUID, Config: o.Config,
	}, refused)
}

// CauseNames are what a cause may be, nearest limit first.
func CauseNames() []string { return events.CauseNames() }

// CheckKubeletRoots says what is wrong with values for KubeletOptions.Roots.
func CheckKubeletRoots(roots []string) error { return cgroups.CheckRoots(roots) }

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

// OTLPEndpoint returns the value for Options.OTLPEndpoint: of a flag, or of the variables
// of the OpenTelemetry specification where the flag is "". "" is for no export.
func OTLPEndpoint(flag string) (string, error) { return otlp.Endpoint(flag) }
