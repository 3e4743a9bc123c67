package cgroups

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// maxSearched bounds the cgroups in which this process's own is looked for. Breadth comes
// first: whoever makes cgroups below a container's hides no other container's.
const maxSearched = 1 << 13

// ownRoot returns the value of kubelet's --cgroup-root by which the cgroup of a process
// is where kubelet puts the pod podUID; "" without pod or mount. The process has to be in
// that cgroup: a name alone proves nothing.
func ownRoot(mount, podUID string, pid int) (string, error) {
	if podUID == "" || mount == "" {
		return "", nil
	}
	if !podUIDForm.MatchString(podUID) {
		return "", fmt.Errorf("pod UID %q: has to be the UID of a pod, letters, digits and dashes", podUID)
	}
	own := ownCgroup(mount, podUID, pid)
	if own == "" {
		return "", fmt.Errorf("no cgroup below %s is named after the pod %s and has this process", mount, podUID)
	}
	root := rootOf(own, podUID)
	if root == "" {
		return "", fmt.Errorf("own cgroup %q: kubelet has the pod %s below kubepods in its cgroup root", own, podUID)
	}
	return root, nil
}

// rootOf returns the value of --cgroup-root by which a cgroup's path is in the pod podUID,
// "" if there is none.
func rootOf(cgroup, podUID string) string {
	for _, root := range rootsOf(cgroup) {
		if CheckRoots([]string{root}) == nil && newKubelet([]string{root}).Locate(cgroup).PodUID == podUID {
			return root
		}
	}
	return ""
}

// ownCgroup returns the path of the cgroup that has a process, as far as the path has the
// UID of a pod in it; "" for none. /proc/self/cgroup does not show the path in a cgroup
// namespace of the container's own, which is the usual one on cgroup v2. Only
// directories of root are looked into: kubelet and runtime make no others above a container.
func ownCgroup(mount, podUID string, pid int) string {
	names := []string{podUID, strings.ReplaceAll(podUID, "-", "_")}
	queue := []string{"/"}
	for n := 0; n < len(queue); n++ {
		dir := queue[n]
		ofPod := slices.ContainsFunc(names, func(name string) bool { return strings.Contains(dir, name) })
		if ofPod && hasProcess(filepath.Join(mount, dir), pid) {
			return dir
		}
		entries, err := os.ReadDir(filepath.Join(mount, dir))
		if err != nil {
			continue // removed, or closed to this process
		}
		for _, e := range entries {
			if e.IsDir() && len(queue) < maxSearched && ofRoot(e) {
				queue = append(queue, path.Join(dir, e.Name()))
			}
		}
	}
	return ""
}

// hasProcess reports whether a process of this PID namespace is in a cgroup. Processes of
// others have no number here (cgroup_procs_show and pidlist_array_load in the kernel).
func hasProcess(dir string, pid int) bool {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	return err == nil && slices.Contains(strings.Fields(string(data)), strconv.Itoa(pid))
}

func ofRoot(e fs.DirEntry) bool {
	info, err := e.Info()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == 0
}

// rootsOf returns the values of --cgroup-root by which a path may be below kubepods, the
// outermost first.
func rootsOf(cgroup string) (roots []string) {
	parts := strings.Split(strings.Trim(cgroup, "/"), "/")
	for i, part := range parts {
		if part == "kubepods" {
			roots = append(roots, join(parts[:i]))
		}
		slice, _, ok := strings.Cut(part, ".slice")
		if before, _, found := strings.Cut("-"+slice+"-", "-kubepods-"); ok && found {
			// ParseSystemdToCgroupName in Kubernetes, pkg/kubelet/cm
			before = strings.ReplaceAll(strings.ReplaceAll(before, "-", "/"), "_", "-")
			roots = append(roots, path.Clean("/"+before))
		}
	}
	return roots
}
