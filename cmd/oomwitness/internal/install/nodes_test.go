package install_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/preflight"
)

// nodeEnv names the layout of the node whose PID 1 is this process.
const nodeEnv = "OOMWITNESS_TEST_NODE"

// enter is a script that makes a node: PID and mount namespaces of its own, on a copy of this
// machine's files that vanishes with the node, with empty folders for the node's files.
const enter = `set -e
mount -t tmpfs none "$1" && cd "$1" && mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
mount -t proc proc root/proc && mount --rbind /sys root/sys && mount --rbind /dev root/dev && mount -t tmpfs none root/run
rm -rf root/etc/containerd root/etc/cni root/var/lib/containerd root/usr/local/bin/oomwitness
shift && exec chroot root "$@"`

// TestNodes runs all steps of a registration on each layout, with a real containerd under that
// node's flags.
func TestNodes(t *testing.T) {
	needNodes(t)
	for _, l := range layouts() {
		t.Run(l.name+", containerd "+l.version, func(t *testing.T) {
			t.Parallel()
			inNode(t, l.name+"/"+l.version, "TestInNode")
		})
	}
}

// needNodes skips the test if no node can be made.
func needNodes(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, for namespaces and mounts")
	}
	if os.Getenv("CONTAINERDS") == "" {
		t.Skip("needs the containerd of each version, by their folder as CONTAINERDS: make nodes")
	}
}

// containerdOf returns the path of a version's program.
func containerdOf(version string) string {
	return filepath.Join(os.Getenv("CONTAINERDS"), version, "containerd")
}

// inNode runs a test of this program as PID 1 of a node.
func inNode(t *testing.T, layout, test string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "node")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-c", enter, "sh", dir, os.Args[0], "-test.run", "^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), nodeEnv+"="+layout, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "node=") {
			t.Log(strings.TrimSpace(line[strings.Index(line, "node="):]))
		}
	}
}

// liveNode is a node whose service manager starts containerd.
type liveNode struct {
	*testing.T
	layout
	cmd   *exec.Cmd
	ended chan struct{}
	asked []string
	// breaks is the error of the next restart.
	breaks error
}

// here returns the node whose PID 1 is this process. It skips the test outside of nodes.
func here(t *testing.T) *liveNode {
	t.Helper()
	name := os.Getenv(nodeEnv)
	at := slices.IndexFunc(layouts(), func(l layout) bool { return l.name+"/"+l.version == name })
	if at < 0 {
		t.Skip("runs as PID 1 of a node, by TestNodes")
	}
	n := &liveNode{T: t, layout: layouts()[at]}
	n.link(n.program, containerdOf(n.version))
	for file, text := range n.files {
		n.write(file, text)
	}
	if n.writtenBy != "" {
		text, err := exec.CommandContext(t.Context(), containerdOf(n.writtenBy), "config", "default").Output()
		require.NoError(t, err)
		text = bytes.ReplaceAll(text, []byte("SystemdCgroup = false"), []byte("SystemdCgroup = true"))
		// overlayfs cannot be used on the node's own overlay.
		n.write(mainFile, regexp.MustCompile(`snapshotter = .overlayfs.`).ReplaceAllString(string(text), "snapshotter = 'native'"))
	}
	for _, dir := range n.readOnly {
		require.NoError(t, syscall.Mount(dir, dir, "", syscall.MS_BIND, ""))
		require.NoError(t, syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	}
	n.start()
	t.Cleanup(n.stop)
	return n
}

// link copies a program to its place on the node.
func (n *liveNode) link(to, from string) {
	n.Helper()
	text, err := os.ReadFile(from)
	require.NoError(n, err)
	n.write(to, string(text))
	require.NoError(n, os.Chmod(to, 0o755))
}

func (n *liveNode) write(file, text string) {
	n.Helper()
	require.NoError(n, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(n, os.WriteFile(file, []byte(text), 0o644))
}

// start starts the node's containerd as the node does: the configuration is made anew, and the
// process belongs to the unit.
func (n *liveNode) start() {
	n.Helper()
	if n.generate != nil {
		n.generate(n)
	}
	log, err := os.OpenFile("/run/containerd.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(n, err)
	defer log.Close()
	n.cmd = exec.Command(n.program, n.flags()...)
	n.cmd.Args[0] = filepath.Base(n.program)
	n.cmd.Env = append([]string{"PATH=" + filepath.Dir(n.program) + ":/usr/sbin:/usr/bin:/sbin:/bin"}, n.env()...)
	n.cmd.Stdout, n.cmd.Stderr = log, log
	require.NoError(n, n.cmd.Start())
	n.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(n.cmd, n.ended)
	tree := "/sys/fs/cgroup"
	if _, err := os.Stat(tree + "/systemd"); err == nil {
		tree += "/systemd"
	}
	group := filepath.Join(tree, "oomwitness-nodes", n.unit)
	require.NoError(n, os.MkdirAll(group, 0o755))
	require.NoError(n, os.WriteFile(filepath.Join(group, "cgroup.procs"), fmt.Append(nil, n.cmd.Process.Pid), 0o644))
	n.handlers()
}

func (n *liveNode) stop() {
	_ = n.cmd.Process.Kill()
	<-n.ended
}

// handlers returns the handlers of the running containerd, which answers a moment after its
// start.
func (n *liveNode) handlers() (names []string) {
	n.Helper()
	err := wait.PollUntilContextTimeout(n.Context(), 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		select {
		case <-n.ended:
			return false, errors.New("containerd has ended")
		default:
		}
		var err error
		names, err = containerd.Handlers(ctx, n.address)
		return err == nil, nil
	})
	log, _ := os.ReadFile("/run/containerd.log")
	require.NoError(n, err, "%s", log[max(0, len(log)-4000):])
	return names
}

// Reload, Restart and Stop implement systemd.Manager.
func (n *liveNode) Reload(context.Context) error { n.asked = append(n.asked, "reload"); return nil }

func (n *liveNode) Restart(_ context.Context, unit string) error {
	n.asked = append(n.asked, unit)
	if err := n.breaks; err != nil {
		n.breaks = nil
		return err
	}
	n.stop()
	n.start()
	return nil
}

func (n *liveNode) Stop(context.Context, string) error { return nil }

// options returns options with everything left to be found.
func (n *liveNode) options() install.Options {
	n.write("/run/shim", shimText)
	n.write("/run/command", shimText)
	return install.Options{
		BinDir: n.bin, ConfigVersion: "auto", SystemdCgroup: "auto", SystemdUnit: "true", Handler: "oomwitness", Root: "/",
		Shim: "/run/shim", Command: "/run/command", EditConfig: n.edit, Restart: true, Systemd: n, Booted: "/run",
	}
}

// TestInNode is the part of TestNodes within one node.
func TestInNode(t *testing.T) {
	n := here(t)
	before, handlers := n.kept(), n.handlers()
	if n.watch != nil {
		defer n.watch(n)()
	}
	n.cycle(before, handlers)
	flag := map[bool]string{true: " --edit-config"}[n.edit]
	t.Logf("node=%q containerd=%s unit=%s install%s", n.name, n.version, n.unit, flag)
	if n.watch != nil {
		return
	}
	// containerd does not come back: the node is as before, and the error has the reason.
	n.breaks = errors.New("the job ended as failed")
	_, err := install.Install(t.Context(), n.options())
	require.ErrorContains(t, err, "containerd did not come back with the new configuration, which was undone: the job ended as failed; see: journalctl -u "+n.unit)
	n.same(before, "as before")
	require.ElementsMatch(t, handlers, n.handlers())
}

// cycle installs, uses and uninstalls.
func (n *liveNode) cycle(before map[string]string, handlers []string) {
	n.Helper()
	result, err := install.Install(n.Context(), n.options())
	require.NoError(n, err, "%v", result)
	n.checked(result)
	require.ElementsMatch(n, append(slices.Clone(handlers), "oomwitness"), n.handlers(), "the other handlers stay")
	if n.watch == nil {
		require.Contains(n, n.asked, n.unit)
		require.NoError(n, n.Restart(n.Context(), n.unit), "the node is restarted, and makes its files anew")
	}
	require.Contains(n, n.handlers(), "oomwitness")
	n.healthy()
	result, err = install.Install(n.Context(), n.options())
	require.NoError(n, err)
	require.False(n, result.Changed(), "the second time changes nothing: %v", result.Actions)

	result, err = install.Uninstall(n.Context(), n.options())
	require.NoError(n, err)
	n.checked(result)
	require.ElementsMatch(n, handlers, n.handlers())
	n.same(before, "byte for byte as before")
}

// healthy wants a report of oomwitness check without a failure.
func (n *liveNode) healthy() {
	n.Helper()
	o, err := n.options().Locate(n.Context())
	require.NoError(n, err)
	report := o.Checker(preflight.Checker{
		Root: "/", BinDir: n.bin, Handler: "oomwitness", LedgerDir: "/nowhere", ConfigCheck: func(string) ([]string, error) { return nil, nil },
		Ledger: func(string) (bpf.Meta, error) { return bpf.Meta{}, bpf.ErrAbsent },
	}).Check(n.Context())
	for _, f := range report.Findings {
		if slices.Contains([]string{"containerd", "containerd-version", "shim", "drop-in", "imports", "restart"}, f.Name) {
			require.Equal(n, preflight.OK, f.Status, "%s: %s; %s", f.Name, f.Found, f.Do)
		}
	}
}

// checked wants that containerd's own program has checked the result.
func (n *liveNode) checked(result install.Result) {
	n.Helper()
	for _, note := range result.Notes {
		require.NotContains(n, note, "not checked")
	}
}
