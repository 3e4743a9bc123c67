// Package cgroups gives the IDs of cgroups in the ledger's records a name: the
// path, the container and pod that it belongs to, and whose limit fired.
package cgroups

import (
	"regexp"
	"strings"

	"github.com/containerd/containerd/v2/pkg/identifiers"
)

// Place is what a cgroup's path says of the container that it is, or is in.
type Place struct {
	// Container is the container's ID, "" where the path is no container's. IDs
	// that are not 64 hexadecimal digits, outside a pod, are a guess: ctr gives
	// any name, and so does who makes a cgroup by hand.
	Container string
	// Path is the container's own cgroup; the cgroup itself where there is none.
	Path string
	// PodUID is the pod's UID as Kubernetes writes it, Pod its cgroup: kubelet made it.
	PodUID, Pod string
}

var (
	// fullID is the usual container ID, with the runtime's prefix and in a scope or not.
	fullID = regexp.MustCompile(`^(?:[a-z-]+-)?([0-9a-f]{64})(?:\.scope)?$`)
	// scopeID is any name in a scope: the prefix ends at the first dash, but for
	// those of which it is known to have one.
	scopeID = regexp.MustCompile(`^(?:cri-containerd|[^-]+)-(.+)\.scope$`)
)

// sure says that the path can't be anything else.
func (p Place) sure() bool { return p.PodUID != "" || fullIDOf(p.Container) != "" }

// outsidePods finds the containers of Docker, Podman and ctr, where nobody but root
// makes cgroups: a scope that the node's systemd has made right below its slices, or a
// path at the top of the hierarchy that systemd has no part in. Cgroups that systemd
// runs inside a container are left off. A guest of LXC makes cgroups of its own there.
func outsidePods(path string) Place {
	if strings.HasPrefix(path, guests) || strings.Contains(path, guests+"payload.") || strings.HasPrefix(path, "/lxc/") {
		return Place{Path: path}
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	slices, others := 0, 0
	for slices < len(parts) && strings.HasSuffix(parts[slices], ".slice") {
		slices++
	}
	if slices > 0 {
		if slices == len(parts) {
			return Place{Path: path}
		}
		return inScope(path, parts[:slices+1])
	}
	for others < len(parts) && !isUnit(parts[others]) {
		others++
	}
	for i := 1; i < others; i++ {
		if id := fullIDOf(parts[i]); id != "" {
			return Place{Container: id, Path: join(parts[:i+1])}
		}
	}
	if others < 2 || containerID(parts[others-1]) == "" {
		return Place{Path: path}
	}
	return Place{Container: parts[others-1], Path: join(parts[:others])}
}

// inScope finds the container of a scope, the last of parts. In system.slice its ID may
// be any, but for the scopes that systemd and systemd-run make (run-u12.scope).
func inScope(path string, parts []string) Place {
	name := parts[len(parts)-1]
	if !strings.HasSuffix(name, ".scope") {
		return Place{Path: path}
	}
	id := fullIDOf(name)
	if m := scopeID.FindStringSubmatch(name); id == "" && m != nil && len(parts) == 2 && parts[0] == "system.slice" &&
		!strings.HasPrefix(name, "run-") && !strings.HasPrefix(name, "session-") {
		id = containerID(m[1])
	}
	if id == "" {
		return Place{Path: path}
	}
	return Place{Container: id, Path: join(parts)}
}

func fullIDOf(part string) string {
	m := fullID.FindStringSubmatch(part)
	if m == nil {
		return ""
	}
	return m[1]
}

// containerID returns a name that a container can have, else "".
func containerID(name string) string {
	if identifiers.Validate(name) != nil {
		return ""
	}
	return name
}

// colonID returns the ID in <slice>:<prefix>:<id>.
func colonID(part string) string {
	fields := strings.Split(part, ":")
	if len(fields) != 3 || !strings.HasSuffix(fields[0], ".slice") {
		return ""
	}
	return fields[2]
}

// inPod returns the ID of a cgroup right below a pod's.
func inPod(part string) string {
	if id := fullIDOf(part); id != "" {
		return id
	}
	if m := scopeID.FindStringSubmatch(part); m != nil {
		return containerID(m[1])
	}
	return containerID(part)
}

// isUnit reports whether a cgroup is one of systemd's.
func isUnit(part string) bool {
	for _, suffix := range []string{".slice", ".scope", ".service", ".socket", ".mount", ".swap"} {
		if strings.HasSuffix(part, suffix) {
			return true
		}
	}
	return false
}

func join(parts []string) string { return "/" + strings.Join(parts, "/") }

// Within reports whether path is dir or below it.
func Within(path, dir string) bool {
	return dir == "/" || path == dir || strings.HasPrefix(path, dir+"/")
}
