//go:build linux

package fire

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// TestBadConfig starts no shim on a configuration that does not hold, and says
// where and why.
func TestBadConfig(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		says []string
	}{
		"value":     {"# a comment\nbound = 'soon'\n", []string{":2: bound: ", `"soon"`, "10ms", "10m0s"}},
		"range":     {"bound = '1ns'\n", []string{":1: bound: ", `"1ns"`, "10ms"}},
		"mode":      {"\n\nreport = 'loud'\n", []string{":3: report: ", `"loud"`, `"exit"`, `"live"`}},
		"type":      {"grace = '5s'\nbound = 5\n", []string{":2: bound"}},
		"key":       {"grace = '5s'\nbond = '5s'\n", []string{":2: bond: ", "unknown key", "bound, grace, report"}},
		"syntax":    {"grace = '5s'\nreport\n", []string{":2: "}},
		"binary":    {"\x00\xff", []string{":1: "}},
		"too large": {strings.Repeat("#", 65<<10), []string{"larger than 65536 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeConfig(t, test.text)
			n := shimtest.Start(t, shimtest.Config{Env: []string{configEnv(path)}})
			_, err := n.StartShim(deadline(t), n.NewBundle("unborn"))
			for _, text := range append(test.says, path) {
				require.ErrorContains(t, err, text)
			}
			require.Empty(t, n.Events.Attempts())

			require.NoError(t, os.WriteFile(path, nil, 0o644))
			c := n.Run("born", shimtest.Args("hog"), small)
			get(t, watchWait(deadline(t), c), statusKilled)
			end(t, c)
			wantEvents(t, n, c, full...)
		})
	}
}

func TestUnreadableConfig(t *testing.T) {
	path := t.TempDir()
	n := shimtest.Start(t, shimtest.Config{Env: []string{configEnv(path)}})
	_, err := n.StartShim(deadline(t), n.NewBundle("unborn"))
	require.ErrorContains(t, err, path)
	require.ErrorContains(t, err, "is a directory")
}

// TestConfigTurnsBad spoils the file between the check at the start and the
// reading of the shim that was started, and while one runs.
func TestConfigTurnsBad(t *testing.T) {
	ctx := deadline(t)
	path := filepath.Join(t.TempDir(), "config.toml")
	require.NoError(t, unix.Mkfifo(path, 0o644))
	turned := serveInTurn(t, path, liveConfig, "grace = '5s'\nbound = 'soon'\n")
	n := shimtest.Start(t, shimtest.Config{Env: []string{configEnv(path)}})
	c := n.Run("falls-back", shimtest.Args("child-oom-sleep"), small)
	require.NoError(t, <-turned)
	require.NoError(t, c.Shim.WaitLog(ctx, "the defaults are used"))
	require.Len(t, logLines(c.Shim.Logs(), "level=error", "the defaults are used", path+":2: bound: ", "soon"), 1)
	waitKills(t, c.Shim, c.ID, 1)
	kill(t, c, unix.SIGTERM)
	get(t, watchWait(ctx, c), 143)
	end(t, c)
	wantEvents(t, n, c, full...)
}

// serveInTurn gives each of a fifo's readers the next text. A reader has had
// all of its own when it closes the fifo.
func serveInTurn(t *testing.T, path string, texts ...string) <-chan error {
	t.Helper()
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	require.NoError(t, err)
	_, err = unix.InotifyAddWatch(watch, path, unix.IN_CLOSE_NOWRITE)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		defer unix.Close(watch)
		for _, text := range texts {
			// Opens when there is a reader.
			if err := os.WriteFile(path, []byte(text), 0); err != nil {
				done <- err
				return
			}
			if _, err := unix.Read(watch, make([]byte, 4096)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	return done
}

// TestConfigChanges has a shim keep the configuration that it was started with.
// What comes later to its pod by the start command is refused, as a new pod is.
func TestConfigChanges(t *testing.T) {
	ctx := deadline(t)
	path := writeConfig(t, liveConfig)
	n := shimtest.Start(t, shimtest.Config{Env: []string{configEnv(path)}})
	sandbox := pod(t, n)
	require.NoError(t, os.WriteFile(path, []byte("bound = 'soon'\n"), 0o644))
	c := n.RunIn(sandbox.Shim, "joined", shimtest.Args("child-oom-sleep"), small)
	event(t, n, oomTopic, c.ID)
	require.NoError(t, c.Stdio.WaitOutput(ctx, "child died"))
	require.NoError(t, c.Kill(ctx, 15))
	get(t, watchWait(ctx, c), 143)
	_, err := c.Delete(ctx)
	require.NoError(t, err)
	event(t, n, deleteTopic, c.ID)
	wantEvents(t, n, c, full...)

	_, err = n.StartGrouped(ctx, n.NewBundle("grouped", shimtest.Sandbox("pod")))
	require.ErrorContains(t, err, path+":1: bound: ")
	endPod(t, sandbox)
}
