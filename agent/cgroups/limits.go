package cgroups

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// Limits reads a cgroup's memory limit and the most that it has used, in bytes:
// the hierarchy's version says in which files. Each is nil where there is none,
// or it can't be read: the cgroup is gone.
func (w *Watcher) Limits(path string) (limit, usage *uint64) {
	if path == "" || w.tree.Mount == "" {
		return nil, nil
	}
	dir := filepath.Join(w.tree.Mount, path)
	for _, names := range [][2]string{
		{"memory.max", "memory.peak"},                          // v2
		{"memory.limit_in_bytes", "memory.max_usage_in_bytes"}, // v1
		{"memory.max", "memory.current"},                       // v2 before Linux 5.19
	} {
		if limit == nil {
			limit = number(dir, names[0])
		}
		if usage == nil {
			usage = number(dir, names[1])
		}
	}
	return limit, usage
}

// unlimited is what v1 says for none: the largest multiple of any page size.
const unlimited = 1<<63 - 1<<16

func number(dir, name string) *uint64 {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(data)), 10, 64)
	if err != nil || n >= unlimited {
		return nil // "max"
	}
	return &n
}
