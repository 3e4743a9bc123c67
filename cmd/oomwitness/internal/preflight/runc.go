package preflight

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

// runc checks that the program that the shim will run exists, and that it is a runc with the
// command "features", which came with runc 1.1.
func (c Checker) runc(ctx context.Context) Finding {
	const (
		name    = "runc"
		install = "install runc 1.1 or later"
	)
	program := c.runcName()
	binary := c.Root.LookPath(program, c.Path)
	if binary == "" {
		return bad(Fail, name, install+" where containerd finds it"+c.suchAs(), "no executable %s on containerd's PATH", program)
	}
	real := c.Root.Path(binary)
	out, err := c.Run(ctx, real, "--version")
	if err != nil {
		return bad(Fail, name, install+" for this machine", "%s does not run: %v", binary, err)
	}
	kind := firstLine(out)
	features, err := c.Run(ctx, real, "features")
	if err != nil {
		return bad(Fail, name, install, "%s (%s) is of the wrong kind: \"features\": %v", binary, kind, err)
	}
	if why := notFeatures(features); why != "" {
		return bad(Fail, name, install, "%s (%s) is of the wrong kind: \"features\": %s", binary, kind, why)
	}
	version, isRunc := strings.CutPrefix(kind, "runc version ")
	if !isRunc {
		return bad(Warn, name, "it may work; oomwitness is tested with runc", "%s is %s, not runc", binary, kind)
	}
	if major, minor, known := release(version); known && !atLeast(major, minor, 1, 1) {
		return bad(Warn, name, install, "%s, version %s", binary, version)
	}
	return ok(name, "%s, version %s", binary, version)
}

// suchAs names a folder where containerd finds programs.
func (c Checker) suchAs() string {
	if len(c.Path) == 0 {
		return ""
	}
	return ", such as in " + c.Path[0]
}

// runcName returns the name in the node's runc handler, or runc.
func (c Checker) runcName() string {
	config, err := criconf.Load(c.Root, c.ContainerdConfig, "")
	if err != nil {
		return "runc"
	}
	options, _ := config.Runc()["options"].(map[string]any)
	if name, _ := options["BinaryName"].(string); name != "" {
		return name
	}
	return "runc"
}

// notFeatures returns why text is not the features document of the OCI runtime specification
// (features.md there), or "".
func notFeatures(text string) string {
	var features struct {
		Min   string `json:"ociVersionMin"`
		Linux *struct {
			Cgroup *json.RawMessage `json:"cgroup"`
		} `json:"linux"`
	}
	if err := json.Unmarshal([]byte(text), &features); err != nil {
		return "answers something else than JSON"
	}
	switch {
	case features.Min == "":
		return "names no OCI version"
	case features.Linux == nil || features.Linux.Cgroup == nil:
		return "knows no Linux cgroups"
	}
	return ""
}
