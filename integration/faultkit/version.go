//go:build linux

package faultkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/oomwitness/oomwitness/integration/mix"
	"github.com/oomwitness/oomwitness/oom"
)

const (
	// olderContainerds has a folder of programs for each version.
	olderContainerds = "/opt/oomwitness/containerd"
	// newestPrograms keeps the node's own programs while older programs are installed.
	newestPrograms = "/var/lib/newest"
	// Newest is the version of the containerd that the node starts with.
	Newest = "2.4"
	// VersionEnv names the environment variable that chooses a containerd.
	VersionEnv = "CONTAINERD"
)

// programs are the programs of a containerd package.
var programs = []string{"containerd", "ctr", "containerd-shim-runc-v2"}

// Version returns the version of containerd for the tests, from VersionEnv.
func Version() string {
	if version := os.Getenv(VersionEnv); version != "" {
		return version
	}
	return Newest
}

// SwitchContainerd stops containerd as a package's upgrade does, installs the programs of a
// version, and starts containerd. The configuration stays.
func SwitchContainerd(ctx context.Context, version string) error {
	if err := Run(ctx, "node-containerd", "stop"); err != nil {
		return err
	}
	if err := PutContainerd(version); err != nil {
		return err
	}
	return Run(ctx, "node-containerd", "start")
}

// PutContainerd installs the programs of a version.
func PutContainerd(version string) error {
	if err := keepNewest(); err != nil {
		return err
	}
	from := newestPrograms
	if version != Newest {
		from = filepath.Join(olderContainerds, version)
	}
	for _, name := range programs {
		if err := copyProgram(filepath.Join(from, name), filepath.Join(binDir, name)); err != nil {
			return fmt.Errorf("containerd %s: %w", version, err)
		}
	}
	return nil
}

// keepNewest copies the node's own programs aside, once per node.
func keepNewest() error {
	for _, name := range programs {
		to := filepath.Join(newestPrograms, name)
		if _, err := os.Stat(to); err == nil {
			continue
		}
		if err := copyProgram(filepath.Join(binDir, name), to); err != nil {
			return fmt.Errorf("keep the node's own containerd: %w", err)
		}
	}
	return nil
}

// copyProgram replaces a program, also a running one.
func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}

// configs are a node's configurations with the handlers runc and oomwitness, for containerd 1.x
// and for 2.x. If root may not lower an oom_score_adj, pods get containerd's own.
var configs = template.Must(template.New("1").Parse(`version = 2
[debug]
  level = "info"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{{.Image}}"
  restrict_oom_score_adj = true
{{range .Handlers}}[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{{.Name}}]
  pod_annotations = ["oomwitness.io/*"]
{{if $.ByType}}  runtime_type = "{{.Path}}"
{{else}}  runtime_type = "io.containerd.runc.v2"
  runtime_path = "{{.Path}}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{{.Name}}.options]
  SystemdCgroup = {{$.Systemd}}
{{end}}{{end}}{{define "2"}}version = 3
[debug]
  level = 'info'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{{.Image}}'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
{{range .Handlers}}[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.{{.Name}}]
  runtime_type = 'io.containerd.runc.v2'
  runtime_path = '{{.Path}}'
  pod_annotations = ['oomwitness.io/*']
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.{{.Name}}.options]
  SystemdCgroup = {{$.Systemd}}
{{end}}{{end}}`))

const (
	mainConfig = "/etc/containerd/config.toml"
	dropins    = "/etc/containerd/conf.d"
)

type handler struct{ Name, Path string }

// UseContainerd starts the containerd of a version, with a complete configuration that this
// version can read. Drop-ins of other tests are removed.
func UseContainerd(ctx context.Context, version string) error {
	if err := Run(ctx, "node-containerd", "stop"); err != nil {
		return err
	}
	if err := os.RemoveAll(dropins); err != nil {
		return err
	}
	major, _, _ := strings.Cut(version, ".")
	var text strings.Builder
	err := configs.ExecuteTemplate(&text, major, struct {
		Image    string
		Systemd  bool
		ByType   bool // Debian's CRI 1.6 ignores runtime_path
		Handlers []handler
	}{Image, mix.DriverHere() == mix.Systemd, version == "1.6", []handler{
		{"runc", filepath.Join(binDir, "containerd-shim-runc-v2")}, {"oomwitness", shimFile},
	}})
	if err != nil {
		return fmt.Errorf("configuration of containerd %s: %w", version, err)
	}
	if err := os.WriteFile(mainConfig, []byte(text.String()), 0o644); err != nil {
		return err
	}
	if err := PutContainerd(version); err != nil {
		return err
	}
	return Run(ctx, "node-containerd", "start")
}

// Where returns this node's containerd version as containerd prints it, with cgroup version and
// driver.
func Where(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(binDir, "containerd"), "--version").Output()
	fields := strings.Fields(string(out))
	if err != nil || len(fields) < 3 {
		return "", fmt.Errorf("containerd --version: %w: %q", errors.Join(err), out)
	}
	version, _, _ := strings.Cut(strings.TrimPrefix(fields[2], "v"), "+")
	h, err := oom.FindHierarchy()
	return fmt.Sprintf("containerd=%s cgroup=v%d driver=%s", version, h.Version, mix.DriverHere()), err
}
