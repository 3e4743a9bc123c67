package containerd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// limit bounds a program of containerd's, which may have to be read from a slow
// disk first.
const limit = 30 * time.Second

// Daemon is the containerd of a node.
type Daemon struct {
	Version Version
	// Unchecked is why containerd's own program cannot be asked what it makes of
	// a configuration, "" where it can be.
	Unchecked string
	// Contradicts is what the operator's version contradicts, "" for nothing.
	Contradicts string
	// Config is the configuration file that the running containerd was told to read, as
	// seen from inside the root; "" where none runs, or it was told nothing.
	Config string
	// Dump has containerd load the configuration file at a path as seen from
	// inside the root, with all that it imports, and returns the result. "" is the
	// configuration that is built in.
	Dump func(ctx context.Context, config string) (map[string]any, error)
}

// Finder finds the containerd of a node. All paths are as seen from inside Root.
type Finder struct {
	Root rootfs.Dir
	// Address is containerd's socket.
	Address string
	// Version is what the operator says, "" to find out.
	Version string
}

// Find finds out the version: what the operator says, else what the running
// containerd answers, else what its program prints.
func (f Finder) Find(ctx context.Context) (Daemon, error) {
	var (
		d                  Daemon
		binary             = f.binary(ctx)
		program, programIs = f.programVersion(ctx, binary)
		err                error
	)
	d.Config = Config(ctx, f.Root, f.Address)
	switch {
	case f.Version != "":
		if d.Version, err = ParseVersion(f.Version); err != nil {
			return d, fmt.Errorf("--containerd-version: %w", err)
		}
		if now, err := f.running(ctx); err == nil && !now.Series(d.Version) {
			d.Contradicts = fmt.Sprintf("containerd %s answers at %s, and --containerd-version names %s: "+
				"the configuration is written for the latter", now, f.Address, d.Version)
		}
	default:
		if d.Version, err = f.running(ctx); err == nil {
			break
		}
		if programIs != nil {
			return d, fmt.Errorf("containerd's version is unknown: %w, and %w; name it with --containerd-version", err, programIs)
		}
		d.Version = program
	}
	switch {
	case programIs != nil:
		d.Unchecked = programIs.Error()
	case !program.Series(d.Version):
		d.Unchecked = fmt.Sprintf("%s is version %s", binary, program)
		if f.Version == "" {
			return d, fmt.Errorf("containerd %s runs and %s: restart containerd, or say with --containerd-version "+
				"which one will read the configuration", d.Version, d.Unchecked)
		}
	default:
		d.Dump = func(ctx context.Context, config string) (map[string]any, error) { return f.dump(ctx, binary, config) }
	}
	return d, nil
}

// running asks the containerd at the socket.
func (f Finder) running(ctx context.Context) (Version, error) {
	text, err := Ask(ctx, f.Root.Path(f.Address))
	if err != nil {
		return Version{}, fmt.Errorf("containerd does not answer at %s: %s", f.Address, Reason(err))
	}
	return ParseVersion(text)
}

// programVersion asks the program.
func (f Finder) programVersion(ctx context.Context, binary string) (Version, error) {
	if binary == "" {
		return Version{}, fmt.Errorf("there is no containerd program in %s", strings.Join(f.searchPath(ctx), ":"))
	}
	out, err := f.run(ctx, binary, "--version")
	if err != nil {
		return Version{}, fmt.Errorf("%s --version: %w", binary, err)
	}
	return ParseVersion(VersionIn(out))
}

// VersionIn returns the version in what "containerd --version" printed, which is
// "containerd github.com/containerd/containerd/v2 v2.1.4 75cb2b71...". Of other
// text it returns the first line.
func VersionIn(printed string) string {
	if fields := strings.Fields(printed); len(fields) >= 3 {
		return fields[2]
	}
	line, _, _ := strings.Cut(strings.TrimSpace(printed), "\n")
	return line
}

// dump runs "containerd config dump", which loads files as the daemon does: the
// same LoadConfig, and the same migrations, in cmd/containerd/command/config.go
// and main.go of 1.6 to 2.4.
func (f Finder) dump(ctx context.Context, binary, config string) (map[string]any, error) {
	args := []string{"--config", config, "config", "dump"}
	if config == "" || !f.Root.Exists(config) {
		// 1.x refuses to dump what is not there, and starts without.
		args = []string{"config", "default"}
	}
	command := binary + " " + strings.Join(args, " ")
	out, err := f.run(ctx, binary, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	var dump map[string]any
	if err := toml.Unmarshal([]byte(out), &dump); err != nil {
		return nil, fmt.Errorf("%s: cannot read what it printed: %w", command, err)
	}
	return dump, nil
}

// run runs a program of the root with that root as its own, so that absolute
// paths in a tree's files stay inside the tree. containerd runs in /, and 1.6
// resolves relative patterns there.
func (f Finder) run(ctx context.Context, binary string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.WaitDelay = "/", time.Second
	if !f.Root.Running() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: string(f.Root)}
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if text := lastLine(stderr.String()); err != nil && text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return string(out), err
}

// binary returns the program of the containerd that answers at the socket, else
// of one that runs, else the one that systemd would start, as seen from inside the
// root; "" where there is none.
func (f Finder) binary(ctx context.Context) string {
	if pid := Process(ctx, f.Root, f.Address); pid != "" {
		exe, err := os.Readlink(f.Root.Path("/proc/"+pid) + "/exe")
		exe = strings.TrimSuffix(exe, " (deleted)") // replaced since: the new one reads the configuration
		if err == nil && f.Root.IsExecutable(exe) {
			return exe
		}
	}
	return f.Root.LookPath("containerd", f.searchPath(ctx))
}

func (f Finder) searchPath(ctx context.Context) []string {
	return SearchPath(f.Root, Process(ctx, f.Root, f.Address))
}

// lastLine is where containerd prints why it gives up.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndex(text, "\n")+1:]
}
