//go:build linux

package configs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oomwitness/oomwitness/integration/cri"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// startTime limits the start of a containerd.
const startTime = time.Minute

// version is a release series of containerd.
type version struct{ major, minor int }

// reads returns the highest version of a configuration file that the series reads.
func (v version) reads() int {
	switch {
	case v.major == 1:
		return 2
	case v.minor < 3:
		return 3
	}
	return 4
}

func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

// versions returns the series that "make configs" has built.
func versions() []version {
	return []version{{1, 6}, {1, 7}, {2, 0}, {2, 1}, {2, 2}, {2, 3}, {2, 4}}
}

// program returns the path of a series' containerd. A missing program fails the test.
func program(t *testing.T, v version) string {
	t.Helper()
	dir := os.Getenv("CONTAINERDS")
	if dir == "" {
		dir = filepath.Join("..", "..", ".cache", "containerd")
	}
	path, err := filepath.Abs(filepath.Join(dir, v.String(), "containerd"))
	require.NoError(t, err)
	require.FileExists(t, path, "make configs builds it")
	return path
}

// daemon is a containerd with directories of its own, also for /run and /opt, where some
// plugins write.
type daemon struct {
	cmd    *exec.Cmd
	log    string
	ended  chan struct{}
	socket string
}

// start starts a containerd, and returns when containerd answers or has ended.
func start(t *testing.T, binary, config, dir string) (*daemon, error) {
	t.Helper()
	d := &daemon{log: filepath.Join(dir, "log"), ended: make(chan struct{}), socket: filepath.Join(dir, "sock")}
	args := []string{binary, "--root", filepath.Join(dir, "root"), "--state", filepath.Join(dir, "state"), "--address", d.socket}
	// As on a node, the file is named only if it exists: containerd does not start with the
	// name of a missing file.
	if _, err := os.Stat(config); err == nil {
		args = append(args, "--config", config)
	}
	d.cmd = exec.Command("sh", append([]string{"-c",
		`mount -t tmpfs none /run && mount -t tmpfs none /opt && exec "$@"`, "sh"}, args...)...)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(d.log)
	require.NoError(t, err)
	defer log.Close()
	d.cmd.Stdout, d.cmd.Stderr = log, log
	require.NoError(t, d.cmd.Start())
	go func() {
		_ = d.cmd.Wait()
		close(d.ended)
	}()
	t.Cleanup(d.stop)
	return d, d.booted(t)
}

// booted waits until containerd logs that it has started. The sockets are there earlier.
func (d *daemon) booted(t *testing.T) error {
	return d.until(t, func() error {
		log, err := os.ReadFile(d.log)
		if err == nil && !strings.Contains(string(log), "containerd successfully booted") {
			return errors.New("not booted yet")
		}
		return err
	})
}

// until waits until check returns no error, as long as containerd runs.
func (d *daemon) until(t *testing.T, check func() error) error {
	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-d.ended:
			log, _ := os.ReadFile(d.log)
			return fmt.Errorf("containerd has ended: %s", log)
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

func (d *daemon) stop() {
	_ = d.cmd.Process.Kill()
	<-d.ended
}

// settings returns CRI's configuration and its handlers; "" and nil if CRI is disabled.
func (d *daemon) settings(t *testing.T) (config string, handlers []string) {
	t.Helper()
	client, err := cri.Dial(d.socket)
	require.NoError(t, err)
	defer client.Close()
	// CRI of containerd 1.x answers a moment after containerd has booted.
	require.NoError(t, d.until(t, func() error {
		handlers, config, err = client.Info(t.Context())
		if status.Code(errors.Unwrap(err)) == codes.Unimplemented {
			return nil
		}
		return err
	}))
	return config, handlers
}
