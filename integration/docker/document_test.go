//go:build linux

package docker

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// consoles matches the blocks of commands and their output.
var consoles = regexp.MustCompile("(?s)```console\n(.*?)```")

// TestDocument runs the commands of docs/docker.md on the newest dockerd. Each must print what
// the page shows. The section on Docker 20.10 needs systemd and is left out; TestDocker tests
// the link of that section.
func TestDocument(t *testing.T) {
	page, err := os.ReadFile("../../docs/docker.md")
	require.NoError(t, err)
	text, _, found := strings.Cut(string(page), "\n## Docker 20.10\n")
	require.True(t, found)
	s := newStack(t, pairs()[0], false)
	require.NoError(t, s.api.importImage(t.Context(), "debian:12", debianFiles(t, "sh", "tail")))
	d := s.document(t)
	blocks := consoles.FindAllStringSubmatch(text, -1)
	require.Len(t, blocks, 3)
	for _, block := range blocks {
		for _, typed := range strings.Split("\n"+block[1], "\n# ")[1:] {
			command, want, _ := strings.Cut(strings.TrimSuffix(typed, "\n"), "\n")
			require.Equal(t, want, d.typed(t, command), "%s\n%s", command, s.tail("dockerd.log"))
		}
	}
}

// document runs commands with this stack's paths in the place of the page's.
type document struct {
	env   []string
	paths *strings.Replacer // from this stack's paths to the page's
}

// document makes a folder with the two programs and a command `oomwitness` whose flags name
// this stack's files.
func (s *stack) document(t *testing.T) document {
	t.Helper()
	bin, folder := t.TempDir(), t.TempDir()
	// The flag --force is needed: on some machines not even root may read which shims run.
	script := "#!/bin/sh\nexec " + shimtest.Command(t) + ` "$@" --bin-dir ` + bin +
		" --docker-config " + s.file("daemon.json") + " --docker-socket " + s.file("docker.sock") +
		" $([ $1 = install ] && echo --systemd-unit false --shim " + shimtest.Ours(t) + " || echo --force)\n"
	require.NoError(t, os.WriteFile(filepath.Join(folder, "oomwitness"), []byte(script), 0o755))
	require.NoError(t, os.Symlink(filepath.Join(programs(t), "20.10/usr/bin/docker"), filepath.Join(folder, "docker")))
	return document{
		env:   append(os.Environ(), "PATH="+folder+":"+os.Getenv("PATH"), "DOCKER_HOST=unix://"+s.file("docker.sock"), "DOCKER_CONFIG="+folder),
		paths: strings.NewReplacer(bin, "/usr/local/bin", s.file("daemon.json"), "/etc/docker/daemon.json"),
	}
}

// typed returns what a command prints, whatever its exit status.
func (d document) typed(t *testing.T, command string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
	cmd.Env = d.env
	out, _ := cmd.CombinedOutput()
	return d.paths.Replace(strings.TrimSpace(string(out)))
}

// debianFiles returns the paths of programs of this machine and of the libraries that ldd lists
// for them.
func debianFiles(t *testing.T, programs ...string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, program := range programs {
		path, err := exec.LookPath(program)
		require.NoError(t, err)
		out, err := exec.CommandContext(t.Context(), "ldd", path).Output()
		require.NoError(t, err)
		for _, file := range append(regexp.MustCompile(`/\S+`).FindAllString(string(out), -1), path) {
			files[file] = file
		}
	}
	return files
}
