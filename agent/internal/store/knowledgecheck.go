package store

import (
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/resolve"
)

// Bounds of what a known may say: those of the kernel, of Kubernetes and of image
// references, or above.
const (
	maxPath    = 4095
	maxName    = 253
	maxImage   = 4096
	maxPerPod  = 256 // containers
	maxFormers = 8   // IDs of one
)

// kinds of containers; containerd does not report which.
var kinds = []string{resolve.KindInit, resolve.KindSidecar, resolve.KindContainer, resolve.KindEphemeral}

// fits reports whether a known is of one thing that can be.
func (l known) fits() bool {
	things := 0
	for _, is := range []bool{l.Cgroup != nil, l.Container != nil, l.Pod != nil} {
		if is {
			things++
		}
	}
	switch {
	case things != 1:
		return false
	case l.Cgroup != nil:
		return cgroupFits(l.Cgroup)
	case l.Container != nil:
		return containerFits(l.Container)
	default:
		return podFits(l.Pod)
	}
}

func cgroupFits(c *cgroups.Known) bool {
	return c.ID != 0 && strings.HasPrefix(c.Path, "/") && path.Clean(c.Path) == c.Path && texts(maxPath, c.Path)
}

func containerFits(c *resolve.KnownContainer) bool {
	i := &c.Info
	return c.ID != "" && texts(maxName, c.ID, i.Namespace, i.Name, i.Pod, i.PodNamespace, i.PodUID) && texts(maxImage, i.Image)
}

func podFits(p *resolve.KnownPod) bool {
	for _, c := range p.Containers {
		if !slices.Contains(kinds, c.Kind) || len(c.IDs) > maxFormers || !texts(maxImage, c.Image) ||
			!texts(maxName, c.Name) || !texts(maxName, c.IDs...) {
			return false
		}
	}
	return p.UID != "" && texts(maxName, p.UID, p.Hash) && len(p.Containers) <= maxPerPod &&
		len(validation.IsDNS1123Label(p.Namespace)) == 0 && len(validation.IsDNS1123Subdomain(p.Name)) == 0
}

// texts reports whether all of them are of printing length and form: JSON has no other.
func texts(most int, list ...string) bool {
	return !slices.ContainsFunc(list, func(s string) bool {
		return len(s) > most || !utf8.ValidString(s) || strings.ContainsRune(s, 0)
	})
}
