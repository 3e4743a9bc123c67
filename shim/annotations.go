//go:build linux

package shim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

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

// policy is what a container's annotations ask for.
type policy struct {
	report config.Report
	// oomGroup is what memory.oom.group is to be, "0" or "1"; "" where nobody asks.
	oomGroup string
	// exitCode is the reported status where the verdict is OOM; 0 for the true one.
	exitCode int
	// pod is true if the container belongs to a CRI pod, whose cgroup is the
	// parent of the container's.
	pod bool
	// waited is true if it is an ordinary container of a pod, for which CRI waits
	// as long as it runs.
	waited bool
	// ownPids is true if nothing of the container outlives its init.
	ownPids bool
}

// setters read a value of each policy. Their errors name the value and what is allowed.
var setters = map[string]func(p *policy, value string) error{
	config.PolicyReport: func(p *policy, value string) (err error) {
		p.report, err = config.ParseReport(value)
		return err
	},
	config.PolicyOOMGroup: func(p *policy, value string) error {
		group, known := map[string]string{"true": "1", "false": "0"}[value]
		if !known {
			return fmt.Errorf("%q is not a choice; allowed: %q, %q", value, "true", "false")
		}
		p.oomGroup = group
		return nil
	},
	config.PolicyOOMExitCode: func(p *policy, value string) error {
		code, err := strconv.Atoi(value)
		if err != nil || code < 1 || code > bundle.MaxStatus || strconv.Itoa(code) != value {
			return fmt.Errorf("%q is not an exit status; allowed: 1 to %d", value, bundle.MaxStatus)
		}
		p.exitCode = code
		return nil
	},
}

// parsePolicy reads the annotations with our prefix. A name with a container's
// name appended holds for that container and wins over the bare one; one for
// another container of the pod is checked all the same, so that a mistake shows
// in whichever container starts first, which is the pod's sandbox. They come from
// whoever may create pods: an unknown name or a bad value is an error, never
// ignored. asked are the policies that somebody in the pod asks for.
func parsePolicy(annotations map[string]string, cfg config.Config) (p policy, asked []string, err error) {
	p.report = cfg.Report
	_, p.pod = annotations[criSandboxID]
	p.waited = annotations[criContainerType] == criContainer
	own := annotations[criContainerName]
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		if !strings.HasPrefix(name, annotationPrefix) {
			continue
		}
		base, container, scoped := strings.Cut(strings.TrimPrefix(name, annotationPrefix), ".")
		set := setters[base]
		if set == nil || (scoped && container == "") {
			return policy{}, nil, fmt.Errorf("annotation %q is not known to this version of oomwitness; allowed: %s, or one of them with %q appended: %w",
				name, config.Quoted(annotationNames()), ".<container name>", errdefs.ErrInvalidArgument)
		}
		if !cfg.Allows(base) {
			return policy{}, nil, fmt.Errorf("annotation %q is forbidden on this node; \"allow\" in %s has: %s: %w",
				name, config.Path(), cmp.Or(config.Quoted(cfg.Allow), "nothing"), errdefs.ErrPermissionDenied)
		}
		with := p
		if err := set(&with, annotations[name]); err != nil {
			return policy{}, nil, fmt.Errorf("annotation %q: %w: %w", name, err, errdefs.ErrInvalidArgument)
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

func annotationNames() []string {
	names := config.Policies()
	for i := range names {
		names[i] = annotationPrefix + names[i]
	}
	return names
}
