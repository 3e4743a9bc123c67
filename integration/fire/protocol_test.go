//go:build linux

package fire

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// eachProtocol runs a test for each way in which a containerd starts a shim.
func eachProtocol(t *testing.T, test func(t *testing.T, protocol func(*shimtest.Config))) {
	for _, p := range shimtest.Protocols {
		t.Run(string(p), func(t *testing.T) { test(t, func(c *shimtest.Config) { c.Protocol = p }) })
	}
}

// TestProtocols: the TaskOOM comes before the exit, a container joins the shim of its pod, and
// the delete command of a dead shim finds the container.
func TestProtocols(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol func(*shimtest.Config)) {
		ctx := deadline(t)
		n := node(t, "", protocol)
		sandbox := pod(t, n)
		c := n.RunIn(sandbox.Shim, "joined", shimtest.Args("hog"), small)
		seen := get(t, watchWait(ctx, c), statusKilled)
		require.False(t, event(t, n, oomTopic, c.ID).Accepted.After(seen.at))
		_, err := c.Delete(ctx)
		require.NoError(t, err)
		event(t, n, deleteTopic, c.ID)

		last := n.RunIn(sandbox.Shim, "last", shimtest.Args("sleep", "60"))
		require.NoError(t, sandbox.Shim.Kill(ctx))
		for _, dead := range []*shimtest.Box{last, sandbox} {
			require.EqualValues(t, statusKilled, remove(t, n, dead.Bundle).ExitStatus)
		}
		requireRemoved(t, n, sandbox.Shim, sandbox.Bundle)
	})
}

// TestStartOptions: the shim carries out all options of the start call.
func TestStartOptions(t *testing.T) {
	cgroup, pids := shimCgroup(t)
	eachProtocol(t, func(t *testing.T, protocol func(*shimtest.Config)) {
		n := node(t, "", protocol, func(c *shimtest.Config) {
			c.Debug = true
			c.Options = func(o *options.Options) { o.ShimCgroup = cgroup }
		})
		s, err := n.StartShim(deadline(t), n.NewBundle("asks", shimtest.Args("sleep")))
		require.NoError(t, err)
		require.NoError(t, s.WaitLog(deadline(t), "level=debug"))
		text, err := os.ReadFile(pids)
		require.NoError(t, err)
		require.Contains(t, strings.Fields(string(text)), strconv.Itoa(s.Pid()))
		require.Equal(t, oomScore(t, os.Getpid())+1, oomScore(t, s.Pid()))
	})
}

// TestStartLeavesNothing: where the bundle cannot hold the shim's address, the start fails. A
// shim without containers ends, and a pod's shim lives on.
func TestStartLeavesNothing(t *testing.T) {
	for _, p := range []shimtest.Protocol{shimtest.Containerd17, shimtest.Containerd22} {
		t.Run(string(p), func(t *testing.T) {
			n := node(t, "", func(c *shimtest.Config) { c.Protocol = p })
			alone := fullBundle(t, n, "alone")
			for ctx := deadline(t); len(workingIn(t, alone.Path)) > 0; {
				require.NoError(t, pause(ctx), "the shim lives on")
			}
			sandbox := pod(t, n)
			fullBundle(t, n, "joins", shimtest.Sandbox("pod"))
			endPod(t, sandbox)
		})
	}
}

// fullBundle returns a bundle in which a start has failed.
func fullBundle(t *testing.T, n *shimtest.Node, id string, changes ...func(*specs.Spec)) *shimtest.Bundle {
	t.Helper()
	b := n.NewBundle(id, changes...)
	require.NoError(t, os.Mkdir(b.File("address"), 0o700))
	_, err := n.StartShim(deadline(t), b)
	require.ErrorContains(t, err, "write the shim's address")
	return b
}

// workingIn returns the processes with a working directory.
func workingIn(t *testing.T, dir string) (found []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	require.NoError(t, err)
	for _, link := range links {
		if cwd, _ := os.Readlink(link); cwd == dir { // the process may have ended
			found = append(found, link)
		}
	}
	return found
}

// TestCoreScheduling: with SCHED_CORE in the environment the shim has a core scheduling cookie
// of its own. On a kernel without core scheduling, the start fails.
func TestCoreScheduling(t *testing.T) {
	_, lacks := coreCookie(os.Getpid())
	eachProtocol(t, func(t *testing.T, protocol func(*shimtest.Config)) {
		n := node(t, "", protocol, func(c *shimtest.Config) { c.Env = append(c.Env, "SCHED_CORE=1") })
		s, err := n.StartShim(deadline(t), n.NewBundle("asks", shimtest.Args("sleep")))
		if lacks != nil { // the kernel needs SMT and CONFIG_SCHED_CORE
			require.ErrorContains(t, err, "enable sched core support: "+lacks.Error())
			return
		}
		require.NoError(t, err)
		cookie, err := coreCookie(s.Pid())
		require.NoError(t, err)
		require.NotZero(t, cookie)
	})
}

// coreCookie returns the core scheduling cookie of a process (prctl(2),
// PR_SCHED_CORE_GET).
func coreCookie(pid int) (cookie uint64, err error) {
	err = unix.Prctl(unix.PR_SCHED_CORE, unix.PR_SCHED_CORE_GET, uintptr(pid), 0, uintptr(unsafe.Pointer(&cookie)))
	return cookie, err
}

func oomScore(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
	require.NoError(t, err)
	score, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	return score
}

// shimCgroup makes a cgroup in each hierarchy. It returns the path, and a file that lists the
// processes.
func shimCgroup(t *testing.T) (path, pids string) {
	t.Helper()
	path = "/oomwitness-shims-" + strconv.Itoa(os.Getpid())
	roots := []string{"/sys/fs/cgroup"}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		roots, err = filepath.Glob("/sys/fs/cgroup/*")
		require.NoError(t, err)
	}
	for _, root := range roots {
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
			continue
		}
		dir := filepath.Join(root, path)
		require.NoError(t, os.Mkdir(dir, 0o755))
		t.Cleanup(func() { require.NoError(t, os.Remove(dir)) })
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // on v1 a cpuset takes no process before both are set
			if text, err := os.ReadFile(filepath.Join(root, file)); err == nil {
				require.NoError(t, os.WriteFile(filepath.Join(dir, file), text, 0o644))
			}
		}
		if pids == "" || strings.HasSuffix(root, "/memory") {
			pids = filepath.Join(dir, "cgroup.procs")
		}
	}
	require.NotEmpty(t, pids)
	return path, pids
}

// TestGenericOptions sends runtimeoptions.v1.Options, as CRI, ctr and Docker do for runtime
// types unknown to them. The shim takes the options as text and as a file.
func TestGenericOptions(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol func(*shimtest.Config)) {
		file := filepath.Join(t.TempDir(), "runc.toml")
		for _, form := range []string{"body", "file"} {
			n := node(t, "", protocol)
			text := fmt.Sprintf("BinaryName = %q\nRoot = %q\n", shimtest.Runc(t), n.RuncRoot())
			generic := &runtimeoptions.Options{ConfigBody: []byte(text)}
			if form == "file" {
				require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
				generic = &runtimeoptions.Options{TypeUrl: "io.containerd.runc.v1.Options", ConfigPath: file}
			}
			n.SetRuntimeOptions(encodedOptions(t, generic))
			c := n.Run(form, shimtest.Args("hog"), small)
			require.DirExists(t, filepath.Join(n.RuncRoot(), n.Namespace(), c.ID))
			get(t, watchWait(deadline(t), c), statusKilled)
			event(t, n, oomTopic, c.ID)
			_, err := c.Delete(deadline(t))
			require.NoError(t, err)
		}
		n := node(t, "", protocol)
		n.SetRuntimeOptions(encodedOptions(t, &runtimeoptions.Options{ConfigBody: []byte("Roots = '/r'")}))
		_, err := n.StartShim(deadline(t), n.NewBundle("refused"))
		require.ErrorContains(t, err, "config_body:1: Roots: unknown key; known: BinaryName")
	})
}

func encodedOptions(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	value, err := proto.Marshal(m)
	require.NoError(t, err)
	return &anypb.Any{TypeUrl: string(m.ProtoReflect().Descriptor().FullName()), Value: value}
}

// TestQueries: -info describes the runtime, also with generic options; -v prints the version;
// an unknown flag is refused.
func TestQueries(t *testing.T) {
	shim := shimtest.Ours(t)
	any := encodedOptions(t, &runtimeoptions.Options{ConfigBody: fmt.Appendf(nil, "BinaryName = %q", shimtest.Runc(t))})
	input, err := proto.Marshal(any)
	require.NoError(t, err)
	for name, stdin := range map[string][]byte{"generic": input, "none": nil} {
		cmd := exec.CommandContext(t.Context(), shim, "-info")
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(shimtest.Runc(t))+":"+os.Getenv("PATH"))
		cmd.Stdin = bytes.NewReader(stdin)
		out, err := cmd.Output()
		require.NoError(t, err, name)
		var info types.RuntimeInfo
		require.NoError(t, proto.Unmarshal(out, &info))
		require.Equal(t, "io.containerd.oomwitness.v2", info.Name)
		require.NotNil(t, info.Features, name)
		require.Equal(t, name == "generic", strings.HasSuffix(info.GetOptions().GetTypeUrl(), "containerd.runc.v1.Options"))
	}
	out, err := exec.CommandContext(t.Context(), shim, "-v").CombinedOutput()
	require.NoError(t, err)
	require.Contains(t, string(out), "Version:")
	for _, args := range [][]string{{"-nonsense", "start"}, {"-namespace", "n", "-nonsense", "start"}} {
		out, err = exec.CommandContext(t.Context(), shim, args...).CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), "flag provided but not defined: -nonsense")
	}
	cmd := exec.CommandContext(t.Context(), shim, "-namespace", "n", "-id", "c", "start")
	cmd.Stdin = strings.NewReader("garbage")
	out, err = cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), `neither BootstrapParams of "c" in namespace "n" nor an Any`)
}
