// Package cgroups gives the IDs of cgroups in the ledger's records a name: the
// path, the container and pod that it belongs to, and whose limit fired.
package cgroups

import (
	"regexp"
	"strings"
)

// Place is what a cgroup's path says of the container that it is, or is in.
type Place struct {
	// Container is the container's ID, "" where the path is no container's. IDs
	// that are not 64 hexadecimal digits, outside a pod, are a guess: ctr gives
	// any name, and so does who makes a cgroup by hand.
	Container string
	// Path is the container's own cgroup; the cgroup itself where there is none.
	Path string
	// PodUID is the pod's UID as Kubernetes writes it, Pod its cgroup.
	PodUID, Pod string
}

var (
	// podSlice is a pod's cgroup by the systemd driver, below any parent that
	// kubelet's cgroupRoot names: kubelet-kubepods-burstable-pod<uid>.slice.
	podSlice = regexp.MustCompile(`^(?:.*-)?kubepods(?:-besteffort|-burstable|-guaranteed)?-pod([0-9a-zA-Z_]+)\.slice$`)
	// podDir is a pod's cgroup by the cgroupfs driver, somewhere below kubepods.
	podDir = regexp.MustCompile(`^pod([0-9a-zA-Z-]+)$`)
	// fullID is the usual container ID, with the runtime's prefix in a scope.
	fullID = regexp.MustCompile(`^(?:(?:.*-)?([0-9a-f]{64})\.scope|([0-9a-f]{64}))$`)
	// scopeID is any name in a scope: the prefix ends at the first dash, but for
	// those of which it is known to have one.
	scopeID = regexp.MustCompile(`^(?:cri-containerd|[^-]+)-(.+)\.scope$`)
)

// sure says that the path can't be anything else.
func (p Place) sure() bool { return p.PodUID != "" || fullIDOf(p.Container) != "" }

// Locate reads a cgroup's path, absolute and clean, in the forms that both
// cgroup drivers give it.
func Locate(path string) Place {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	p := Place{Path: path}
	kubepods := false
	for i, part := range parts {
		switch uid, id, colon := podOf(part, kubepods), fullIDOf(part), colonID(part); {
		case colon != "":
			// The systemd driver's notation under the cgroupfs driver: runc makes
			// one directory of it.
			slice, _, _ := strings.Cut(part, ":")
			return Place{Container: colon, Path: join(parts[:i+1]), PodUID: podOf(slice, false)}
		case uid != "":
			p.PodUID, p.Pod = uid, join(parts[:i+1])
			if i+1 == len(parts) {
				return p
			}
			p.Container, p.Path = inPod(parts[i+1]), join(parts[:i+2])
			return p
		case id != "":
			return Place{Container: id, Path: join(parts[:i+1])}
		}
		kubepods = kubepods || part == "kubepods"
	}
	return outsidePods(path, parts)
}

// outsidePods finds ctr's containers: <prefix>-<id>.scope in system.slice, or
// the last element of a path that systemd has no part in. Cgroups that systemd
// runs inside a container are left off.
func outsidePods(path string, parts []string) Place {
	if parts[0] == "system.slice" && len(parts) > 1 {
		if id := idOfScope(parts[1]); id != "" {
			return Place{Container: id, Path: join(parts[:2])}
		}
		return Place{Path: path}
	}
	n := 0
	for n < len(parts) && !isUnit(parts[n]) {
		n++
	}
	if n < 2 {
		return Place{Path: path}
	}
	return Place{Container: parts[n-1], Path: join(parts[:n])}
}

// podOf gives the UID of a pod's cgroup.
func podOf(part string, kubepods bool) string {
	if m := podSlice.FindStringSubmatch(part); m != nil {
		return strings.ReplaceAll(m[1], "_", "-")
	}
	if m := podDir.FindStringSubmatch(part); kubepods && m != nil {
		return m[1]
	}
	return ""
}

func fullIDOf(part string) string {
	m := fullID.FindStringSubmatch(part)
	if m == nil {
		return ""
	}
	return m[1] + m[2]
}

// colonID gives the ID in <slice>:<prefix>:<id>.
func colonID(part string) string {
	fields := strings.Split(part, ":")
	if len(fields) != 3 || !strings.HasSuffix(fields[0], ".slice") {
		return ""
	}
	return fields[2]
}

// inPod gives the ID of a cgroup right below a pod's.
func inPod(part string) string {
	if id := fullIDOf(part); id != "" {
		return id
	}
	if m := scopeID.FindStringSubmatch(part); m != nil {
		return m[1]
	}
	return part
}

// idOfScope gives the ID of a container's scope in system.slice, "" for the
// scopes that systemd and systemd-run make (run-u12.scope, session-1.scope).
func idOfScope(part string) string {
	m := scopeID.FindStringSubmatch(part)
	if m == nil || strings.HasPrefix(part, "run-") || strings.HasPrefix(part, "session-") {
		return ""
	}
	return m[1]
}

// isUnit says whether a cgroup is one of systemd's.
func isUnit(part string) bool {
	for _, suffix := range []string{".slice", ".scope", ".service", ".socket", ".mount", ".swap"} {
		if strings.HasSuffix(part, suffix) {
			return true
		}
	}
	return false
}

func join(parts []string) string { return "/" + strings.Join(parts, "/") }

// Within says whether path is dir or below it.
func Within(path, dir string) bool {
	return dir == "/" || path == dir || strings.HasPrefix(path, dir+"/")
}
