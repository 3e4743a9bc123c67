package preflight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/docker"
)

// stockShim is the shim that a Docker before 23.0 has containerd start.
const stockShim = "containerd-shim-runc-v2"

// docker checks Docker, if there is one: whether Docker can start the shim, and whether the
// shim is registered. Docker is optional, so that a missing part is a warning.
func (c Checker) docker(ctx context.Context) []Finding {
	const name = "docker"
	config := c.dockerConfig()
	socket := cmp.Or(c.DockerSocket, docker.DefaultSocket)
	text, err := c.Root.ReadFile(config)
	program := c.Root.LookPath("dockerd", c.Path)
	if errors.Is(err, fs.ErrNotExist) && program == "" && !c.Root.Exists(socket) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return []Finding{bad(Warn, name, "make it readable", "%s: %v", config, err)}
	}
	client := docker.Client{Socket: c.Root.Path(socket)}
	version, unknown := client.Version(ctx)
	if unknown != nil && program != "" {
		version, unknown = docker.ProgramVersion(ctx, c.Root, program)
	}
	if unknown == nil && version.Way() == docker.ByLink {
		if link, shim := c.stockLink(); shim != "" {
			return []Finding{ok(name, "Docker %s: %s leads to %s", version.Text, link, shim)}
		}
		return []Finding{bad(Warn, name, docker.ErrByLink.Error(), "Docker %s", version.Text)}
	}
	if unknown == nil && version.Way() == docker.ByType {
		return []Finding{bad(Warn, name, "docker run --runtime "+docker.RuntimeType, "Docker %s takes no shim from %s", version.Text, config)}
	}
	what := "Docker " + version.Text
	if unknown != nil {
		what = fmt.Sprintf("Docker of unknown version (%v)", unknown)
	}
	return []Finding{c.dockerRuntime(ctx, client, what, config, text)}
}

// dockerConfig returns the named configuration file, or the file of the only running dockerd, or
// the usual one.
func (c Checker) dockerConfig() string {
	if c.DockerConfig != "" {
		return c.DockerConfig
	}
	if processes, _, err := docker.Processes(c.Root.Path("/proc")); err == nil && len(processes) == 1 {
		return processes[0].Config()
	}
	return docker.DefaultConfig
}

// stockLink returns the first file on containerd's PATH with the name of the stock shim, and
// the path of our shim if that file is a link to it.
func (c Checker) stockLink() (link, shim string) {
	link = c.Root.LookPath(stockShim, c.Path)
	target, err := os.Readlink(c.Root.Entry(link))
	if link == "" || err != nil || path.Base(target) != criconf.ShimName {
		return link, ""
	}
	return link, target
}

// dockerRuntime checks the registration in dockerd's configuration.
func (c Checker) dockerRuntime(ctx context.Context, client docker.Client, what, config string, text []byte) Finding {
	const name = "docker"
	have, err := docker.Read(text, c.Handler)
	switch {
	case err != nil:
		return bad(Fail, name, "correct the file", "%s: %s: %v", what, config, err)
	case !have.Found:
		return bad(Warn, name, "oomwitness install --docker, if Docker is to use the shim", "%s: %s has no runtime %q", what, config, c.Handler)
	case !have.Ours:
		return bad(Warn, name, "choose another name with --runtime-name", "%s: the runtime %q in %s is not oomwitness", what, c.Handler, config)
	case path.IsAbs(have.Type) && !c.Root.IsExecutable(have.Type):
		return bad(Fail, name, "oomwitness install --docker", "%s: the runtime %q in %s names %s, which is not there", what, c.Handler, config, have.Type)
	}
	if loaded, err := client.HasRuntime(ctx, c.Handler); err == nil && !loaded {
		return bad(Warn, name, "reload dockerd: systemctl reload docker", "%s has not read the runtime %q in %s", what, c.Handler, config)
	}
	return ok(name, "%s: the runtime %q in %s is %s", what, c.Handler, config, have.Type)
}
