package install_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

const (
	shimPath   = "/usr/local/bin/" + criconf.ShimName
	dropinPath = "/etc/containerd/conf.d/" + criconf.DropinName
	shimText   = "\x7fELF shim 1"
	builtIn    = "\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n"
)

// tree returns options for a new root, with a shim to install.
func tree(t *testing.T) install.Options {
	t.Helper()
	o := install.Options{
		BinDir: install.DefaultBinDir, ConfDir: criconf.DefaultDropinDir, MainConfig: criconf.DefaultPath,
		ConfigVersion: "auto", SystemdCgroup: "auto", SystemdUnit: "auto", Handler: criconf.DefaultHandler,
		Root: rootfs.Dir(t.TempDir()), Shim: filepath.Join(t.TempDir(), "shim"), Proc: t.TempDir(),
		Command: filepath.Join(t.TempDir(), "oomwitness"),
	}
	o.Find = found(&o, "2.4.2")
	require.NoError(t, os.WriteFile(o.Shim, []byte(shimText), 0o600))
	require.NoError(t, os.WriteFile(o.Command, []byte("\x7fELF command 1"), 0o755))
	return o
}

// found returns a containerd of a version that reads o's files as they are. 1.x has a built-in
// handler if the main file names none. integration/configs has the real ones.
func found(o *install.Options, text string) func(context.Context) (containerd.Daemon, error) {
	return func(context.Context) (containerd.Daemon, error) {
		version, err := containerd.ParseVersion(text)
		if err != nil {
			return containerd.Daemon{}, err
		}
		return containerd.Daemon{Version: version, Dump: func(_ context.Context, main string) (map[string]any, error) {
			var data []byte
			var err error
			if main != "" {
				data, err = o.Root.ReadFile(main)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			dump, err := criconf.Text(data)
			if err == nil && !version.Dropins() && !strings.Contains(string(data), ".runtimes.") {
				return criconf.Text(append(data, builtIn...))
			}
			config, loadErr := criconf.Load(o.Root, main, "")
			if err != nil || loadErr != nil || !version.Dropins() || !config.Covers(dropinPath) {
				return dump, err
			}
			runtimes := map[string]any{}
			for _, file := range config.Files {
				for name, settings := range file.Runtimes {
					runtimes[name] = settings
				}
			}
			dump["plugins"] = map[string]any{
				"io.containerd.cri.v1.runtime": map[string]any{"containerd": map[string]any{"runtimes": runtimes}},
			}
			return dump, nil
		}}, nil
	}
}

func put(t *testing.T, root rootfs.Dir, name, text string) {
	t.Helper()
	file := root.Path(name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
}

func get(t *testing.T, root rootfs.Dir, name string) string {
	t.Helper()
	data, err := root.ReadFile(name)
	require.NoError(t, err)
	return string(data)
}

// files lists the files below root.
func files(t *testing.T, root rootfs.Dir) []string {
	t.Helper()
	var out []string
	require.NoError(t, filepath.WalkDir(string(root), func(name string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			out = append(out, name[len(root):])
		}
		return err
	}))
	return out
}

func actions(verb string, names ...string) []install.Action {
	var out []install.Action
	for _, name := range names {
		out = append(out, install.Action{Verb: verb, Path: name})
	}
	return out
}

// unreadable returns a containerd that can read no configuration.
func unreadable(find func(context.Context) (containerd.Daemon, error)) func(context.Context) (containerd.Daemon, error) {
	return func(ctx context.Context) (containerd.Daemon, error) {
		d, err := find(ctx)
		d.Dump = func(context.Context, string) (map[string]any, error) { return nil, errors.New("no") }
		return d, err
	}
}
