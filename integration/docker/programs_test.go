//go:build linux

// Package docker runs containers by real dockerds, the newest and Debian 12's. It counts what
// `docker inspect` and `docker events` report about the ends.
package docker

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// programsEnv names the folder with the programs that `make docker` builds and unpacks. runsEnv
// is the number of containers of each case. shimEnv is oomwitness or stock.
const (
	programsEnv = "DOCKER_PROGRAMS"
	runsEnv     = "DOCKER_RUNS"
	shimEnv     = "DOCKER_SHIM"
)

// pair is a dockerd and its containerd.
type pair struct {
	// docker and containerd are the versions as the figures print them.
	docker, containerd string
	// dockerd and daemon are the paths of dockerd and containerd below $DOCKER_PROGRAMS.
	dockerd, daemon string
	// path has the folders below $DOCKER_PROGRAMS with the programs that the two daemons start.
	path string
	// link says that this dockerd knows no shim by name. Then a link with the stock shim's name
	// is first on containerd's PATH.
	link bool
}

// pairs returns the pairs that the documentation names.
func pairs() []pair {
	return []pair{
		{docker: "29", containerd: "2.2", dockerd: "29/dockerd", daemon: "containerd-2.2/containerd",
			path: "containerd-2.2"},
		{docker: "20.10", containerd: "1.6", dockerd: "20.10/usr/sbin/dockerd", daemon: "20.10/usr/bin/containerd",
			path: "20.10/usr/bin:20.10/usr/sbin", link: true},
	}
}

// programs returns the folder of the programs. It skips the test if there is none.
func programs(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to start containerd and dockerd")
	}
	dir := os.Getenv(programsEnv)
	if dir == "" {
		t.Skipf("needs %s, a folder with dockerd and containerd: make docker", programsEnv)
	}
	dir, err := filepath.Abs(dir)
	require.NoError(t, err)
	return dir
}

// runs returns the number of containers of each case.
func runs(t *testing.T) int { return counts.FromEnv(t, runsEnv, 2) }

// ours reports whether the containers run under this project's shim.
func ours(t *testing.T) bool {
	t.Helper()
	switch shim := os.Getenv(shimEnv); shim {
	case "", "oomwitness":
		return true
	case "stock":
		return false
	default:
		require.FailNow(t, "wrong "+shimEnv, "%q: allowed are oomwitness and stock", shim)
		return false
	}
}

// binaries makes a folder with the programs that containerd and dockerd start. With link, the
// stock shim's name leads to this project's shim.
func binaries(t *testing.T, link bool) string {
	t.Helper()
	dir := t.TempDir()
	shim := shimtest.Ours(t)
	links := map[string]string{"containerd-shim-oomwitness-v2": shim, "runc": shimtest.Runc(t)}
	if link {
		links["containerd-shim-runc-v2"] = shim
	}
	for name, target := range links {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	return dir
}

// searchPath returns PATH for the two daemons: the folder of binaries, then the pair's own
// programs with the stock shim, then the machine's.
func (p pair) searchPath(programs, binaries string) string {
	path := binaries
	for _, dir := range filepath.SplitList(p.path) {
		path += ":" + filepath.Join(programs, dir)
	}
	return fmt.Sprintf("PATH=%s:%s", path, os.Getenv("PATH"))
}
