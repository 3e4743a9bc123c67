package preflight

import (
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// DefaultConfigPath is the node owner's configuration of oomwitness.
const DefaultConfigPath = "/etc/oomwitness/config.toml"

// timeout limits each answer of another program.
const timeout = 5 * time.Second

// Checker has the places to check. All paths are as seen from inside Root.
type Checker struct {
	// Root is the system to check.
	Root rootfs.Dir
	// ContainerdConfig is containerd's main configuration file.
	ContainerdConfig string
	// Address is containerd's socket.
	Address string
	// ContainerdVersion is the version of the containerd that will read the configuration, ""
	// to find it.
	ContainerdVersion string
	// BinDir and ConfDir are the folders to which install writes.
	BinDir, ConfDir string
	// Handler is the runtime handler's name.
	Handler string
	// DockerConfig and DockerSocket are dockerd's configuration and the socket of its API; ""
	// for the file of the running dockerd, and for the default socket.
	DockerConfig, DockerSocket string
	// Unprivileged says that this process is not root's: a file may be there that it cannot see.
	Unprivileged bool
	// LedgerDir is where the ledger is pinned.
	LedgerDir string
	// Ledger reads the ledger pinned at a real path, and changes nothing.
	Ledger func(dir string) (bpf.Meta, error)
	// ConfigPath is the configuration of oomwitness, "" for DefaultConfigPath.
	ConfigPath string
	// ConfigCheck loads the configuration of oomwitness at a real path and
	// returns its warnings, and an error if the shim would refuse the file.
	ConfigCheck func(path string) (warnings []string, err error)

	// Containerd is the node's containerd, as [containerd.Locate] found it.
	Containerd containerd.Located
	// Path are the directories of programs; nil means containerd's.
	Path []string
	// Run runs a program by its real path and returns its standard output; nil runs it for
	// real.
	Run func(ctx context.Context, name string, args ...string) (string, error)
	// Version asks the containerd at the real path of a socket for its
	// version; nil asks for real.
	Version func(ctx context.Context, socket string) (string, error)
}

// Check runs all checks. It changes nothing and never fails: what cannot be found out is a
// finding.
func (c Checker) Check(ctx context.Context) Report {
	if c.Run == nil {
		c.Run = runProgram
	}
	if c.Version == nil {
		c.Version = containerd.Ask
	}
	if c.Path == nil {
		c.Path = c.Containerd.Path
	}
	if c.Path == nil {
		c.Path = containerd.SystemPath
	}
	var findings []Finding
	findings = append(findings, c.kernel(), c.cgroup(), c.memoryController(), c.memoryFiles())
	daemon, version := c.containerd(ctx)
	findings = append(findings, daemon...)
	version = cmp.Or(c.ContainerdVersion, version)
	findings = append(findings, c.runc(ctx))
	docker := c.docker(ctx)
	findings = append(findings, c.registered(version, docker)...)
	findings = append(findings, docker...)
	if c.Unprivileged {
		unseen(findings)
	}
	findings = append(findings, c.bpf()...)
	findings = append(findings, c.config())
	return newReport(findings)
}

// unseen advises first to run check as root, for findings that name something as missing.
func unseen(findings []Finding) {
	for n, f := range findings {
		if slices.Contains([]string{"containerd-version", "runc", "shim", "drop-in", "imports", "docker"}, f.Name) &&
			f.Do != "" && !strings.Contains(f.Do, "as root") {
			findings[n].Do = "run this command as root, who sees every file; then: " + f.Do
		}
	}
}

func runProgram(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	// A child that keeps the pipe open must not delay the check.
	cmd.WaitDelay = time.Second
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if text := firstLine(stderr.String()); err != nil && text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return string(out), err
}

func ok(name, format string, args ...any) Finding {
	return Finding{Name: name, Status: OK, Found: fmt.Sprintf(format, args...)}
}

// bad returns a finding with advice: do says what to do.
func bad(status Status, name, do, format string, args ...any) Finding {
	return Finding{Name: name, Status: status, Found: fmt.Sprintf(format, args...), Do: do}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	const most = 200
	if len(line) > most {
		line = line[:most] + "..."
	}
	return line
}

// release parses the leading "major.minor" of a version, with or without a v.
func release(text string) (major, minor int, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(strings.TrimSpace(text), "v"), ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	digits := func(s string) (int, bool) {
		end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
		if end >= 0 {
			s = s[:end]
		}
		n, err := strconv.Atoi(s)
		return n, err == nil
	}
	major, okMajor := digits(parts[0])
	minor, okMinor := digits(parts[1])
	return major, minor, okMajor && okMinor
}

// atLeast reports whether a version is at least another, by major and minor.
func atLeast(major, minor, wantMajor, wantMinor int) bool {
	return major > wantMajor || major == wantMajor && minor >= wantMinor
}

// config checks the configuration of oomwitness itself.
func (c Checker) config() Finding {
	const name = "config"
	file := cmp.Or(c.ConfigPath, DefaultConfigPath)
	if !c.Root.Exists(file) {
		return ok(name, "no %s, the defaults are used", file)
	}
	warnings, err := c.ConfigCheck(c.Root.Path(file))
	if err != nil {
		return bad(Fail, name, "correct the file: with it the shim refuses to start containers", "%v", err)
	}
	if len(warnings) > 0 {
		return bad(Warn, name, "write the new key: a later version may refuse the old one", "%s", strings.Join(warnings, "; "))
	}
	return ok(name, "%s is valid", file)
}
