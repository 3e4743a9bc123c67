package preflight

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
)

// containerd checks that a containerd runs and that its version is supported. text is the
// version, "" if it is unknown.
func (c Checker) containerd(ctx context.Context) (findings []Finding, text string) {
	const name, versionName = "containerd", "containerd-version"
	text, err := c.Version(ctx, c.Root.Path(c.Address))
	if err == nil {
		return []Finding{c.answers(), c.supported(text, "")}, text
	}
	start := "start it"
	if unit := c.Containerd.Unit; unit != "" {
		start = "start it: systemctl start " + strings.TrimSuffix(unit, ".service")
	}
	running := bad(Fail, name, start+"; if its socket is elsewhere, name it with --address",
		"does not answer at %s: %s", c.Address, containerd.Reason(err))
	running.Transient = c.Containerd.PID != 0 // it starts, or is busy
	if errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "permission denied") {
		running.Do = "run this command as root"
	}
	binary := c.Root.LookPath("containerd", c.Path)
	if binary == "" {
		return []Finding{running, bad(Fail, versionName, "install containerd "+containerd.Served,
			"no containerd program on its PATH")}, ""
	}
	out, err := c.Run(ctx, c.Root.Path(binary), "--version")
	if err != nil {
		return []Finding{running, bad(Warn, versionName, "see that it runs: "+binary+" --version",
			"%s --version: %v", binary, err)}, ""
	}
	text = containerd.VersionIn(out)
	return []Finding{running, c.supported(text, " ("+binary+")")}, text
}

// answers returns the finding for a containerd that answers. If the containerd reads another
// configuration than the checked one, all other findings about it would be wrong.
func (c Checker) answers() Finding {
	const name = "containerd"
	reads := c.Containerd.Config
	if c.Containerd.ConfigNamed && c.ContainerdVersion == "" && c.Root.Resolve(reads) != c.Root.Resolve(c.ContainerdConfig) {
		return bad(Fail, name, "name it with --containerd-config "+reads,
			"answers at %s, and runs with the configuration %s, not %s", c.Address, reads, c.ContainerdConfig)
	}
	found := "answers at " + c.Address
	if c.Containerd.Unit != "" {
		found += ", is of " + c.Containerd.Unit
	}
	for _, other := range c.Containerd.Others {
		found += "; left alone: " + other.String()
	}
	for _, line := range c.Containerd.PassedOver {
		found += "; passed over: " + line
	}
	return ok(name, "%s", found)
}

// supported returns the finding for a containerd version, or for the version that the operator
// names.
func (c Checker) supported(text, where string) Finding {
	const name = "containerd-version"
	if c.ContainerdVersion != "" {
		text, where = c.ContainerdVersion, " (--containerd-version; here is "+text+where+")"
	}
	version, err := containerd.ParseVersion(text)
	if err != nil {
		return bad(Warn, name, "containerd "+containerd.Served+" are supported", "%v%s", err, where)
	}
	if err := version.Refused(); err != nil {
		return bad(Fail, name, "upgrade to containerd "+containerd.Served, "%v%s", err, where)
	}
	if note := version.Untested(); note != "" {
		return ok(name, "%s%s", note, where)
	}
	return ok(name, "%s%s", version, where)
}

// startedAt returns when the containerd below Root started, from field 22 of its stat
// (proc_pid_stat(5)) and the boot time. It returns false if none runs, or if procfs does not
// show it.
func (c Checker) startedAt() (time.Time, bool) {
	var boot int64
	for line := range strings.Lines(c.Root.Text("/proc/stat")) {
		if value, found := strings.CutPrefix(line, "btime "); found {
			boot, _ = strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	if boot == 0 {
		return time.Time{}, false
	}
	if c.Containerd.PID == 0 {
		return time.Time{}, false
	}
	stat := c.Root.Text("/proc/" + strconv.Itoa(c.Containerd.PID) + "/stat")
	// The name in parentheses may have spaces; after it comes field 3.
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	if len(fields) < 20 {
		return time.Time{}, false
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	// USER_HZ is 100 on every architecture that Go runs on.
	return time.Unix(boot, 0).Add(time.Duration(ticks) * 10 * time.Millisecond), true
}
