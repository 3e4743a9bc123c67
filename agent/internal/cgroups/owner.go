package cgroups

import "strings"

// guests is where the cgroups of LXC's guests begin, such as /lxc.payload.NAME
// (DEFAULT_PAYLOAD_CGROUP_PREFIX in LXC). On cgroup v1 they are /lxc/NAME.
const guests = "/lxc."

// Owner returns the cgroup whose user made the one of a path outside pods, and the
// others beside: the service or scope of the node's systemd, a user's slice, a guest of
// LXC, or two levels of what else systemd has no part in. It is "" for slices above those,
// which only root has systemd make.
func Owner(path string) string {
	const users = "/user.slice/user-"
	end, rest := 0, strings.TrimPrefix(path, "/")
	for rest != "" {
		name, after, _ := strings.Cut(rest, "/")
		end += 1 + len(name)
		switch {
		case strings.HasPrefix(path[:end], users), strings.HasPrefix(path, guests):
			return path[:end]
		case strings.HasSuffix(name, ".slice"):
			rest = after
			continue
		case end == 1+len(name) && !isUnit(name) && after != "":
			second, _, _ := strings.Cut(after, "/")
			return path[:end+1+len(second)]
		}
		return path[:end]
	}
	return ""
}
