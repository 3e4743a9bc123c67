//go:build linux

package shim

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/oomwitness/oomwitness/shim/config"
)

const (
	annotationPrefix = "oomwitness.io/"
	reportAnnotation = annotationPrefix + "report"

	// CRI's annotations (containerd internal/cri/annotations).
	criContainerName = "io.kubernetes.cri.container-name"
	criSandboxID     = "io.kubernetes.cri.sandbox-id"
)

// policy is what a container's annotations ask for.
type policy struct {
	report config.Report
	// pod says that the container belongs to a CRI pod, whose cgroup is the
	// parent of the container's.
	pod bool
}

// readAnnotations reads the annotations of the OCI spec in a bundle.
func readAnnotations(bundle string) (map[string]string, error) {
	f, err := os.Open(filepath.Join(bundle, "config.json"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var spec struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.NewDecoder(f).Decode(&spec); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return spec.Annotations, nil
}

// parsePolicy reads the annotations with our prefix. A name with a container's
// name appended holds for that container and wins over the bare one; one for
// another container of the pod is checked all the same, so that a mistake shows
// in whichever container starts first. They come from whoever may create pods:
// an unknown name or a bad value is an error, never ignored.
func parsePolicy(annotations map[string]string, def config.Report) (policy, error) {
	p := policy{report: def}
	_, p.pod = annotations[criSandboxID]
	container := annotations[criContainerName]
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		if !strings.HasPrefix(name, annotationPrefix) {
			continue
		}
		base, forContainer, scoped := strings.Cut(strings.TrimPrefix(name, annotationPrefix), ".")
		if annotationPrefix+base != reportAnnotation || (scoped && forContainer == "") {
			return policy{}, fmt.Errorf("annotation %q is not known to this version of oomwitness; allowed: %q, or with %q appended: %w",
				name, reportAnnotation, ".<container name>", errdefs.ErrInvalidArgument)
		}
		report, err := config.ParseReport(annotations[name])
		if err != nil {
			return policy{}, fmt.Errorf("annotation %q: %w: %w", name, err, errdefs.ErrInvalidArgument)
		}
		// Sorted order puts the bare name before the scoped ones.
		if !scoped || forContainer == container {
			p.report = report
		}
	}
	return p, nil
}
