package cgroups

import "strings"

// Unit is the systemd unit that a cgroup's path is in, by its name: the service,
// scope, socket, mount or swap of the node's systemd, else the innermost slice;
// "" where systemd has no part in it. Units of a user's own systemd are below the
// service user@UID.service.
func Unit(path string) string {
	slice := ""
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		name := strings.TrimPrefix(part, "_") // systemd's escape of names that the kernel has
		switch {
		case !isUnit(name):
			return slice
		case !strings.HasSuffix(name, ".slice"):
			return name
		}
		slice = name
	}
	return slice
}
