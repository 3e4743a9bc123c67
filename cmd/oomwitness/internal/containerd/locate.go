package containerd

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/procs"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// unitName matches the name of a systemd service (systemd.unit(5)).
var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]{1,255}$`)

// CheckUnit refuses a name that no systemd service has: the name is part of paths and of unit
// files.
func CheckUnit(name string) error {
	if !unitName.MatchString(name) {
		return fmt.Errorf("--containerd-unit %q: has to be the name of a systemd unit, such as containerd.service", name)
	}
	return nil
}

// Wanted selects a containerd of the node. Empty fields select any.
type Wanted struct {
	// Address is the socket, Config the main configuration file.
	Address, Config string
}

// Located is the result of Locate.
type Located struct {
	// Instance is the selected containerd.
	Instance
	// Others are the other running ones.
	Others []Instance
	// PassedOver are processes named containerd, each with the reason why the process does not
	// count.
	PassedOver []string
}

// Locate finds the containerd of a node: the running one with the wanted socket or
// configuration; or the one that kubelet uses; or the only one with the CRI plugin enabled; or
// the only one. If none runs, files of the root describe it.
func Locate(ctx context.Context, root rootfs.Dir, wanted Wanted) (Located, error) {
	found, passedOver, err := running(root)
	if err != nil {
		return Located{}, err
	}
	out := Located{PassedOver: passedOver}
	if wanted.Address != "" && !slices.ContainsFunc(found, wanted.matches(root)) {
		if instance, ok := listening(ctx, root, wanted.Address); ok {
			found = append(found, instance)
		}
	}
	matching := slices.DeleteFunc(slices.Clone(found), func(i Instance) bool { return !wanted.matches(root)(i) })
	if len(matching) == 0 {
		out.Instance, err = fromFiles(root, wanted)
		out.Others = found
		return out, err
	}
	if out.Instance, err = choose(root, matching); err != nil {
		return out, err
	}
	out.Others = slices.DeleteFunc(found, func(i Instance) bool { return i.PID == out.PID })
	return out, nil
}

// matches returns a function that reports whether an instance is wanted. If socket and
// configuration are named, the socket decides.
func (w Wanted) matches(root rootfs.Dir) func(Instance) bool {
	return func(i Instance) bool {
		if w.Address != "" {
			return root.Resolve(i.Address) == root.Resolve(w.Address)
		}
		return w.Config == "" || root.Resolve(i.Config) == root.Resolve(w.Config)
	}
}

// listening returns the containerd that listens at a socket which the operator named. The
// containerd may run in a mount namespace of its own, and must be root's.
func listening(ctx context.Context, root rootfs.Dir, address string) (Instance, bool) {
	pid := peer(ctx, root.Path(address))
	if pid == "" || !procs.IsRoot(root.Path("/proc/"+pid)) {
		return Instance{}, false
	}
	number, err := strconv.Atoi(pid)
	if err != nil {
		return Instance{}, false
	}
	instance, why := fromProcess(root, number)
	instance.Address = address
	return instance, why == ""
}

// choose returns the instance that Kubernetes uses, or else the only one.
func choose(root rootfs.Dir, found []Instance) (Instance, error) {
	if endpoint := kubeletEndpoint(root); endpoint != "" {
		if n := slices.IndexFunc(found, Wanted{Address: endpoint}.matches(root)); n >= 0 {
			return found[n], nil
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	cri := slices.DeleteFunc(slices.Clone(found), func(i Instance) bool { return !i.CRI })
	if len(cri) == 1 {
		return cri[0], nil
	}
	lines := make([]string, len(found))
	for n, instance := range found {
		lines[n] = "\n  " + instance.String()
	}
	return found[0], fmt.Errorf("more than one containerd runs, and none of them is the one with CRI that kubelet uses: "+
		"name one with --address:%s", strings.Join(lines, ""))
}

// kubeletEndpoint returns the socket that the node's kubelet uses, "" if no kubelet runs as a
// process of its own. kubelet's default is containerd's socket.
func kubeletEndpoint(root rootfs.Dir) string {
	pids, _, err := procs.Daemons(root.Path("/proc"), "kubelet")
	if err != nil || len(pids) == 0 {
		return ""
	}
	words := strings.Split(root.Text("/proc/"+strconv.Itoa(pids[0])+"/cmdline"), "\x00")
	value := func(name string) string {
		for n, word := range words {
			word = strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-")
			if text, found := strings.CutPrefix(word, name+"="); found {
				return text
			}
			if word == name && n+1 < len(words) {
				return words[n+1]
			}
		}
		return ""
	}
	endpoint := value("container-runtime-endpoint")
	if file := value("config"); endpoint == "" && path.IsAbs(file) {
		var config struct {
			Endpoint string `json:"containerRuntimeEndpoint"`
		}
		if data, err := root.ReadFile(file); err == nil && yaml.Unmarshal(data, &config) == nil {
			endpoint = config.Endpoint
		}
	}
	if endpoint == "" {
		return DefaultAddress
	}
	return strings.TrimPrefix(endpoint, "unix://")
}

// atRest describes a containerd that does not run, by its files.
type atRest struct {
	// config is the path of the configuration. program is a pattern of the program's path, ""
	// for systemd's PATH.
	config, program, address, unit string
}

// atRests are known layouts of nodes and images in which nothing runs. A running containerd
// shows all of this by its process.
var atRests = []atRest{
	{criconf.DefaultPath, "", DefaultAddress, "containerd.service"},
	{"/var/lib/rancher/k3s/agent/etc/containerd/config.toml", "/var/lib/rancher/k3s/data/current/bin/containerd", "/run/k3s/containerd/containerd.sock", ""},
	{"/var/lib/rancher/rke2/agent/etc/containerd/config.toml", "/var/lib/rancher/rke2/data/*/bin/containerd", "/run/k3s/containerd/containerd.sock", ""},
	{"/etc/k0s/containerd.toml", "/var/lib/k0s/bin/containerd", "/run/k0s/containerd.sock", ""},
	{"/var/snap/microk8s/current/args/containerd.toml", "/snap/microk8s/current/bin/containerd", "/var/snap/microk8s/common/run/containerd.sock", "snap.microk8s.daemon-containerd.service"},
}

// fromFiles returns the containerd of a root in which no wanted one runs.
func fromFiles(root rootfs.Dir, wanted Wanted) (Instance, error) {
	var there []atRest
	for _, place := range atRests {
		if wanted.Config == place.config || wanted.Config == "" && root.Exists(place.config) {
			there = append(there, place)
		}
	}
	if len(there) > 1 {
		names := make([]string, len(there))
		for n, place := range there {
			names[n] = place.config
		}
		return Instance{}, errors.New("no containerd runs, and there are several configurations: name one with --containerd-config: " + strings.Join(names, ", "))
	}
	place := atRests[0]
	if len(there) == 1 {
		place = there[0]
	}
	instance := Instance{Config: place.config, Path: SystemPath, Unit: place.unit}
	if wanted.Config != "" {
		instance.Config = wanted.Config
	}
	instance.Program.Path = root.LookPath("containerd", SystemPath)
	if place.program != "" {
		matches, err := root.Glob(place.program)
		if err != nil {
			return Instance{}, err
		}
		instance.Program = rootfs.Program{Name: "containerd"}
		for _, name := range matches {
			instance.Program.Path = name
			instance.Path = append([]string{filepath.Dir(name)}, SystemPath...)
		}
	}
	instance.fill(root)
	if wanted.Address != "" {
		instance.Address = wanted.Address
	} else if instance.Address == DefaultAddress {
		instance.Address = place.address
	}
	return instance, nil
}
