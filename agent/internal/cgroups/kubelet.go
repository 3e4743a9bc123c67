package cgroups

import (
	"path"
	"regexp"
	"strings"
)

// containerdUnit is where runc's cgroupfs driver makes the cgroups whose names are in
// the systemd driver's notation, if containerd is a unit of systemd: below runc's own.
const containerdUnit = "/system.slice/containerd.service"

// Kubelet knows where kubelet has the cgroups of pods: below kubepods in its root, at
// the depth and with the names of one of its two cgroup drivers. A directory that is
// named so anywhere else was made by somebody else. A nil Kubelet has DefaultRoots.
type Kubelet struct {
	// trees are where kubelet's own cgroups begin, with a slash at the end.
	trees []string
	pods  []podForm
}

// podForm is the form of a path that has a pod's UID between before and after.
type podForm struct {
	before, after string
	// systemd says that the UID has _ for -, which is systemd's separator.
	systemd bool
	// id says that the container's ID follows in the same directory's name.
	id bool
}

var defaultKubelet = newKubelet(DefaultRoots)

// NewKubelet returns the Kubelet of some roots, each the value of a kubelet's option
// --cgroup-root: an absolute path.
func NewKubelet(roots []string) (*Kubelet, error) {
	if err := CheckRoots(roots); err != nil {
		return nil, err
	}
	return newKubelet(roots), nil
}

func newKubelet(roots []string) *Kubelet {
	k := &Kubelet{}
	for _, root := range roots {
		cgroup := append(strings.FieldsFunc(root, func(r rune) bool { return r == '/' }), "kubepods")
		k.trees = append(k.trees, cgroupfs(cgroup)+"/", systemd(cgroup)+"/")
		for _, class := range []string{"", "burstable", "besteffort"} { // the guaranteed are right below kubepods
			k.add(append(cgroup[:len(cgroup):len(cgroup)], class))
		}
	}
	return k
}

// add adds the forms of the pods that are right below a cgroup.
func (k *Kubelet) add(cgroup []string) {
	if cgroup[len(cgroup)-1] == "" {
		cgroup = cgroup[:len(cgroup)-1]
	}
	pod := append(cgroup[:len(cgroup):len(cgroup)], "pod")
	slice := strings.TrimSuffix(systemd(pod), ".slice")
	k.pods = append(k.pods, podForm{before: cgroupfs(pod)}, podForm{before: slice, after: ".slice", systemd: true})
	for _, above := range []string{"", containerdUnit} {
		k.pods = append(k.pods, podForm{before: above + "/" + path.Base(slice), after: ".slice:", systemd: true, id: true})
	}
}

// cgroupfs and systemd return the path that a driver gives a cgroup
// (CgroupName.ToCgroupfs and ToSystemd in Kubernetes, pkg/kubelet/cm).
func cgroupfs(cgroup []string) string { return "/" + path.Join(cgroup...) }

func systemd(cgroup []string) string {
	name, out := "", ""
	for _, part := range cgroup {
		name = strings.TrimPrefix(name+"-"+strings.ReplaceAll(part, "-", "_"), "-")
		out += "/" + name + ".slice"
	}
	return out
}

// podUIDForm is what kubelet has in a cgroup's name: a UUID, or the hash of a manifest.
var podUIDForm = regexp.MustCompile(`^[0-9a-zA-Z-]{1,63}$`)

// uid returns the pod's UID of a path in this form, and the path's beginning up to the
// UID's directory.
func (f podForm) uid(cgroup string) (uid, dir string) {
	rest, ok := strings.CutPrefix(cgroup, f.before)
	if !ok {
		return "", ""
	}
	name, _, _ := strings.Cut(rest, "/")
	dir = cgroup[:len(f.before)+len(name)]
	if f.id {
		uid, _, ok = strings.Cut(name, f.after)
	} else {
		uid, ok = strings.CutSuffix(name, f.after)
	}
	if f.systemd {
		uid = strings.ReplaceAll(uid, "_", "-")
	}
	if !ok || !podUIDForm.MatchString(uid) {
		return "", ""
	}
	return uid, dir
}

// Owns reports whether a path is kubelet's kubepods, or below.
func (k *Kubelet) Owns(cgroup string) bool {
	if k == nil {
		k = defaultKubelet
	}
	for _, tree := range k.trees {
		if strings.HasPrefix(cgroup, tree) || cgroup == tree[:len(tree)-1] {
			return true
		}
	}
	return false
}

// Locate reads a cgroup's path, absolute and clean.
func (k *Kubelet) Locate(cgroup string) Place {
	if k == nil {
		k = defaultKubelet
	}
	for _, form := range k.pods {
		uid, dir := form.uid(cgroup)
		switch {
		case uid == "":
			continue
		case form.id:
			return Place{Container: containerID(colonID(path.Base(dir))), Path: dir, PodUID: uid}
		case dir == cgroup:
			return Place{Path: dir, PodUID: uid, Pod: dir}
		}
		name, _, _ := strings.Cut(cgroup[len(dir)+1:], "/")
		return Place{Container: inPod(name), Path: dir + "/" + name, PodUID: uid, Pod: dir}
	}
	if k.Owns(cgroup) {
		return Place{Path: cgroup} // such as a class of pods
	}
	return outsidePods(cgroup)
}
