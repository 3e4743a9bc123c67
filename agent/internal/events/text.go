package events

import (
	"unicode/utf8"

	"github.com/oomwitness/oomwitness/why/text"
)

// Size is a number of bytes in four digits or fewer.
func Size(bytes uint64) string {
	number, prefix := text.Scale(bytes)
	return number + " " + prefix + "B"
}

// Clean returns text of others as one line that a terminal shows as it stands: a process
// may call itself anything. Clean of what Clean has returned is the same.
func Clean(s string) string { return text.Clean(s) }

// maxPath is how much of a cgroup's path an OOM event has, in bytes. Those of kubelet and
// systemd have some 200. Whoever makes cgroups may make one of 4,096 bytes, each of which takes six
// in what Clean returns; and thousands of victims are kept.
const maxPath = 512

// CleanPath returns the path of a cgroup as Clean does, and "..." for the rest of one that is
// long.
func CleanPath(path string) string {
	const rest = "..."
	clean := Clean(path[:min(len(path), maxPath+1)])
	if len(clean) <= maxPath {
		return clean
	}
	end := maxPath - len(rest)
	for !utf8.RuneStart(clean[end]) {
		end--
	}
	return clean[:end] + rest
}
