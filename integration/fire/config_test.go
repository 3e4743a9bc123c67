//go:build linux

package fire

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// TestBadConfig: with a bad configuration no shim starts, and the error has the place and the
// reason.
func TestBadConfig(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		says []string
	}{
		"value":     {"# a comment\nhold_timeout = 'soon'\n", []string{":2: hold_timeout: ", `"soon"`, "10ms", "10m0s"}},
		"range":     {"hold_timeout = '1ns'\n", []string{":1: hold_timeout: ", `"1ns"`, "10ms"}},
		"mode":      {"\n\nreport = 'loud'\n", []string{":3: report: ", `"loud"`, `"exit"`, `"live"`}},
		"type":      {"grace = '5s'\nhold_timeout = 5\n", []string{":2: hold_timeout"}},
		"key":       {"grace = '5s'\nbond = '5s'\n", []string{":2: bond: ", "unknown key", "hold_timeout, grace, report"}},
		"policy":    {"\nallow = ['report', 'oom-grop']\n", []string{":2: allow: ", `"oom-grop"`, `"oom-exit-code", "oom-group", "report"`}},
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
	fifo := t.TempDir() + "/fifo"
	require.NoError(t, unix.Mkfifo(fifo, 0o644))
	for name, path := range map[string]string{"directory": t.TempDir(), "fifo": fifo} {
		t.Run(name, func(t *testing.T) {
			n := shimtest.Start(t, shimtest.Config{Env: []string{configEnv(path)}})
			_, err := n.StartShim(deadline(t), n.NewBundle("unborn"))
			require.ErrorContains(t, err, path)
			require.ErrorContains(t, err, "not a regular file")
		})
	}
}

// TestConfigTurnsBad makes the file bad between two reads: the check by the start command, and
// the read by the shim that it started.
func TestConfigTurnsBad(t *testing.T) {
	ctx := deadline(t)
	path := writeConfig(t, liveConfig)
	opened := spoilAtOpen(t, path, 2, "grace = '5s'\nhold_timeout = 'soon'\n")
	n := shimtest.Start(t, shimtest.Config{Env: []string{configEnv(path)}})
	c := n.Run("falls-back", shimtest.Args("child-oom-sleep"), small)
	require.NoError(t, <-opened)
	require.NoError(t, c.Shim.WaitLog(ctx, "the defaults are used"))
	require.Len(t, logLines(c.Shim.Logs(), "level=error", "the defaults are used", path+":2: hold_timeout: ", "soon"), 1)
	waitKills(t, c.Shim, c.ID, 1)
	// Until the child is gone its memory is not free, and init would be killed next.
	require.NoError(t, c.Stdio.WaitOutput(ctx, "child died"))
	kill(t, c, unix.SIGTERM)
	get(t, watchWait(ctx, c), 143)
	end(t, c)
	wantEvents(t, n, c, full...)
}

// spoilAtOpen changes the file's text before its nth open from now. The kernel asks this
// process to permit each open (fanotify(7), FAN_OPEN_PERM).
func spoilAtOpen(t *testing.T, path string, nth int, text string) <-chan error {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0) // open before the mark, since this process would have to permit its own opens
	require.NoError(t, err)
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY)
	require.NoError(t, err)
	require.NoError(t, unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM, unix.AT_FDCWD, path))
	// The descriptor is non-blocking, so that Close ends a Read. Close permits all opens.
	asked := os.NewFile(uintptr(fd), "fanotify")
	t.Cleanup(func() { _ = asked.Close() })
	done := make(chan error, 1)
	go func() {
		defer file.Close()
		done <- answerOpens(asked, nth, func() error {
			if err := file.Truncate(0); err != nil {
				return err
			}
			_, err := file.WriteAt([]byte(text), 0)
			return err
		})
		_ = asked.Close()
	}()
	return done
}

// answerOpens permits n opens, the last after act.
func answerOpens(asked *os.File, nth int, act func() error) error {
	buf := make([]byte, 4096)
	for seen := 0; seen < nth; {
		size, err := asked.Read(buf)
		if err != nil {
			return err
		}
		for r := bytes.NewReader(buf[:size]); r.Len() > 0; {
			var event unix.FanotifyEventMetadata
			if err := binary.Read(r, binary.NativeEndian, &event); err != nil {
				return err
			}
			if seen++; seen == nth {
				if err := act(); err != nil {
					return err
				}
			}
			answer := unix.FanotifyResponse{Fd: event.Fd, Response: unix.FAN_ALLOW}
			if err := binary.Write(asked, binary.NativeEndian, answer); err != nil {
				return err
			}
			if err := unix.Close(int(event.Fd)); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestConfigChanges: a shim keeps the configuration with which it started. A start command that
// comes later reads the new one, and refuses a bad one; with containerd before 2.4 that is the
// case for each further container of the pod.
func TestConfigChanges(t *testing.T) {
	ctx := deadline(t)
	path := writeConfig(t, liveConfig)
	n := shimtest.Start(t, shimtest.Config{Env: []string{configEnv(path)}, Protocol: shimtest.Current})
	sandbox := pod(t, n)
	require.NoError(t, os.WriteFile(path, []byte("hold_timeout = 'soon'\n"), 0o644))
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
	require.ErrorContains(t, err, path+":1: hold_timeout: ")
	endPod(t, sandbox)
}
