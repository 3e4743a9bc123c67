package install_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

// TestFullDisk: whichever folder takes no more bytes, the node is as before.
func TestFullDisk(t *testing.T) {
	needNodes(t)
	inNode(t, "kubeadm/2.2", "TestFullDiskInNode")
}

func TestFullDiskInNode(t *testing.T) {
	n := here(t)
	o := n.options()
	for _, dir := range []string{"/usr/local/bin", "/etc/containerd", "/etc/systemd/system"} {
		before := n.kept()
		require.NoError(t, syscall.Mount("none", dir, "tmpfs", 0, "size=16k"))
		for name, text := range before {
			if dir == "/etc/containerd" && path.Dir(name) == dir {
				_, body, _ := strings.Cut(text, "\n")
				n.write(name, body)
			}
		}
		before = n.kept()
		filler, err := os.Create(dir + "/filler")
		require.NoError(t, err)
		for err == nil {
			_, err = filler.Write(make([]byte, 512))
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.NoError(t, filler.Close())
		_, err = install.Install(t.Context(), o)
		require.ErrorContains(t, err, "no space left on device", dir)
		require.NoError(t, os.Remove(filler.Name()))
		n.same(before, "after a full "+dir)
		require.NotContains(t, n.handlers(), "oomwitness")
		require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH))
	}
	n.fullAtUpgrade(o)
	n.unusable(o)
	t.Logf("node=%q containerd=%s full disks, read-only and noexec: as before", n.name, n.version)
}

// fullAtUpgrade wants the programs of the earlier install back where somebody fills the disk
// during an upgrade, and containerd does not come back.
func (n *liveNode) fullAtUpgrade(o install.Options) {
	n.Helper()
	require.NoError(n, syscall.Mount("none", "/usr/local/bin", "tmpfs", 0, "size=1m"))
	defer func() { require.NoError(n, syscall.Unmount("/usr/local/bin", syscall.MNT_DETACH)) }()
	untouched := n.kept()
	programs := func(text string) {
		n.write(o.Shim, shimText+strings.Repeat(text, 64<<10))
		n.write(o.Command, shimText+strings.Repeat(text, 128<<10))
	}
	programs("1")
	_, err := install.Install(n.Context(), o)
	require.NoError(n, err)
	installed := n.kept()
	programs("2")
	o.Systemd = filler{liveNode: n, file: "/usr/local/bin/filler"}
	_, err = install.Install(n.Context(), o)
	require.ErrorContains(n, err, "containerd did not come back")
	require.NotContains(n, err.Error(), "undo /")
	require.NoError(n, os.Remove("/usr/local/bin/filler"))
	n.same(installed, "after an upgrade on a full disk")
	o.Systemd = n
	_, err = install.Uninstall(n.Context(), o)
	require.NoError(n, err)
	n.same(untouched, "byte for byte as before")
}

// filler is a service manager that meets a full disk at the first restart.
type filler struct {
	*liveNode
	file string
}

func (f filler) Restart(ctx context.Context, unit string) error {
	file, err := os.OpenFile(f.file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return f.liveNode.Restart(ctx, unit)
	}
	for err == nil {
		_, err = file.Write(make([]byte, 512))
	}
	require.ErrorIs(f, err, syscall.ENOSPC)
	require.NoError(f, file.Close())
	return err
}

// unusable wants a folder that takes no program to be named, with one that does.
func (n *liveNode) unusable(o install.Options) {
	n.Helper()
	before := n.kept()
	for flags, why := range map[uintptr]string{syscall.MS_RDONLY: "read-only", syscall.MS_NOEXEC: "noexec"} {
		require.NoError(n, syscall.Mount("none", "/usr/local/bin", "tmpfs", flags, ""))
		for _, change := range []func(*install.Options){func(*install.Options) {}, func(o *install.Options) { o.AgentOnly = true }} {
			changed := o
			change(&changed)
			_, err := install.Install(n.Context(), changed)
			require.EqualError(n, err, "--bin-dir /usr/local/bin: its file system is mounted "+why+": use --bin-dir /opt/bin")
		}
		require.NoError(n, syscall.Unmount("/usr/local/bin", syscall.MNT_DETACH))
		n.same(before, why)
	}
}

// killCommand makes this process one that installs or uninstalls, to be killed.
const killCommand = "OOMWITNESS_TEST_KILL"

// seedEnv repeats the random moments of an earlier run.
const seedEnv = "NODE_SEED"

// TestKills ends install and uninstall by SIGKILL at random moments of their duration.
func TestKills(t *testing.T) {
	needNodes(t)
	if os.Getenv(seedEnv) == "" {
		t.Setenv(seedEnv, strconv.FormatInt(time.Now().UnixNano(), 10))
	}
	seed := os.Getenv(seedEnv)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s=%s repeats the moments", seedEnv, seed)
		}
	})
	for _, node := range []string{"kubeadm/1.7", "kubeadm/2.2", "k3s with a template/1.7"} {
		t.Run(node, func(t *testing.T) {
			t.Parallel()
			inNode(t, node, "TestKillsInNode")
		})
	}
}

func TestKillsInNode(t *testing.T) {
	n := here(t)
	if verb := os.Getenv(killCommand); verb != "" {
		return
	}
	before, handlers := n.kept(), n.handlers()
	o := n.options()
	o.Restart = false
	begin := time.Now()
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	takes := map[bool]time.Duration{true: time.Since(begin)}
	begin = time.Now()
	_, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	takes[false] = time.Since(begin)
	n.same(before, "as before")
	kills, err := strconv.Atoi(cmp.Or(os.Getenv("NODE_KILLS"), "10"))
	require.NoError(t, err)
	seed, err := strconv.ParseUint(os.Getenv(seedEnv), 10, 64)
	require.NoError(t, err)
	moments := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // moments, which have to be repeatable
	tries, ended, installed := 0, 0, false
	for ; ended < kills; tries++ {
		require.Less(t, tries, 10*kills, "%d were ended on the way", ended)
		child := n.killed(!installed, time.Duration(moments.Float64()*float64(takes[!installed])))
		if strings.Contains(child, "signal: killed") {
			ended++
		}
		// Whatever was written, containerd starts with it, and has what it had.
		require.NoError(t, n.Restart(t.Context(), n.unit))
		require.Subset(t, n.handlers(), handlers, "try %d: %s", tries, child)
		// The same command again, or the other one, brings the node to a known state.
		if installed = moments.IntN(2) == 0; installed {
			_, err = install.Install(t.Context(), o)
			require.NoError(t, err, "try %d: %s", tries, child)
			continue
		}
		_, err = install.Uninstall(t.Context(), o)
		require.NoError(t, err, "try %d: %s", tries, child)
		n.same(before, child)
	}
	t.Logf("node=%q containerd=%s kills=%d on the way, of %d tries; %s=%d", n.name, n.version, ended, tries, seedEnv, seed)
}

// killed runs install or uninstall in a process of its own, and kills that process.
func (n *liveNode) killed(installs bool, after time.Duration) string {
	n.Helper()
	verb := map[bool]string{true: "install", false: "uninstall"}[installs]
	var out bytes.Buffer
	cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledProcess$")
	cmd.Env = append(os.Environ(), killCommand+"="+verb)
	cmd.Stdout, cmd.Stderr = &out, &out
	ready, write, err := os.Pipe()
	require.NoError(n, err)
	cmd.ExtraFiles = []*os.File{write}
	require.NoError(n, cmd.Start())
	write.Close()
	_, err = ready.Read(make([]byte, 1))
	require.NoError(n, err, "%s", &out)
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err = cmd.Wait()
	return fmt.Sprintf("%s after %s: %v %s", verb, after, err, &out)
}

// TestKilledProcess is the process that TestKills ends.
func TestKilledProcess(t *testing.T) {
	verb := os.Getenv(killCommand)
	if verb == "" {
		t.Skip("is started by TestKills")
	}
	at := slices.IndexFunc(layouts(), func(l layout) bool { return l.name+"/"+l.version == os.Getenv(nodeEnv) })
	n := &liveNode{T: t, layout: layouts()[at]}
	o := n.options()
	o.Restart = false
	_, err := os.NewFile(3, "ready").Write([]byte("!"))
	require.NoError(t, err)
	run := install.Install
	if verb == "uninstall" {
		run = install.Uninstall
	}
	_, err = run(t.Context(), o)
	require.NoError(t, err)
}
