package preflight

import (
	"path"
	"slices"
	"strings"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

// doEdit is the advice for most findings about the registration with containerd 1.x.
const doEdit = "run: oomwitness install --edit-config"

// blockRegistration checks what install writes for containerd 1.x: the shim, the block in the
// owner's file, and whether the running containerd has read the block. The findings have the
// same names as those of registration.
func (c Checker) blockRegistration(version containerd.Version) []Finding {
	dropin := path.Join(c.ConfDir, criconf.DropinName)
	config, err := criconf.Load(c.Root, c.ContainerdConfig, dropin)
	if err != nil {
		_, shim := c.shim(false)
		return []Finding{
			shim, bad(Warn, "drop-in", doEdit, "unknown as long as the configuration cannot be read"),
			bad(Fail, "imports", "correct it; until then containerd does not start", "%v", err),
		}
	}
	legacy := config.Legacy()
	marked := len(legacy.Files) > 0 && legacy.Files[0].Marked
	shim, finding := c.shim(marked)
	findings := []Finding{finding}
	switch {
	case c.Root.Exists(dropin) && version.Text != "" && !version.Dropins():
		findings = append(findings, bad(Fail, "drop-in", doEdit,
			"%s takes other CRI settings away from containerd %s", dropin, version))
	case !marked && c.inTemplate(config):
		findings = append(findings, bad(Warn, "drop-in", c.doRestart(), "%s registers %q, and %s is older than that",
			config.Source(c.Root).Template, c.Handler, legacy.File))
	case !marked:
		findings = append(findings, bad(Warn, "drop-in", doEdit, "not installed: no block of oomwitness in %s", legacy.File))
	default:
		findings = append(findings, c.block(legacy, shim, version))
	}
	switch file := config.CRIDisabled(); {
	case file != "":
		findings = append(findings, bad(Warn, "imports", "remove it from disabled_plugins if Kubernetes is to use this containerd",
			"%s disables the CRI plugin", file))
	case !config.Exists:
		findings = append(findings, ok("imports", "no %s: containerd runs on its built-in configuration, and needs no drop-in", config.Path))
	default:
		findings = append(findings, ok("imports", "%s has CRI's settings (version %d), and no drop-in is needed",
			legacy.File, legacy.Version))
	}
	if marked {
		findings = append(findings, c.Restart())
	}
	return findings
}

// inTemplate reports whether the template of a generated configuration registers the handler.
func (c Checker) inTemplate(config criconf.Config) bool {
	template := config.Source(c.Root).Template
	if template == "" {
		return false
	}
	text, err := c.Root.ReadFile(template)
	ours, _ := criconf.Registers(text)
	return err == nil && slices.Contains(ours, c.Handler)
}

// doRestart is the advice to make containerd read its configuration.
func (c Checker) doRestart() string {
	if c.Containerd.Unit == "" {
		return "restart the service that containerd belongs to (running containers go on)"
	}
	return "run: systemctl restart " + strings.TrimSuffix(c.Containerd.Unit, ".service") + " (running containers go on)"
}

// block compares the block with the block that install would write now.
func (c Checker) block(legacy criconf.Legacy, shim string, version containerd.Version) Finding {
	const name = "drop-in"
	data, err := c.Root.ReadFile(legacy.File)
	if err != nil {
		return bad(Fail, name, "run this command as root", "%v", err)
	}
	file, err := criconf.Parse(legacy.File, data)
	if err != nil {
		return bad(Fail, name, doEdit, "%v", err)
	}
	if err := file.Registered(c.Handler, shim); err != nil {
		return bad(Fail, name, doEdit+" --force", "altered: %v", err)
	}
	if lines, added := criconf.Foreign(data); added {
		return bad(Warn, name, "move these lines out of the block, or "+doEdit+" --force",
			"the block in %s was altered after install wrote it:\n%s", legacy.File, strings.Join(lines, "\n"))
	} else if lines != nil {
		return bad(Warn, name, doEdit+" --force",
			"in the block in %s lines were changed or removed after install wrote it, and which lines is unknown", legacy.File)
	}
	want := criconf.Dropin{
		Handler: c.Handler, Shim: shim, ByType: !version.Dropins() && !version.RuntimePath(), Runc: legacy.Runc(),
		SystemdCgroup: file.OptionSystemdCgroup(c.Handler),
	}
	if value, set := legacy.SystemdCgroup(); set {
		want.SystemdCgroup = value
	}
	have, err := criconf.Text(data)
	if err == nil {
		err = criconf.HasHandler(have, c.Handler, want.Settings())
	}
	if err != nil {
		return bad(Warn, name, doEdit, "%s is from another version of oomwitness, or the runc handler changed since: %v", legacy.File, err)
	}
	return ok(name, "%s registers %q", legacy.File, c.Handler)
}
