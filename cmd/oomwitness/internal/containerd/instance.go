package containerd

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/procs"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// Instance is a containerd of the node: a running one, or one that files and flags describe.
// All paths are as seen from inside the root.
type Instance struct {
	// PID is the process ID, 0 if the containerd does not run.
	PID int
	// Program is the program to run for questions to this containerd; its Path is "" if there
	// is none.
	Program rootfs.Program
	// Config is the main configuration file, Address the socket. Root and State are
	// containerd's folders.
	Config, Address, Root, State string
	// ConfigNamed says that the command line of the running containerd names Config.
	ConfigNamed bool
	// Path are the folders where this containerd looks for programs.
	Path []string
	// Unit is the systemd unit of the process, "" if none is known.
	Unit string
	// CRI reports whether the configuration has the CRI plugin enabled.
	CRI bool
	// ConfigVariable reports whether the unit names the configuration by the variable
	// CONTAINERD_CONFIG of its environment, as Flatcar's does.
	ConfigVariable bool
}

// String returns the name of the instance for an operator.
func (i Instance) String() string {
	cri := "CRI disabled"
	if i.CRI {
		cri = "CRI enabled"
	}
	process := "not running"
	if i.PID != 0 {
		process = fmt.Sprintf("pid %d", i.PID)
	}
	return fmt.Sprintf("%s, unit %s, --config %s, --address %s, %s", process, cmp.Or(i.Unit, "unknown"), i.Config, i.Address, cri)
}

// SystemPath is the PATH of a systemd service (systemd.exec(5)). The operator's own PATH does
// not matter.
var SystemPath = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// running returns the node's own running containerds, and the processes that it passed over.
func running(root rootfs.Dir) (found []Instance, passedOver []string, err error) {
	pids, passedOver, err := procs.Daemons(root.Path("/proc"), "containerd")
	if err != nil {
		return nil, nil, err
	}
	for _, pid := range pids {
		instance, why := fromProcess(root, pid)
		if why != "" {
			passedOver = append(passedOver, fmt.Sprintf("containerd with pid %d %s", pid, why))
			continue
		}
		found = append(found, instance)
	}
	return found, passedOver, nil
}

// fromProcess returns the containerd with a process ID. why is the reason to pass the process
// over, "" for none.
func fromProcess(root rootfs.Dir, pid int) (instance Instance, why string) {
	dir := "/proc/" + strconv.Itoa(pid)
	words := strings.Split(strings.TrimSuffix(root.Text(dir+"/cmdline"), "\x00"), "\x00")
	flags, command := parseFlags(words, inside(root, dir+"/cwd"))
	if command != "" {
		return instance, fmt.Sprintf("runs the command %q, and is no daemon", command)
	}
	env := environment(root.Text(dir + "/environ"))
	instance = Instance{
		PID: pid, Config: flags["config"], Address: flags["address"], Root: flags["root"], State: flags["state"],
		ConfigNamed: flags["config"] != "", Path: SystemPath, Unit: unitOf(root.Text(dir + "/cgroup")),
	}
	if value := env["PATH"]; value != "" {
		instance.Path = strings.Split(value, ":")
	}
	instance.Program = program(root, dir, words[0], env)
	instance.fill(root)
	instance.ConfigVariable = instance.ConfigNamed && env["CONTAINERD_CONFIG"] == instance.Config && unitNamesVariable(root, instance.Unit)
	return instance, ""
}

// inside returns the target of a process's link as seen from inside the root: the link shows
// the path as this process would see it (d_path in the kernel).
func inside(root rootfs.Dir, link string) string {
	target := root.Link(link)
	if rest, found := strings.CutPrefix(target, string(root)+"/"); found && !root.Running() {
		return "/" + rest
	}
	return target
}

// program returns the program of a process, to be run as the process was: k3s has containerd
// and more in one file, and chooses by argv[0].
func program(root rootfs.Dir, dir, name string, env map[string]string) rootfs.Program {
	exe := strings.TrimSuffix(inside(root, dir+"/exe"), " (deleted)") // the file was replaced: the new file will read the configuration
	if !path.IsAbs(exe) || !root.IsExecutable(exe) {
		return rootfs.Program{}
	}
	out := rootfs.Program{Path: exe, Name: name}
	for _, key := range []string{"PATH", "LD_LIBRARY_PATH"} {
		if value := env[key]; value != "" {
			out.Env = append(out.Env, key+"="+value)
		}
	}
	return out
}

// fill adds the values that no flag has set, as containerd does (applyFlags in
// cmd/containerd/command/main.go): from the configuration, then the built-in ones.
func (i *Instance) fill(root rootfs.Dir) {
	i.Config = cmp.Or(i.Config, criconf.DefaultPath)
	var text struct {
		Root, State string
		GRPC        struct{ Address string } `toml:"grpc"`
	}
	config, err := criconf.Load(root, i.Config, "")
	i.CRI = err == nil && config.CRIDisabled() == ""
	criconf.Decode(root, i.Config, &text)
	i.Address = cmp.Or(i.Address, text.GRPC.Address, DefaultAddress)
	i.Root = cmp.Or(i.Root, text.Root, "/var/lib/containerd")
	i.State = cmp.Or(i.State, text.State, "/run/containerd")
}

// parseFlags returns the values of containerd's flags by their long names, and the first word
// that is neither a flag nor a flag's value: a command. It knows the flags of 1.6 to 2.4 (App
// in cmd/containerd/command/main.go). A relative path is below the working directory of the
// process; it is dropped if that directory is not known.
func parseFlags(words []string, directory string) (flags map[string]string, command string) {
	flags = map[string]string{}
	long := map[string]string{"c": "config", "a": "address", "l": "log-level"}
	for n := 1; n < len(words); n++ {
		name, isFlag := strings.CutPrefix(words[n], "-")
		if !isFlag {
			if words[n] == "" {
				continue
			}
			return flags, words[n]
		}
		name, value, has := strings.Cut(strings.TrimPrefix(name, "-"), "=")
		name = cmp.Or(long[name], name)
		if !slices.Contains([]string{"config", "address", "root", "state", "log-level"}, name) {
			continue
		}
		if !has && n+1 < len(words) {
			n++
			value = words[n]
		}
		value = strings.TrimPrefix(value, "unix://")
		if value != "" && !path.IsAbs(value) {
			value = path.Join(directory, value)
		}
		if path.IsAbs(value) && name != "log-level" {
			flags[name] = path.Clean(value)
		}
	}
	return flags, ""
}

// environment parses the content of proc_pid_environ(5).
func environment(text string) map[string]string {
	out := map[string]string{}
	for entry := range strings.SplitSeq(text, "\x00") {
		if key, value, found := strings.Cut(entry, "="); found {
			out[key] = value
		}
	}
	return out
}

// unitOf returns the service in the content of proc_pid_cgroup(5), "" for none. A service of a
// user's own systemd does not count.
func unitOf(text string) string {
	var unit string
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 || parts[1] != "name=systemd" && parts[1] != "" || strings.HasPrefix(parts[2], "/user.slice/") {
			continue
		}
		for part := range strings.SplitSeq(parts[2], "/") {
			if strings.HasSuffix(part, ".service") && unitName.MatchString(part) {
				unit = part
			}
		}
	}
	return unit
}

// unitNamesVariable reports whether a unit, or a drop-in of that unit, starts containerd
// with the configuration that the variable CONTAINERD_CONFIG names.
func unitNamesVariable(root rootfs.Dir, unit string) bool {
	if unit == "" {
		return false
	}
	named := false
	for _, dir := range []string{"/usr/lib/systemd/system/", "/lib/systemd/system/", "/etc/systemd/system/", "/run/systemd/system/"} {
		dropins, err := root.Glob(dir + unit + ".d/*.conf")
		if err != nil {
			return false
		}
		for _, file := range append([]string{dir + unit}, dropins...) {
			for line := range strings.Lines(root.Text(file)) {
				if value, found := strings.CutPrefix(line, "ExecStart="); found && strings.TrimSpace(value) != "" {
					named = strings.Contains(value, "CONTAINERD_CONFIG")
				}
			}
		}
	}
	return named
}
