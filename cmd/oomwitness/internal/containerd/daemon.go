package containerd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// Daemon is the containerd of a node, with its version.
type Daemon struct {
	Located
	Version Version
	// Unchecked is the reason why containerd's own program cannot check a configuration, "" if
	// it can.
	Unchecked string
	// Dump runs containerd on the configuration file at a path as seen from inside the root,
	// with all imported files, and returns the result. For "" the configuration is the built-in
	// one.
	Dump func(ctx context.Context, config string) (map[string]any, error)
}

// Finder finds the version of a containerd.
type Finder struct {
	Root    rootfs.Dir
	Located Located
	// Version is the version that the operator names, "" to find it.
	Version string
	// Force accepts the operator's version even if containerd's own answer differs.
	Force bool
}

// Find returns the containerd with its version: the version that the operator names, or the
// answer of the running containerd, or the output of its program. It refuses contradictions.
func (f Finder) Find(ctx context.Context) (Daemon, error) {
	var (
		d                             = Daemon{Located: f.Located}
		program, unchecked, programIs = f.programVersion(ctx)
		running, runningIs            = f.running(ctx)
		err                           error
	)
	switch {
	case f.Version != "":
		if d.Version, err = ParseVersion(f.Version); err != nil {
			return d, fmt.Errorf("--containerd-version: %w", err)
		}
		if err := f.contradicted(d.Version, running, runningIs, program, programIs); err != nil && !f.Force {
			return d, err
		}
	case runningIs == nil:
		d.Version = running
		if programIs == nil && !program.Series(running) {
			return d, fmt.Errorf("containerd %s runs and %s is version %s: restart containerd, so that one version reads the configuration",
				running, f.Located.Program.Path, program)
		}
	case programIs == nil:
		d.Version = program
	default:
		return d, fmt.Errorf("containerd's version is unknown: %w, and %w; name it with --containerd-version", runningIs, programIs)
	}
	switch {
	case unchecked != nil:
		d.Unchecked = unchecked.Error()
	case !program.Series(d.Version):
		d.Unchecked = fmt.Sprintf("%s is version %s", f.Located.Program.Path, program)
	default:
		d.Dump = f.dump
	}
	return d, nil
}

// contradicted refuses a version that the operator named if the node has another.
func (f Finder) contradicted(named, running Version, runningIs error, program Version, programIs error) error {
	const what = "--containerd-version names %s, and %s: leave the flag out, or go on all the same with --force"
	if runningIs == nil && !running.Series(named) {
		return fmt.Errorf(what, named, fmt.Sprintf("the containerd that answers at %s is %s", f.Located.Address, running))
	}
	if programIs == nil && !program.Series(named) {
		return fmt.Errorf(what, named, fmt.Sprintf("%s is %s", f.Located.Program.Path, program))
	}
	return nil
}

// running asks the containerd at the socket.
func (f Finder) running(ctx context.Context) (Version, error) {
	text, err := Ask(ctx, f.Root.Path(f.Located.Address))
	if err != nil {
		return Version{}, fmt.Errorf("containerd does not answer at %s: %s", f.Located.Address, Reason(err))
	}
	return ParseVersion(text)
}

// programVersion asks the program. unchecked is the error of the program inside of the root. The
// program of a tree without its loader can still print its version here, as it does for check.
func (f Finder) programVersion(ctx context.Context) (v Version, unchecked, err error) {
	program := f.Located.Program
	if program.Path == "" {
		err := fmt.Errorf("there is no containerd program in %s", strings.Join(f.Located.Path, ":"))
		return v, err, err
	}
	out, err := f.Root.Run(ctx, program, "--version")
	if err != nil {
		unchecked = fmt.Errorf("%s --version: %w", program.Path, err)
	}
	if errors.Is(err, fs.ErrNotExist) && !f.Root.Running() && f.Root.IsExecutable(program.Path) {
		unchecked = fmt.Errorf("%s does not run inside of %s, where its loader is missing", program.Path, f.Root)
		program.Path = f.Root.Path(program.Path)
		out, err = rootfs.Dir("/").Run(ctx, program, "--version")
	}
	if err != nil {
		return v, unchecked, unchecked
	}
	v, err = ParseVersion(VersionIn(out))
	return v, cmp.Or(unchecked, err), err
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

// dump runs "containerd config dump", which loads files as the daemon does: with the same
// LoadConfig and the same migrations, in cmd/containerd/command/config.go and main.go of 1.6 to
// 2.4. containerd runs in /, since 1.6 resolves relative patterns in its working directory.
func (f Finder) dump(ctx context.Context, config string) (map[string]any, error) {
	args := []string{"--config", config, "config", "dump"}
	if config == "" || !f.Root.Exists(config) {
		// containerd 1.x refuses to dump a missing file, and starts without the file.
		args = []string{"config", "default"}
	}
	command := f.Located.Program.Path + " " + strings.Join(args, " ")
	out, err := f.Root.Run(ctx, f.Located.Program, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	var dump map[string]any
	if err := toml.Unmarshal([]byte(out), &dump); err != nil {
		return nil, fmt.Errorf("%s: cannot read what it printed: %w", command, err)
	}
	return dump, nil
}
