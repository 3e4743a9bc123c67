//go:build linux

// Package policy reads what a container's annotations ask for, and has the container
// made, updated and run by it.
package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/shim/config"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
)

const (
	annotationPrefix = "oomwitness.io/"

	// CRI's annotations (containerd internal/cri/annotations).
	criContainerName = "io.kubernetes.cri.container-name"
	criContainerType = "io.kubernetes.cri.container-type"
	criSandboxID     = "io.kubernetes.cri.sandbox-id"
	criSandbox       = "sandbox"
	criContainer     = "container"
)

// Policy is what a container's annotations ask for.
type Policy struct {
	// Report says when a kill is reported that init survives.
	Report config.Report
	// OOMGroup is what memory.oom.group is to be, "0" or "1"; "" where nobody asks.
	OOMGroup string
	// ExitCode is the reported status where the verdict is OOM; 0 for the true one.
	ExitCode int
	// Grace is how long before a non-zero exit a kill of another process may lie and
	// still be its cause.
	Grace time.Duration
	// StopSignal is the signal that the image has chosen to stop the container; 0 where
	// the spec does not name one.
	StopSignal unix.Signal
	// Pod is true if the container belongs to a CRI pod, whose cgroup is the
	// parent of the container's.
	Pod bool
	// Waited is true if it is an ordinary container of a pod, for which CRI waits
	// as long as it runs.
	Waited bool
	// OwnPids is true if nothing of the container outlives its init.
	OwnPids bool
}

// setters read a value of each policy. Their errors name the value and what is allowed.
var setters = map[string]func(p *Policy, value string) error{
	config.PolicyReport: func(p *Policy, value string) (err error) {
		p.Report, err = config.ParseReport(value)
		return err
	},
	config.PolicyOOMGroup: func(p *Policy, value string) error {
		group, known := map[string]string{"true": "1", "false": "0"}[value]
		if !known {
			return fmt.Errorf("%q is not a choice; allowed: %q, %q", value, "true", "false")
		}
		p.OOMGroup = group
		return nil
	},
	config.PolicyOOMExitCode: func(p *Policy, value string) error {
		code, err := strconv.Atoi(value)
		if err != nil || code < 1 || code > bundle.MaxStatus || strconv.Itoa(code) != value {
			return fmt.Errorf("%q is not an exit status; allowed: 1 to %d", value, bundle.MaxStatus)
		}
		p.ExitCode = code
		return nil
	},
	config.PolicyGrace: func(p *Policy, value string) (err error) {
		p.Grace, err = config.ParseGrace(value)
		return err
	},
}

// parse reads the annotations with our prefix. A name with a container's
// name appended holds for that container and wins over the bare one; one for
// another container of the pod is checked all the same, so that a mistake shows
// in whichever container starts first, which is the pod's sandbox. They come from
// whoever may create pods: an unknown name or a bad value is an error, never
// ignored. asked are the policies that somebody in the pod asks for.
func parse(annotations map[string]string, cfg config.Config) (p Policy, asked []string, err error) {
	p.Report, p.Grace, p.StopSignal = cfg.Report, cfg.Grace, stopSignal(annotations[imageStopSignal])
	_, p.Pod = annotations[criSandboxID]
	p.Waited = annotations[criContainerType] == criContainer
	own := annotations[criContainerName]
	for _, name := range ownNames(annotations) {
		base, container, scoped := strings.Cut(strings.TrimPrefix(name, annotationPrefix), ".")
		set := setters[base]
		if set == nil || (scoped && container == "") {
			return Policy{}, nil, fmt.Errorf("annotation %q is not known to this version of oomwitness; allowed: %s, or one of them with %q appended: %w",
				name, config.Quoted(annotationNames()), ".<container name>", errdefs.ErrInvalidArgument)
		}
		if !cfg.Allows(base) {
			return Policy{}, nil, fmt.Errorf("annotation %q is forbidden on this node; \"allow\" in %s has: %s: %w",
				name, config.Path(), cmp.Or(config.Quoted(cfg.Allow), "nothing"), errdefs.ErrPermissionDenied)
		}
		with := p
		if err := set(&with, annotations[name]); err != nil {
			return Policy{}, nil, fmt.Errorf("annotation %q: %w: %w", name, err, errdefs.ErrInvalidArgument)
		}
		asked = append(asked, base)
		// Sorted order puts the bare name before the scoped ones. The sandbox holds
		// none of the pod's processes: what their annotations ask for does not hold for the sandbox.
		if !scoped && annotations[criContainerType] != criSandbox || scoped && container == own {
			p = with
		}
	}
	return p, asked, nil
}

// ownNames returns the names that have our prefix, sorted.
func ownNames(annotations map[string]string) (names []string) {
	for name := range annotations {
		if strings.HasPrefix(name, annotationPrefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func annotationNames() []string {
	names := config.Policies()
	for i := range names {
		names[i] = annotationPrefix + names[i]
	}
	return names
}

// ReportedStatus returns the status to report of an exit: code, if the pod has chosen
// one and the exit is reported as an OOM.
func ReportedStatus(status, code int, reportsOOM bool) int {
	if reportsOOM && code != 0 {
		return code
	}
	return status
}
