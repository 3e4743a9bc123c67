package preflight

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

// doInstall is the advice for most findings about the registration.
const doInstall = "run: oomwitness install"

// registered checks the registration for a version of containerd, which may be unknown. docker
// are the findings on Docker.
func (c Checker) registered(text string, docker []Finding) []Finding {
	version, err := containerd.ParseVersion(text)
	dropinPath := path.Join(c.ConfDir, criconf.DropinName)
	config, loadErr := criconf.Load(c.Root, c.ContainerdConfig, dropinPath)
	if len(docker) > 0 && docker[0].Status == OK && loadErr == nil && !c.inCRI(config) {
		_, shim := c.shim(false)
		return []Finding{
			shim, ok("drop-in", "not installed: the shim is registered with Docker, and not with containerd's CRI plugin"),
			ok("imports", "there is no drop-in to import"),
		}
	}
	source := config.Source(c.Root)
	reads := (err != nil || version.Dropins()) && config.Covers(dropinPath)
	template := loadErr == nil && source.Template != "" && !reads
	if template || err == nil && !version.Dropins() && source.Folder == "" {
		return c.blockRegistration(version)
	}
	return c.registration(source.Folder == c.ConfDir)
}

// inCRI reports whether there is a part of a registration with containerd's CRI plugin.
func (c Checker) inCRI(config criconf.Config) bool {
	return c.Root.Exists(path.Join(c.ConfDir, criconf.DropinName)) || c.inTemplate(config) ||
		slices.ContainsFunc(config.Files, func(file criconf.File) bool { return file.Marked })
}

// registration checks what install writes: the shim, the drop-in, whether containerd includes
// the drop-in, and whether the running containerd has read it. merged says that a generator
// merges the drop-in into the configuration.
func (c Checker) registration(merged bool) []Finding {
	var (
		dropinPath = path.Join(c.ConfDir, criconf.DropinName)
		data, err  = c.Root.ReadFile(dropinPath)
		absent     = errors.Is(err, fs.ErrNotExist)
	)
	config, loadErr := criconf.Load(c.Root, c.ContainerdConfig, dropinPath)
	shim, finding := c.shim(!absent)
	findings := []Finding{finding}
	switch {
	case absent:
		return append(findings,
			bad(Warn, "drop-in", doInstall, "not installed: no %s", dropinPath),
			c.included(config, loadErr, dropinPath, merged))
	case err != nil:
		return append(findings, bad(Fail, "drop-in", "run this command as root", "%v", err))
	}
	return append(findings,
		c.dropin(config, dropinPath, shim, data),
		c.included(config, loadErr, dropinPath, merged),
		c.Restart())
}

// shim finds the shim's binary. A missing binary is a failure only if it is registered with
// containerd.
func (c Checker) shim(registered bool) (string, Finding) {
	const name = "shim"
	want := path.Join(c.BinDir, criconf.ShimName)
	if found := c.Root.LookPath(criconf.ShimName, append([]string{c.BinDir}, c.Path...)); found != "" {
		return found, ok(name, "%s", found)
	}
	if c.Root.Exists(want) {
		return want, bad(Fail, name, "run: chmod 755 "+want, "%s is not an executable file", want)
	}
	if registered {
		return want, bad(Fail, name, doInstall, "no %s, but containerd is configured to use it", want)
	}
	return want, bad(Warn, name, doInstall, "not installed: no %s", want)
}

// dropin compares the drop-in with the drop-in that install would write now.
func (c Checker) dropin(config criconf.Config, name, shim string, data []byte) Finding {
	const check = "drop-in"
	file, err := criconf.Parse(name, data)
	if err != nil {
		return bad(Fail, check, doInstall+" (containerd does not start with this file)", "%v", err)
	}
	if !criconf.Ours(data) {
		return bad(Fail, check, "move the file away, then "+doInstall, "%s was not written by oomwitness install", name)
	}
	if err := file.Registered(c.Handler, shim); err != nil {
		return bad(Fail, check, doInstall, "altered: %v", err)
	}
	version, err := config.DropinVersion(0)
	if err != nil {
		return bad(Fail, check, doInstall, "%v", err)
	}
	if config.Version() > 1 && file.Version != version {
		return bad(Fail, check, doInstall, "%s has version %d, %s has %d: they do not go together",
			name, file.Version, config.Path, config.Version())
	}
	systemd := file.OptionSystemdCgroup(c.Handler)
	if runc, set := config.SystemdCgroup(); set && runc != systemd {
		return bad(Warn, check, doInstall+"; kubelet uses one cgroup driver for all handlers",
			"SystemdCgroup is %t, the runc handler has %t", systemd, runc)
	}
	if criconf.Altered(data) {
		return bad(Warn, check, doInstall+" to put it back; the next install does so anyway", "%s was altered after install wrote it", name)
	}
	want, err := criconf.Dropin{
		Version: file.Version, Handler: c.Handler, Shim: shim, SystemdCgroup: systemd, Runc: config.Runc(),
	}.Render()
	if err != nil || string(want) != string(data) {
		return bad(Warn, check, doInstall, "%s is from another version of oomwitness, or the runc handler changed since", name)
	}
	return ok(check, "%s registers %q", name, c.Handler)
}

// included reports whether containerd reads the drop-in.
func (c Checker) included(config criconf.Config, err error, dropin string, merged bool) Finding {
	const name = "imports"
	switch {
	case err != nil:
		return bad(Fail, name, "correct it; until then containerd does not start", "%v", err)
	case config.CRIDisabled() != "":
		return bad(Warn, name, "remove it from disabled_plugins if Kubernetes is to use this containerd",
			"%s disables the CRI plugin", config.CRIDisabled())
	case merged:
		return ok(name, "%s is made with what is in %s", config.Path, c.ConfDir)
	case config.Covers(dropin):
		return ok(name, "%s (version %d) includes %s", config.Path, config.Version(), c.ConfDir)
	}
	// This is no failure as long as nothing is installed.
	status := Warn
	version, _ := config.DropinVersion(0)
	if data, err := c.Root.ReadFile(dropin); err == nil {
		status = Fail
		if file, err := criconf.Parse(dropin, data); err == nil {
			version = file.Version
		}
	}
	if !config.Exists {
		return bad(status, name, config.ImportAdvice(c.ConfDir, version),
			"no %s: containerd runs on its built-in configuration and reads no drop-ins", config.Path)
	}
	return bad(status, name, config.ImportAdvice(c.ConfDir, version), "%s does not import %s", config.Path, c.ConfDir)
}

// Restart returns a finding on whether the running containerd is older than its files.
func (c Checker) Restart() Finding {
	const name = "restart"
	dropin := path.Join(c.ConfDir, criconf.DropinName)
	started, known := c.startedAt()
	if !known {
		return ok(name, "containerd does not run here, it reads the drop-in when it starts")
	}
	for _, file := range []string{dropin, c.ContainerdConfig} {
		info, err := os.Stat(c.Root.Path(file))
		// The start time is exact to about a second, as the boot time is.
		if err == nil && info.ModTime().After(started.Add(time.Second)) {
			return bad(Warn, name, c.doRestart(), "containerd started before %s was last changed", file)
		}
	}
	return ok(name, "containerd started after its configuration was last changed")
}
